"""A real worker with a lamp on a pty: commands of everybody, its schedule, its readings, its next life."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from lamp_post import Dimmer, Switch
from loops import in_loop, until
from plug import Plug
from stand_in import Core, sensor_plan
from working import working

from gateway.askworker import OVERRULED, ask
from gateway.lightconfig import MEASURES
from gateway.lightplan import LightingPlan, ProofPlan
from gateway.plan import Plan, PortPlan, SensorPlan
from gateway.reading import Kind

LABELS = ("lamp_out", "lamp_stuck", "lamp_well")


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    return Plug(tmp_path / "device")


def lamp_plan(state: Path, plug: Plug, driver: type[Dimmer] | type[Switch]) -> Plan:
    (state / "run").mkdir(exist_ok=True)
    sensor = sensor_plan(3, "lamp", driver, labels=LABELS)
    sensor = SensorPlan(
        sensor.number, sensor.name, sensor.driver, sensor.factory, {}, (*driver.emits, *MEASURES), LABELS,
        tuple(command.name for command in driver.commands()), (),
        lighting=LightingPlan(proof=ProofPlan(0, "power", 5, 0.05)).plain(),
    )  # fmt: skip
    return Plan("elm", state, (PortPlan(0, f"serial:{plug.path}", "serial", (sensor,)),))


async def told(state: Path, *request: object) -> tuple[int, str]:
    return await asyncio.to_thread(ask, state / "run" / "port-0.sock", [3, *request], "lamp")


@in_loop
async def test_commands_of_all_reach_the_wire_by_rank_and_are_recorded(tmp_path: Path, plug: Plug) -> None:
    plan = lamp_plan(tmp_path, plug, Switch)
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: (tmp_path / "run" / "port-0.sock").exists() and worker._opened_ns is not None)
        assert await told(tmp_path, "dim", {"level": 40, "for_s": 600}, "hub") == (
            True,
            "lamp: dim to 40 % for 600 s",
        )
        assert plug.hears() == b"on"
        assert await told(tmp_path, "off", {}) == (True, "lamp: off")
        assert plug.hears() == b"off"
        assert await told(tmp_path, "on", {"for_s": 9}, "rule") == (
            OVERRULED,
            "lamp: on for 9 s is noted; a person's wish comes first",
        )
        assert await told(tmp_path, "auto", {}) == (True, "lamp: auto")
        assert plug.hears() == b"on"
        done, text = await told(tmp_path, "dim", {"level": 40, "ramp_s": 5})
        assert (done, text.partition(";")[0]) == (False, "dim takes level, for_s (optional)")
        await core.until(lambda records: len(core.of(Kind.READING)) == 3 and len(core.of(Kind.RESULT)) == 4)
    core.close()
    readings = [(r["values"]["lamp_told"], r["values"]["lamp_source"]) for r in core.of(Kind.READING)]
    assert readings == [(100, 3), (0, 1), (100, 2)]
    assert [(r["command"], r["ok"]) for r in core.of(Kind.RESULT)] == [
        ("dim", True),
        ("off", True),
        ("on", True),
        ("auto", True),
    ]
    plug.pull()


@in_loop
async def test_a_lamp_that_is_plugged_in_again_is_told_what_it_should_be(tmp_path: Path, plug: Plug) -> None:
    plan = lamp_plan(tmp_path, plug, Dimmer)
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: (tmp_path / "run" / "port-0.sock").exists() and worker._opened_ns is not None)
        await told(tmp_path, "dim", {"level": 40})
        assert plug.hears() == b"40"
        plug.pull()
        await until(lambda: worker._opened_ns is None)
        done, text = await told(tmp_path, "dim", {"level": 60})
        assert (done, text.startswith("lamp did not get it, and gets it when it can: ")) == (False, True)
        plug.push()
        await until(lambda: worker._opened_ns is not None)
        assert await asyncio.to_thread(plug.hears) == b"60"
    async with working(plan) as worker:
        await until(lambda: worker._opened_ns is not None)
        assert await asyncio.to_thread(plug.hears) == b"60", "the next worker goes on where it was"
    core.close()
    plug.pull()


@in_loop
async def test_a_lamp_that_draws_no_power_is_an_event(tmp_path: Path, plug: Plug) -> None:
    plan = lamp_plan(tmp_path, plug, Switch)
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: (tmp_path / "run" / "port-0.sock").exists() and worker._opened_ns is not None)
        await told(tmp_path, "on", {})

        async def measures() -> None:
            while True:
                plug.says(b"0.2\n")
                await asyncio.sleep(0.02)

        measuring = asyncio.create_task(measures())
        await core.until(lambda _: bool(core.of(Kind.EVENT)))
        measuring.cancel()
    core.close()
    assert [event["label"] for event in core.of(Kind.EVENT)] == ["lamp_out"]
    plug.pull()


def test_a_worker_without_a_lamp_does_without_its_modules() -> None:
    code = "import gateway.worker, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    heavy = {
        "gateway.lamp",
        "gateway.lampkeeper",
        "gateway.lightplan",
        "gateway.schedule",
        "astral",
        "zoneinfo",
    }
    assert not heavy & set(loaded)
    assert msgpack.__name__ in loaded
