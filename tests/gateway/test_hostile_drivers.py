"""A driver that leaks, spins, waits, crashes, floods ... beside three good ones: it hurts only its own port.

Real workers under a real supervisor on ptys, a real link; one bad driver at a time, beside three good ports
at known rates. Of these every reading must come, as promptly as without the bad one, and doctor must say in
one line whose driver it was, and why.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile_drivers as bad
import pytest
from loops import in_loop, until
from plug import Plug
from stand_in import Core, sensor_plan

from gateway.doctor.workers import workers
from gateway.flood import BURST, RATE
from gateway.lastwords import read_last
from gateway.linkserver import Peer
from gateway.plan import Plan, PortPlan
from gateway.reading import Kind
from gateway.restart import RestartPolicy
from gateway.supervisor import Supervisor, WorkerCommand

pytestmark = pytest.mark.slow
AIDS = str(Path(__file__).parent / "aids")
RATES_HZ = (50, 20, 5)  # of the good ports
PATIENCE_S = 1.0  # of the guard, here; 15 s on a pole
WORSE = 3.0  # with a bad driver beside them, the good ones' p99 may be so many times that of before, and
BUSY_S = 0.05  # this much more: eight people and two cores
POLICY = RestartPolicy(first_s=0.2, deaths=3, parked_s=60)


def impatient(plan: Path) -> WorkerCommand:
    """Workers as they are, but for a guard that waits a second instead of fifteen."""
    code = (
        f"import sys, gateway.guard as g; g.PATIENCE_S = {PATIENCE_S}; "
        "from gateway.worker import main; sys.exit(main(sys.argv[1:]))"
    )

    def command(port: int, heartbeat_fd: int) -> Sequence[str]:
        return (sys.executable, "-P", "-c", code, str(plan), str(port), str(heartbeat_fd))

    return command


class TimedCore(Core):
    """Knows when each record came."""

    came_ns: dict[int, int]

    def _put(self, peer: Peer, lane: int, first_n: int, items: Any) -> bool:
        before = len(self.records)
        done = super()._put(peer, lane, first_n, items)
        now_ns = time.monotonic_ns()
        for record in self.records[before:]:
            record["came_ns"] = now_ns
        return done


@dataclass
class Box:
    plan: Plan
    core: TimedCore
    supervisor: Supervisor
    good: list[Plug]
    other: Plug
    said: list[dict[int, int]] = field(default_factory=lambda: [{} for _ in RATES_HZ])  # number -> ns

    async def talk(self, seconds: float) -> None:
        """Have the good devices talk for so long."""
        async with asyncio.TaskGroup() as group:
            for plug, rate_hz, said in zip(self.good, RATES_HZ, self.said, strict=True):
                group.create_task(self._say(plug, rate_hz, said, seconds))

    async def _say(self, plug: Plug, rate_hz: int, said: dict[int, int], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for n in range(round(seconds * rate_hz)):
            await asyncio.sleep(start_s + n / rate_hz - loop.time())
            number = len(said) + 1
            said[number] = time.monotonic_ns()
            plug.says(b"%d\n" % number)

    async def all_came(self) -> None:
        """Until every number that a good device said is a record of its sensor, and none is there twice."""
        for index, said in enumerate(self.said):
            await until(lambda index=index, said=said: len(self.numbers(index)) >= len(said))  # type: ignore[misc]
            assert self.numbers(index) == list(said)

    def numbers(self, index: int) -> list[float]:
        return [r["values"]["count"] for r in self._of(index)]

    def _of(self, index: int) -> list[dict[str, Any]]:
        return [r for r in self.core.of(Kind.READING) if r["sensor"] == f"good-{index}"]

    def late_s(self, index: int, since_ns: int) -> float:
        """p99 of the time from a device's line to core, of what was said since."""
        said = self.said[index]
        late = [
            r["came_ns"] - said[r["values"]["count"]]
            for r in self._of(index)
            if said[r["values"]["count"]] >= since_ns
        ]
        return sorted(late)[int(0.99 * len(late))] / 1e9


@asynccontextmanager
async def box(folder: Path, driver: type[bad.Good]) -> AsyncIterator[Box]:
    (folder / "run").mkdir()
    good, other = [Plug(folder / f"good-{n}") for n in range(len(RATES_HZ))], Plug(folder / "other")
    ports = [
        PortPlan(n, f"serial:{plug.path}", "serial", (sensor_plan(n + 1, f"good-{n}", bad.Good),))
        for n, plug in enumerate(good)
    ]
    ports.append(PortPlan(9, f"serial:{other.path}", "serial", (sensor_plan(9, "odd-one", driver),)))
    plan = Plan("elm-st-0042", folder, tuple(ports))
    plan.save(folder / "plan.json")
    core, stop = TimedCore(plan), asyncio.Event()
    supervisor = Supervisor(plan, impatient(folder / "plan.json"), POLICY)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        plugs = {f"good-{n}": plug for n, plug in enumerate(good)}
        plugs |= {} if driver is bad.GreetsWrong else {"odd-one": other}
        while silent := plugs.keys() - {r["sensor"] for r in core.of(Kind.READING)}:
            for name in silent:
                plugs[name].says(b"0\n")  # what comes before a port is open is not heard
            await asyncio.sleep(0.1)
        core.records.clear()
        try:
            yield Box(plan, core, supervisor, good, other)
        finally:
            stop.set()
    core.close()
    for plug in (*good, other):
        with suppress(OSError):
            plug.pull()


# Driver, what doctor says of it, and whether it can know that it was this driver's code.
DEATHS = [
    (bad.Leaks, "took more memory than a worker of this kind may have", "in go"),
    (bad.Spins, "did not come back for too long: it spins, or waits", "in go"),
    (bad.Waits, "did not come back for too long: it spins, or waits", "in go"),
    (bad.Crashes, "crashed: Segmentation fault", "in go"),
    (bad.Exits, "SystemExit: 0", "in go"),
    (bad.Vanishes, "ended by itself, which nobody had asked it to", ""),
    (bad.StartsThreads, "RuntimeError: can't start new thread", "in go"),
    (bad.ClosesAll, "Bad file descriptor", ""),
    (bad.GreetsWrong, "LookupError: no such word", "in greet"),
]


@pytest.mark.parametrize(("driver", "why", "where"), DEATHS, ids=[each[0].__name__ for each in DEATHS])
def test_a_bad_driver_hurts_only_its_port_and_doctor_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: type[bad.Good], why: str, where: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", AIDS)

    @in_loop
    async def run() -> None:
        async with box(tmp_path, driver) as it:
            await it.talk(1.0)
            await it.all_came()
            before_s = [it.late_s(n, 0) for n in range(len(RATES_HZ))]
            since_ns = time.monotonic_ns()
            if driver is not bad.GreetsWrong:
                it.other.says(b"go\n")
            await it.talk(2.5)
            await it.all_came()
            await until(lambda: read_last(tmp_path / "run", 9))
            for n, before in enumerate(before_s):
                assert it.late_s(n, since_ns) <= WORSE * before + BUSY_S
            assert [keeper.restarts for keeper in it.supervisor.keepers[:3]] == [0, 0, 0]
            [finding] = workers(it.plan)
        assert finding.state == "wrong"
        assert finding.check == "port 9"
        assert finding.text.startswith("sensor odd-one: ")
        assert f"driver '{driver.__name__.lower()}' (hostile_drivers:{driver.__name__})" in finding.text
        assert why in finding.text
        if where:
            assert f"{AIDS}/hostile_drivers.py:" in finding.text
            assert where in finding.text
            assert "most likely" not in finding.text
        assert "take sensor odd-one out of the site file" in finding.mend

    run()


def test_a_device_that_floods_is_held_to_a_rate_and_doctor_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", AIDS)

    async def babble(plug: Plug, seconds: float) -> int:
        os.set_blocking(plug.fd, False)
        end_s, lines = time.monotonic() + seconds, 0
        while time.monotonic() < end_s:
            with suppress(BlockingIOError):
                lines += os.write(plug.fd, b"7\n" * 500) // 2
            await asyncio.sleep(0.005)
        return lines

    @in_loop
    async def run() -> None:
        async with box(tmp_path, bad.Good) as it:
            await it.talk(1.0)
            await it.all_came()
            before_s = [it.late_s(n, 0) for n in range(len(RATES_HZ))]
            since_ns = time.monotonic_ns()
            babbling = asyncio.ensure_future(babble(it.other, 2.5))
            await it.talk(2.5)
            assert await babbling > 20_000
            await it.all_came()
            for n, before in enumerate(before_s):
                assert it.late_s(n, since_ns) <= WORSE * before + BUSY_S
            await until(lambda: list(workers(it.plan)))
            odd = [r for r in it.core.of(Kind.READING) if r["sensor"] == "odd-one"]
            assert BURST <= len(odd) <= BURST + RATE * 6
            told = [r for r in it.core.of(Kind.HEALTH) if r["code"] == "suppressed"]
            assert [r["sensor"] for r in told] == ["odd-one"]
            [finding] = workers(it.plan)
        assert finding.state == "wrong"
        assert f"sensor odd-one: driver 'good' gave more than {RATE} readings a second" in finding.text

    run()
