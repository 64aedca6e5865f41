"""Workers as real processes: how they end, what they import, what a kill leaves behind."""

import asyncio
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from line_drivers import Number
from loops import in_loop
from plug import Plug
from stand_in import Core, one_port, sensor_plan

from gateway.plan import Plan
from gateway.reading import Kind

pytestmark = pytest.mark.slow
AIDS = str(Path(__file__).parent / "aids")


def start(plan: Plan, *more: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway.worker", str(plan.state / "plan.json"), "0", *more]
    environment = os.environ | {"PYTHONPATH": AIDS}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **kwargs)


def run_code(code: str, plan: Plan) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, str(plan.state / "plan.json")]
    environment = os.environ | {"PYTHONPATH": AIDS}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


async def ended(worker: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """What the worker logged until its end."""
    _, logged = await asyncio.to_thread(worker.communicate)
    return [json.loads(line) for line in logged.splitlines()]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def log_of(state: Path, *lines: str) -> str:
    (state / "bus.log").write_text("".join(f"{line}\n" for line in lines))
    return f"replay:{state}/bus.log?speed=max"


@in_loop
async def test_sigterm_ends_a_worker_when_core_has_all(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    mine, theirs = os.pipe()
    worker = start(plan, str(theirs), pass_fds=(theirs,))
    os.close(theirs)
    assert await asyncio.to_thread(os.read, mine, 1) == b"."
    await until_open(plug)
    plug.says(b"5\n")
    await core.until(lambda records: len(records) == 1)
    worker.send_signal(signal.SIGTERM)
    logged = await ended(worker)
    os.close(mine)
    core.close()
    plug.pull()
    assert worker.returncode == 0
    assert logged[-1]["text"] == "worker stopped"
    assert logged[-1]["frames"] == 1


async def until_open(plug: Plug) -> None:
    """Until another process holds the device for itself."""
    while True:
        with plug.path.open("rb") as device:
            try:
                fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        await asyncio.sleep(0.01)


@in_loop
async def test_a_bug_in_a_driver_is_one_line_that_names_it_and_one_trace(state: Path) -> None:
    plan = one_port(state, log_of(state, "1", "crash", "2"), "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    worker = start(plan)
    logged = await ended(worker)
    core.close()
    assert worker.returncode == 1
    spot = rf"\({re.escape(AIDS)}/line_drivers\.py:\d+\)"
    who = r"'number' \(line_drivers:Number\) broke on frame 2: ZeroDivisionError: a bug in a driver "
    assert re.fullmatch(who + spot, logged[-1]["text"])
    trace = logged[-1]["trace"]
    assert trace.count("Traceback (most recent call last)") == 1
    assert "ExceptionGroup" not in trace
    assert [record["values"]["mark"] for record in core.of(Kind.READING)] == [1]


@in_loop
async def test_a_plan_that_does_not_fit_is_one_plain_line(state: Path) -> None:
    sensor = sensor_plan(1, "well", Number, unknown_setting=5)
    mine, theirs = os.pipe()
    worker = start(one_port(state, log_of(state), "serial", sensor), str(theirs), pass_fds=(theirs,))
    os.close(theirs)
    logged = await ended(worker)
    assert os.read(mine, 10) == b"."  # heard before anything that takes long
    os.close(mine)
    assert worker.returncode == 2
    assert len(logged) == 1
    assert "compile it again" in logged[0]["text"]
    assert "trace" not in logged[0]


@in_loop
async def test_a_capture_with_a_wrong_line_is_one_plain_line(state: Path) -> None:
    (state / "bad.capture").write_text("# capture: 1\n0 < zz\n")
    plan = one_port(state, f"replay:{state}/bad.capture", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    logged = await ended(worker := start(plan))
    core.close()
    assert worker.returncode == 2
    assert any("bad.capture:2" in line["text"] for line in logged)
    assert all("trace" not in line for line in logged)


@in_loop
async def test_what_a_killed_worker_missed_is_deaf_time(state: Path) -> None:
    (state / "live.log").write_text("".join(f"{n}\n" for n in range(1000)))
    begin = time.monotonic_ns()
    url = f"replay:{state}/live.log?rate=100&start={begin}"
    plan = one_port(state, url, "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    worker = start(plan)
    await core.until(lambda records: len(records) > 5)
    worker.kill()
    await ended(worker)
    before = len(core.of(Kind.READING))
    worker = start(plan)
    await core.until(lambda records: len(core.of(Kind.READING)) > before + 5)
    worker.terminate()
    await ended(worker)
    core.close()
    [deaf] = core.of(Kind.HEALTH)
    since_ns = deaf["t_ns"] - int(deaf["for_s"] * 1e9)
    heard = sorted(int(record["values"]["mark"]) for record in core.of(Kind.READING))
    missing = set(range(heard[0], heard[-1])) - set(heard)
    # Every number of the log after the first was heard, or lies in the time that is declared deaf.
    assert missing
    for number in missing:
        assert since_ns - 2000 <= begin + number * 10**7 <= deaf["t_ns"]


PARENT = """
import os, subprocess, sys, time
from gateway.process import child_environment

command = [sys.executable, "-m", "gateway.worker", sys.argv[1], "0"]
worker = subprocess.Popen(command, env=child_environment())
print(worker.pid, flush=True)
time.sleep(60)
"""


@in_loop
async def test_a_worker_dies_with_its_parent(state: Path) -> None:
    plan = one_port(state, log_of(state, "1"), "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    process = run_code(PARENT, plan)
    assert process.stdout is not None
    pid = int(await asyncio.to_thread(process.stdout.readline))
    pidfd = os.pidfd_open(pid)
    await core.until(lambda records: len(records) == 1)
    process.kill()
    process.communicate()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, gone.set)
    await gone.wait()
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    core.close()


LOADED = """
import asyncio, sys
from pathlib import Path
from gateway.plan import load_plan
from gateway.worker import Worker

async def main():
    plan = load_plan(Path(sys.argv[1]))
    worker, stop = Worker(plan, plan.ports[0]), asyncio.Event()
    running = asyncio.ensure_future(worker.run(stop))
    while not worker.counters["frames"]:
        await asyncio.sleep(0.01)
    stop.set()
    await running

asyncio.run(main())
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("kind", ["serial", "replay"])
def test_the_worker_of_a_slow_port_loads_nothing_heavy(state: Path, kind: str) -> None:
    @in_loop
    async def run() -> None:
        plug = Plug(state / "device")
        url = log_of(state, "1", "2") if kind == "replay" else f"serial:{plug.path}"
        plan = one_port(state, url, "serial", sensor_plan(1, "well", Number))
        core = Core(plan)
        worker = run_code(LOADED, plan)
        if kind == "serial":
            await until_open(plug)
            plug.says(b"1\n")
        printed, _ = await asyncio.to_thread(worker.communicate)
        core.close()
        plug.pull()
        loaded = set(printed.decode().split())
        assert "line_drivers" in loaded
        assert not loaded & {"numpy", "pydantic", "zmq", "soundfile", "tflite_runtime", "gateway_drivers"}
        assert ("serial" in loaded) == (kind == "serial")

    run()
