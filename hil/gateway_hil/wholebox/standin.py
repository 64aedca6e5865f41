"""A stand-in for a worker: counts up in every lane through the real link, so that sets can be compared.

    with StandIn(core_socket, sensor=1) as standin:
        ...                                  # faults
        standin.rest()                       # core has kept everything it made
    assert faults_of(journal, standin) == []

Record n of lane l is the reading [n, l]: what comes to the hub is checked for its content, too.
"""

import asyncio
import itertools
import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgpack

from gateway.hub.journal import RowKind, read_rows
from gateway.link import LinkClient
from gateway.reading import Kind, Lane
from gateway.records import unpack_batch

_EVERY_S: Final = (0.05, 0.25, 0.02, 0.5)  # by lane
_LOOK_S: Final = 0.05


class StandIn:
    """Use as a context manager; produces until `rest`, and again after `go_on`.

    `sensor` is the number of a sensor with two measures in the box's plan.
    """

    def __init__(self, core: Path, sensor: int, every_s: Sequence[float] = _EVERY_S) -> None:
        self._core = core
        self._sensor = sensor
        self.every_s = list(every_s)
        self.made = [0] * len(Lane)  # the highest number handed over, by lane
        self.dropped = 0  # refused by a full link; never handed over
        self.incarnation = 0
        self._wanted = threading.Event()
        self._idle = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live()), name="stand-in", daemon=True
        )

    def __enter__(self) -> Self:
        self._wanted.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def rest(self, within_s: float) -> None:
        """Make no more, and wait until core has kept all. Raises AssertionError if it does not."""
        self._wanted.clear()
        assert self._idle.wait(within_s), f"core does not keep what waits: {self.held} records"

    def go_on(self) -> None:
        """Make more."""
        self._idle.clear()
        self._wanted.set()

    @property
    def held(self) -> int:
        """Records that core has not yet called kept."""
        return self._client.held

    async def _live(self) -> None:
        self._client = client = LinkClient(self._core, "worker", 0)
        self.incarnation = client.incarnation
        link = asyncio.create_task(client.run())
        makers = [asyncio.create_task(self._make(lane)) for lane in Lane]
        while not self._ending.is_set():
            await asyncio.sleep(_LOOK_S)
            if not self._wanted.is_set() and not client.held:
                self._idle.set()
        for task in (link, *makers):
            task.cancel()
        await asyncio.gather(link, *makers, return_exceptions=True)

    async def _make(self, lane: Lane) -> None:
        while True:
            await asyncio.sleep(self.every_s[lane])
            if not self._wanted.is_set():
                continue
            n = self.made[lane] + 1
            if self._client.put(lane, time.monotonic_ns(), msgpack.packb(self.fields(lane, n))):
                self.made[lane] = n
            else:
                self.dropped += 1

    def fields(self, lane: int, n: int) -> list[Any]:
        """What record n of a lane says."""
        return [int(Kind.READING), self._sensor, n, lane]


@dataclass
class Arrived:
    """What a hub's journal holds of one lane: its records by sequence number, its gaps, and what is wrong."""

    records: dict[int, tuple[int, int, list[Any]]] = field(default_factory=dict)  # incarnation, n, fields
    gaps: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    next_seq: int = 1
    wrong: list[str] = field(default_factory=list)

    @property
    def declared(self) -> int:
        """Numbers that the box declared lost."""
        return sum(self.gaps.values())

    def of(self, incarnation: int) -> Iterator[tuple[int, list[Any]]]:
        """One worker's records, in order of arrival."""
        for _, (whose, n, fields) in sorted(self.records.items()):
            if whose == incarnation:
                yield n, fields


def arrived(journal: Path) -> dict[int, Arrived]:
    """What a journal holds, by lane; of one box with one epoch."""
    found: dict[int, Arrived] = defaultdict(Arrived)
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        for _, row in read_rows(db, 0, 1 << 40):
            lane = found[row.stream[2]]
            if row.fresh_seq != lane.next_seq:
                lane.wrong.append(f"after {lane.next_seq - 1} came {row.fresh_seq}")
            lane.next_seq = row.last_seq + 1
            if row.kind is RowKind.GAP:
                reason = json.loads(row.payload)["reason"]
                lane.gaps[reason] += row.last_seq + 1 - row.fresh_seq
                continue
            batch = unpack_batch(row.payload)
            origins = [
                (source.incarnation, source.first_n + at)
                for source in batch.header.sources
                for at in range(source.count)
            ]
            for at, ((incarnation, n), (_, fields)) in enumerate(zip(origins, batch.records, strict=True)):
                if row.first_seq + at >= row.fresh_seq:
                    lane.records[row.first_seq + at] = (incarnation, n, list(fields))
    return found


def faults_of(lanes: Mapping[int, Arrived], produced: Mapping[int, int], standin: StandIn) -> list[str]:
    """Whatever is lost unsaid, phantom, twice or out of order; empty if all is well.

    `produced` is the highest number that core gave out, by lane.
    """
    wrong: list[str] = []
    for lane in Lane:
        of_lane = lanes.get(lane, Arrived())
        wrong += [f"lane {lane}: {text}" for text in of_lane.wrong]
        if (received := len(of_lane.records)) + of_lane.declared != produced[lane]:
            wrong.append(
                f"lane {lane}: {produced[lane]} produced, {received} received, {dict(of_lane.gaps)} declared"
            )
        numbers = [n for n, _ in of_lane.of(standin.incarnation)]
        if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
            wrong.append(f"lane {lane}: records came twice or out of order")
        if numbers and numbers[-1] > standin.made[lane]:
            wrong.append(f"lane {lane}: {numbers[-1]} is a phantom; {standin.made[lane]} were made")
        lost = standin.made[lane] - len(set(numbers))
        if lost > of_lane.declared:
            wrong.append(f"lane {lane}: {lost} records of the stand-in lost, {of_lane.declared} declared")
        wrong += [
            f"lane {lane}: record {n} says {fields}"
            for n, fields in of_lane.of(standin.incarnation)
            if fields != standin.fields(lane, n)
        ][:3]
    return wrong
