"""What a worker tells late, so that it is told seldom: nothing is forgotten, and nothing counted twice."""

import time
from pathlib import Path

import pytest
from line_drivers import Number
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan
from working import capture, working

from gateway.reading import HealthCode, Kind


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
        worker._tell(time.monotonic_ns())
        worker._telling.count(HealthCode.BAD_FRAMES, "well", 2)
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
        assert not worker._telling.due.is_set(), "it tries again with every heartbeat, not every second"
        core = Core(plan)
        await core.until(lambda records: len(records) == 3)
        worker._tell_dropped()
        await core.until(lambda records: len(records) == 4)
    core.close()
    assert core.records[-1]["count"] == 3
