"""The spool: four lanes on disk, filled by group commit. What it has called *kept* survives any crash.

`put` may be called from any one thread and never waits for the disk. Each lane has its own thread,
which waits for the lane's commit window, packs what came in into batches, commits them in one go
and then says *kept*. A lane-0 commit therefore never waits for telemetry.
"""

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.clock import Clock, ClockSource
from gateway.disk import PAGE, Disk
from gateway.errors import SpoolError, WireError
from gateway.figures import Ages, Durations, Wear
from gateway.lane import COMMIT_MAX, LaneLog
from gateway.lanes import SEGMENT_BYTES, Lanes
from gateway.log import Condition
from gateway.plan import SpoolPlan
from gateway.reading import Lane
from gateway.records import BATCH_MAX, RECORDS_MAX, BatchHeader, Item, Source, pack_batch, unpack_batch
from gateway.segment import Lost, Payload, StoredFrame

__all__ = ["Kept", "Lost", "Spool", "StoredFrame"]

PENDING_MAX: Final = 1 << 20  # bytes of memory that one lane's records take while they wait for the disk
_ITEM_BYTES: Final = 136  # what CPython takes for an Item beside its packed bytes
_EAGER_BYTES: Final = 32 << 10  # this much waiting ends a commit window early
_RETRY_S: Final = (1.0, 8.0)  # first and longest pause while the disk refuses
_SEEN_MAX: Final = 4096
_log = logging.getLogger("spool")


@dataclass(frozen=True, slots=True)
class Kept:
    """What one commit made durable: per incarnation the highest n, and when the oldest record was taken."""

    lane: int
    marks: Mapping[int, int]
    first_seq: int
    count: int
    oldest_t_ns: int


@dataclass(slots=True)
class _Run:
    """Records of one incarnation, numbered first_n, first_n + 1, ..., waiting for a commit."""

    incarnation: int
    first_n: int
    items: list[Item]


class Spool:
    """Opens or creates the spool in `folder` and starts its lanes' threads.

    `on_kept` is called from a lane's thread after each commit. Raises SpoolError if another process
    owns the folder, OSError if the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        plan: SpoolPlan,
        table: bytes,
        clock: Clock,
        on_kept: Callable[[Kept], None],
        disk: Disk | None = None,
    ) -> None:
        self._lanes = Lanes(folder, plan, disk or Disk())
        self.epoch = self._lanes.epoch
        self.logs = self._lanes.logs
        self._clock = clock
        self._table = table
        self.counters: Counter[str] = Counter()
        self._wear = Wear()
        self._moved = False  # another disk was mounted in place of this one
        self._waiting = [0] * len(Lane)
        self._budget = threading.Lock()
        self._seen: dict[tuple[int, int], int] = {}  # (incarnation, lane) -> highest n taken in
        self._writers = tuple(
            _Writer(self, log, lane, plan.window_s[lane], on_kept)
            for lane, log in zip(Lane, self.logs, strict=True)
        )
        for writer in self._writers:
            writer.start()

    def put(self, lane: int, incarnation: int, first_n: int, items: list[Item]) -> bool:
        """Take records in. False if too much is already waiting; then nothing was taken.

        Records the spool has, or has waiting, are dropped: they were sent again after a reconnect.
        """
        highest = self._seen.get((incarnation, lane), self.logs[lane].marks.get(incarnation, 0))
        if first_n <= highest:
            skip = min(highest - first_n + 1, len(items))
            self.counters["resent"] += skip
            first_n, items = first_n + skip, items[skip:]
        elif first_n > highest + 1 and highest:
            self.counters["numbers_missing"] += first_n - highest - 1
        if not items:
            return True
        size = _memory(items)
        with self._budget:
            if self._waiting[lane] + size > PENDING_MAX:
                self.counters["refused"] += len(items)
                return False
            self._waiting[lane] += size
        self._seen[incarnation, lane] = first_n + len(items) - 1
        if len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]  # the oldest incarnation is long dead
        self._writers[lane].add(_Run(incarnation, first_n, items), _size(items))
        return True

    def kept_of(self, incarnation: int) -> dict[int, int]:
        """What is on disk of one incarnation: {lane: highest n}."""
        return {int(lane): log.marks.get(incarnation, 0) for lane, log in zip(Lane, self.logs, strict=True)}

    def settled(self, lane: int, size: int) -> None:
        """A lane's thread is done with this many waiting bytes."""
        with self._budget:
            self._waiting[lane] -= size

    def moved(self) -> bool:
        """Whether another disk was mounted in place of this one; looked at when this one refuses."""
        with contextlib.suppress(OSError):  # there is none at all
            self._moved = self._moved or self._lanes.moved()
        return self._moved

    def check(self) -> None:
        """Raises SpoolError where core must start afresh: a thread died (a bug), the disk was exchanged."""
        if self._moved:
            raise SpoolError("another disk is mounted where the spool was; core starts again with that")
        for writer in self._writers:
            if not writer.is_alive():
                raise SpoolError(f"the thread {writer.name} died; core starts again")

    def header(self, base_mono_ns: int, sources: tuple[Source, ...]) -> BatchHeader:
        """A batch header for records from `base_mono_ns` on, with the clock's quality now."""
        state = self._clock.state()
        wall = state.wall_ns - (state.mono_ns - base_mono_ns)
        return BatchHeader(state.boot, self._table, base_mono_ns, wall, state.source, state.error_us, sources)

    def status(self) -> dict[str, Any]:
        """Figures of every lane; what the disk is made to write."""
        total: Counter[str] = Counter()
        for log in self.logs:
            total.update(log.counters.copy())
        lanes = {writer.lane.name.lower(): writer.status() for writer in self._writers}
        return {"lanes": lanes, "counters": dict(self.counters), "wear": self._wear.status(total)}

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC now."""
        return self._clock.mono_ns()

    def taken_ns(self, header: BatchHeader) -> int:
        """When a stored batch was taken, as CLOCK_MONOTONIC would have been; now, where no clock tells."""
        now = self._clock.state()
        if header.boot == now.boot:
            return header.base_mono_ns
        if ClockSource.NONE in {header.clock, now.source}:
            return now.mono_ns
        return now.mono_ns - max(0, now.wall_ns - header.base_wall_ns)

    def finish(self) -> None:
        """Commit what is waiting and stop the lanes' threads; what is stored can still be read."""
        for writer in self._writers:
            writer.stop()
        for writer in self._writers:
            writer.join()

    def close(self) -> None:
        """Commit what is waiting, stop the threads, close the files."""
        self.finish()
        self._lanes.close()


class _Writer(threading.Thread):
    """One lane's thread: wait for the window, pack, commit, say kept."""

    def __init__(
        self, spool: Spool, log: LaneLog, lane: Lane, window_s: float, on_kept: Callable[[Kept], None]
    ) -> None:
        super().__init__(name=f"spool-{lane.name.lower()}", daemon=True)
        self._spool = spool
        self._log = log
        self.lane = lane
        self._window_s = window_s
        self._on_kept = on_kept
        self._runs: deque[_Run] = deque()
        self._bytes = 0
        self._since = 0.0
        self._more = threading.Condition()
        self._stopping = False
        self._disk_ok = Condition(_log, f"spool lane {lane.name.lower()}")
        self._commit_s = Durations()
        self._ages = Ages()

    def status(self) -> dict[str, Any]:
        """What the lane holds, how old that is, how its commits go, what the disk says if it refuses."""
        log = self._log
        p50, p99 = (self._commit_s.quantile(share) for share in (0.5, 0.99))
        return {
            "produced": log.next_seq - 1,
            "acked": log.acked,
            "held": log.held,
            "disk_bytes": log.files * SEGMENT_BYTES[self.lane],
            "oldest_s": self._ages.age_s(log.first_held, self._spool.mono_ns()) if log.held else None,
            "commit_ms": [None if s is None else round(s * 1000, 2) for s in (p50, p99)],
            "refuses": self._disk_ok.broken,
            "counters": log.counters.copy(),
        }

    def add(self, run: _Run, size: int) -> None:
        """Queue records for the next commit."""
        with self._more:
            if not self._runs:
                self._since = time.monotonic()
            self._runs.append(run)
            self._bytes += size
            self._more.notify()

    def stop(self) -> None:
        """Ask the thread to commit what it has and end."""
        with self._more:
            self._stopping = True
            self._more.notify()

    def run(self) -> None:
        """The thread's main loop."""
        self._look_back()
        while True:
            with self._more:
                self._more.wait_for(lambda: self._runs or self._stopping)
                while not self._stopping and self._bytes < _EAGER_BYTES:
                    left = self._since + self._window_s - time.monotonic()
                    if left <= 0:
                        break
                    self._more.wait(left)
                runs = self._runs
                self._runs, self._bytes = deque(), 0
            if not runs:
                return
            if not self._commit_all(runs):
                return  # what came later must not be kept before what these were
            self._log.prepare()

    def _look_back(self) -> None:
        """How old is what waited already?"""
        with contextlib.suppress(OSError, WireError):
            for found in self._log.peek(self._log.acked, 1):
                if isinstance(found, StoredFrame):
                    taken_ns = self._spool.taken_ns(unpack_batch(found.content).header)
                    self._ages.note(found.first_seq, taken_ns, found.first_seq)

    def _commit_all(self, runs: deque[_Run]) -> bool:
        """Commit everything, however long the disk refuses; False if it was asked to stop meanwhile."""
        pause_s = _RETRY_S[0]
        while runs:
            batches, oldest_ns = self._batches(runs)
            began = time.monotonic()
            try:
                first_seq = self._log.append(batches)
            except SpoolError as error:
                self._disk_ok.breaks(f"{error}; records wait in memory")
                moved = self._spool.moved()  # then nothing more may be written: core starts afresh
                with self._more:
                    if self._more.wait_for(lambda: self._stopping, None if moved else pause_s):
                        return False
                pause_s = min(pause_s * 2, _RETRY_S[1])
                continue
            self._commit_s.add(time.monotonic() - began)
            self._disk_ok.heals()
            pause_s = _RETRY_S[0]
            marks: dict[int, int] = {}
            for payload in batches:
                marks |= payload.marks or {}
            count = sum(payload.count for payload in batches)
            self._ages.note(first_seq, oldest_ns, self._log.first_held)
            self._spool.settled(self.lane, _take(runs, count))
            self._on_kept(Kept(self.lane, marks, first_seq, count, oldest_ns))
        return True

    def _batches(self, runs: deque[_Run]) -> tuple[list[Payload], int]:
        """The next commit's worth of batches, and the time of the oldest record in them."""
        payloads: list[Payload] = []
        total, oldest_ns = 0, 2**63
        for part in _parts(runs, BATCH_MAX[self.lane]):
            items = [item for run in part for item in run.items]
            base_ns = min(t_ns for t_ns, _ in items)
            sources = tuple(Source(run.incarnation, run.first_n, len(run.items)) for run in part)
            content = pack_batch(self._spool.header(base_ns, sources), items)
            total += len(content) + PAGE // 64
            if payloads and total > COMMIT_MAX:
                break
            marks = {run.incarnation: run.first_n + len(run.items) - 1 for run in part}
            payloads.append(Payload(len(items), content, marks))
            oldest_ns = min(oldest_ns, base_ns)
        return payloads, oldest_ns


def _parts(runs: deque[_Run], bytes_max: int) -> list[list[_Run]]:
    """Cut waiting runs into batches of at most about `bytes_max` bytes; order is kept."""
    room_max = bytes_max - 160  # the header, and a source or two
    parts: list[list[_Run]] = [[]]
    room, count = room_max, 0
    for run in runs:
        start = 0
        for index, (_, packed) in enumerate(run.items):
            size = len(packed) + 6
            if count and (size > room or count >= RECORDS_MAX or len(parts[-1]) >= 32):
                if index > start:
                    parts[-1].append(_Run(run.incarnation, run.first_n + start, run.items[start:index]))
                parts.append([])
                start, room, count = index, room_max, 0
            room -= size
            count += 1
        parts[-1].append(_Run(run.incarnation, run.first_n + start, run.items[start:]))
        room -= 20
    return parts


def _take(runs: deque[_Run], count: int) -> int:
    """Remove the first `count` records from the waiting runs; how many waiting bytes that was."""
    size = 0
    while count:
        run = runs[0]
        size += _memory(run.items[:count])
        if len(run.items) <= count:
            count -= len(run.items)
            runs.popleft()
        else:
            runs[0] = _Run(run.incarnation, run.first_n + count, run.items[count:])
            count = 0
    return size


def _size(items: list[Item]) -> int:
    return sum(len(packed) + 16 for _, packed in items)


def _memory(items: list[Item]) -> int:
    return sum(len(packed) + _ITEM_BYTES for _, packed in items)
