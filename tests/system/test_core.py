"""Core as a process: what it imports, what it says when its disk is full, missing or forgetful."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.plan import Plan, PortPlan, SensorPlan, SpoolPlan
from gateway.reading import Measure

HEAVY = {
    "numpy",
    "pydantic",
    "tflite_runtime",
    "ai_edge_litert",
    "serial",
    "pynmea2",
    "bleak",
    "soundfile",
    "rich",
}


def test_core_imports_nothing_heavy() -> None:
    code = "import gateway.core, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & (HEAVY | {"gateway_drivers", "gateway_models", "gateway_hil"})
    assert "gateway.hub" not in done.stdout


def test_a_wrong_plan_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.core", str(tmp_path / "no.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "there is no plan" in json.loads(line)["text"]


_FULL_DISK = r"""
import asyncio, contextlib, json, os, subprocess, sys, time
from pathlib import Path
from gateway.link import LinkClient, ask_status
from gateway.reading import Lane

state, plan = Path(sys.argv[1]), sys.argv[2]
core = subprocess.Popen([sys.executable, "-m", "gateway.core", plan], stderr=subprocess.PIPE)

async def scene():
    client = LinkClient(state / "run" / "core.sock", "worker", 0)
    link = asyncio.create_task(client.run())
    now = time.monotonic_ns()
    client.put(Lane.TELEMETRY, now, b"\x93\x01\x01\x05")
    client.put(Lane.ALERT, now, b"\x93\x01\x01\x06")
    while client.counters["kept"] < 1:
        await asyncio.sleep(0.01)
    lanes = (await asyncio.to_thread(ask_status, state / "run" / "core.sock"))["lanes"]
    first = {name: lane["produced"] for name, lane in lanes.items()}
    await asyncio.sleep(1.2)  # longer than the telemetry lane's window: the disk has refused by then
    held = client.held
    os.unlink(state / "ballast")
    kept = await client.flush(20)
    link.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await link
    return {"first": first, "held": held, "kept": kept}

found = asyncio.run(scene())
core.terminate()
found["said"] = [json.loads(line)["text"] for line in core.stderr.read().splitlines()]
core.wait()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_full_disk_is_said_alerts_go_on_and_nothing_is_lost_when_there_is_room(
    tmp_path: Path, not_run: Callable[[str], NoReturn]
) -> None:
    """The state folder is a tmpfs that is full but for the alert lane's segment."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        not_run("this machine forbids unprivileged mount namespaces (unshare -Urm)")
    state, plan = tmp_path / "s", tmp_path / "plan.json"
    state.mkdir()
    sensor = SensorPlan(1, "s", "none", "none:None", {}, (Measure("count", "1"),), (), (), ())
    Plan("b", state, (PortPlan(0, "replay:x", "serial", (sensor,)),), SpoolPlan()).save(plan)
    script = tmp_path / "scene.py"
    script.write_text(_FULL_DISK, encoding="utf-8")
    mount = (
        f"mount -t tmpfs -o size=14m tmpfs {state} && head -c 11500k /dev/zero > {state}/ballast "
        f"&& exec {sys.executable} {script} {state} {plan}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    found = json.loads(done.stdout)
    assert found["first"]["alert"] == 1
    assert found["first"]["telemetry"] == 0
    assert found["held"] == 1
    assert found["kept"]
    refusals = [text for text in found["said"] if "No space left" in text]
    assert len(refusals) == 1
    assert "free some space" in refusals[0]
    assert any("well again" in text for text in found["said"])
