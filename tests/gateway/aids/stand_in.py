"""A stand-in for core: a real link server that keeps everything, or nothing, and plans to run workers by."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from gateway.driver import Driver
from gateway.linkserver import LinkServer, Peer
from gateway.plan import Plan, PortPlan, SensorPlan, StagePlan
from gateway.reading import Kind, Lane
from gateway.records import Item, unpack_record


class Core:
    """Collects records as plain dicts with their `t_ns` and `lane`, in order of arrival."""

    def __init__(self, plan: Plan, *, keeps: bool = True) -> None:
        self.records: list[dict[str, Any]] = []
        self._table = plan.table()
        self._keeps = keeps
        self._came = asyncio.Event()
        self._kept: dict[int, dict[int, int]] = {}
        self._server = LinkServer(
            plan.state / "run" / "core.sock", self._put, lambda i: self._kept.get(i, {})
        )
        self._server.start()

    def _put(self, peer: Peer, lane: int, first_n: int, items: list[Item]) -> bool:
        kept = self._kept.setdefault(peer.incarnation, {})
        for n, (t_ns, packed) in enumerate(items, first_n):
            if self._keeps and n <= kept.get(lane, 0):
                continue
            record = unpack_record(msgpack.unpackb(packed), self._table)
            self.records.append(record | {"t_ns": t_ns, "lane": Lane(lane), "who": (peer.who, peer.number)})
        if self._keeps:
            kept[lane] = first_n + len(items) - 1
            peer.kept(lane, kept[lane])
        self._came.set()
        return True

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait until the records are enough; all of them."""
        while not enough(self.records):
            self._came.clear()
            await self._came.wait()
        return self.records

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """The records of one kind so far."""
        return [record for record in self.records if record["kind"] == kind.name.lower()]

    def close(self) -> None:
        """Close the link."""
        self._server.close()


def sensor_plan(
    number: int,
    name: str,
    driver: type[Driver],
    *stages: StagePlan,
    labels: tuple[str, ...] = (),
    **settings: Any,
) -> SensorPlan:
    """A sensor as the compile step would plan it."""
    return SensorPlan(
        number=number,
        name=name,
        driver=driver.__name__.lower(),
        factory=f"{driver.__module__}:{driver.__qualname__}",
        settings=settings,
        measures=driver.emits,
        labels=labels,
        commands=tuple(command.name for command in driver.accepts),
        stages=stages,
    )


def one_port(state: Path, url: str, kind: str, *sensors: SensorPlan) -> Plan:
    """A plan with one port, saved where a worker process looks for it."""
    plan = Plan("elm-st-0042", state, (PortPlan(0, url, kind, sensors),))
    plan.save(state / "plan.json")
    return plan
