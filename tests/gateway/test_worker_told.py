"""What a worker tells late, so that it is told seldom: nothing is forgotten, and nothing counted twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from line_drivers import Number
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan

from gateway.plan import Plan
from gateway.reading import HealthCode, Kind
from gateway.worker import Worker


@asynccontextmanager
async def working(plan: Plan) -> AsyncIterator[Worker]:
    """A worker that runs until the block ends, then is stopped as by SIGTERM."""
    stop = asyncio.Event()
    worker = Worker(plan, plan.ports[0])
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop, None))
        yield worker
        stop.set()


def capture(folder: Path, *lines: str) -> str:
    (folder / "bus.capture").write_text("\n".join(["# capture: 1", *lines]) + "\n")
    return f"replay:{folder}/bus.capture?speed=max"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@in_loop
async def test_bad_frames_of_the_last_minute_are_told_before_the_worker_stops(state: Path) -> None:
    lines = [f'{n} < "no {n}\\n"' for n in range(10)]
    plan = one_port(state, capture(state, *lines), "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 10)
        worker._tell_bad_frames(time.monotonic_ns())
        worker._bad.count("well", 2)
    core.close()
    assert sum(health["count"] for health in core.of(Kind.HEALTH)) == 12


@in_loop
async def test_the_record_of_what_was_dropped_is_not_counted_as_dropped(state: Path, monkeypatch) -> None:
    monkeypatch.setattr("gateway.link.HELD_MAX", (1, 1, 2, 1))
    lines = [f'{n} < "{n}\\n"' for n in range(5)]
    plan = one_port(state, capture(state, *lines), "serial", sensor_plan(1, "a", Number))
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 5)
        worker._put_health(worker._sensors[0], HealthCode.PORT_GONE)  # now there is no room for another
        for _ in range(3):
            worker._tell_dropped()
        assert not worker._to_tell.is_set(), "it tries again with every heartbeat, not every second"
        core = Core(plan)
        await core.until(lambda records: len(records) == 3)
        worker._tell_dropped()
        await core.until(lambda records: len(records) == 4)
    core.close()
    assert core.records[-1]["count"] == 3
