"""A worker with GPIO sensors: each edge goes to the sensor on its line, and so does what was lost there."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from line_drivers import Contact
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan

from gateway.driver import Driver, Edge
from gateway.errors import PortGone
from gateway.plan import Plan
from gateway.reading import Kind
from gateway.worker import Worker


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "run").mkdir()
    lines = ["0 level door 1", "1 edge hatch 1 lost 9", "2 edge door 0 lost 7"]
    (tmp_path / "bus.capture").write_text("\n".join(["# capture: 1", *lines]) + "\n")
    url = f"replay:{tmp_path}/bus.capture?speed=max"
    return one_port(tmp_path, url, "gpio", sensor_plan(1, "door", Contact, line="door"))


@in_loop
async def test_edges_and_losses_go_to_the_sensor_on_their_line(plan: Plan) -> None:
    core, stop = Core(plan), asyncio.Event()
    worker = Worker(plan, plan.ports[0])
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        await until(lambda: worker.counters["frames"] == 3)
        worker._tell(0)
        await core.until(lambda records: len(records) == 3)
        stop.set()
    core.close()
    assert [record["values"]["open"] for record in core.of(Kind.READING)] == [True, False]
    assert worker.counters["strangers"] == 1
    [health] = core.of(Kind.HEALTH)
    assert (health["sensor"], health["code"], health["count"]) == ("door", "lost_frames", 7)


class Chip:
    """A port whose line changes at each opening and then rests, until `pull`."""

    patient = False

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._gone = asyncio.Event()

    def pull(self) -> None:
        self._gone.set()

    async def open(self) -> None:
        self._gone.clear()

    async def frames(self) -> AsyncGenerator[tuple[int, Edge], None]:
        yield time.monotonic_ns(), Edge("door", True, found=True)
        await self._gone.wait()
        raise PortGone("pulled")

    async def send(self, driver: Driver, what: bytes | bool) -> None: ...

    async def back(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


@in_loop
async def test_a_line_that_did_not_change_was_not_deaf(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    plan = one_port(tmp_path, "gpio:chip", "gpio", sensor_plan(1, "door", Contact, line="door"))
    core, stop = Core(plan), asyncio.Event()
    worker = Worker(plan, plan.ports[0])
    chip = worker._port = Chip()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        await core.until(lambda records: len(records) == 1)
        pulled_ns = time.monotonic_ns()
        chip.pull()
        await core.until(lambda records: len(records) == 4)
        stop.set()
    core.close()
    [deaf] = [health for health in core.of(Kind.HEALTH) if health["code"] == "deaf"]
    assert deaf["t_ns"] - deaf["for_s"] * 1e9 >= pulled_ns - 1000
