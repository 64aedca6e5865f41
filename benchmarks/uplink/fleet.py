"""Many boxes in one process: each a real uplink thread with keys and lane logs of its own.

    python -m benchmarks.uplink.fleet FOLDER FIRST COUNT

Their disks answer a sync at once: hundreds of boxes share this machine's one disk, and none of theirs is what
is measured. The socket class is replaced by one that looks at the clock around every send.
"""

import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import zmq

from benchmarks.uplink import content
from benchmarks.uplink.remote import serve
from gateway.clock import SystemClock
from gateway.disk import Disk
from gateway.lanes import Lanes
from gateway.log import start_logging
from gateway.plan import SpoolPlan
from gateway.process import die_with_parent
from gateway.reading import Lane
from gateway.records import Source, pack_batch
from gateway.segment import Payload
from gateway.uplink import Uplink

SEGMENT_BYTES: Final = (128 << 10,) * len(Lane)
PLAN: Final = SpoolPlan(quota_mib=(1, 1, 1, 1), floor_mib=(1, 1, 1, 1), reserve_mib=0)
BATCH: Final = 5  # telemetry records at a time; each fifth batch of every other box comes with an alert
LONG_S: Final = 0.05
_LOOK_S: Final = 0.1


class WatchedSocket(zmq.Socket):  # type: ignore[type-arg]
    """Notes how long every send took, and whether it was asked not to wait."""

    sends = 0
    may_wait = 0
    longest_s = 0.0
    long = 0

    def send_multipart(self, msg_parts: Any, flags: int = 0, *args: Any, **kwargs: Any) -> Any:
        """As zmq.Socket's."""
        began = time.perf_counter()
        try:
            return super().send_multipart(msg_parts, flags, *args, **kwargs)
        finally:
            took = time.perf_counter() - began
            WatchedSocket.sends += 1
            WatchedSocket.may_wait += not flags & zmq.DONTWAIT
            WatchedSocket.long += took > LONG_S
            WatchedSocket.longest_s = max(WatchedSocket.longest_s, took)


class WatchedContext(zmq.Context):  # type: ignore[type-arg]
    """Makes watched sockets."""

    _socket_class = WatchedSocket


class UnsyncedDisk(Disk):
    """Forgets everything at a power cut, which does not come."""

    def sync(self, fd: int) -> None:
        """Nothing."""

    def sync_folder(self, path: Path) -> None:
        """Nothing."""


def name_of(number: int) -> str:
    """What the box of that number is called."""
    return f"fleet-{number:04d}"


class _Member:
    """One box."""

    def __init__(self, state: Path, plans: Any, clock: SystemClock) -> None:
        self.lanes = Lanes(state / "spool", PLAN, UnsyncedDisk(), SEGMENT_BYTES)
        tables = {content.id_of(plans): content.table(plans)}
        self.uplink = Uplink(state, self.lanes.logs, self.lanes.epoch, tables, clock)
        self.was_up_ns = 0  # since when; 0 while it is not
        self.appended = [0] * len(Lane)


class Fleet:
    """The boxes FIRST to FIRST + COUNT of a folder."""

    def __init__(self, folder: Path, first: int, count: int) -> None:
        self._plans = content.sensors()
        clock = SystemClock()
        self._members = {
            name_of(n): _Member(folder / name_of(n), self._plans, clock) for n in range(first, first + count)
        }
        self._chance = random.Random(first)
        self._over = threading.Event()
        self._quiet = threading.Event()
        self._threads = [threading.Thread(target=self._watch, name="watch", daemon=True)]
        self._threads[0].start()

    def connect(self) -> dict[str, Any]:
        """Start all uplinks at once."""
        for member in self._members.values():
            member.uplink.start()
        return {}

    def produce(self, every_s: float) -> dict[str, Any]:
        """Append a batch to each box every so often, until `quiet`."""
        self._threads.append(threading.Thread(target=self._append, args=(every_s,), daemon=True))
        self._threads[-1].start()
        return {}

    def quiet(self) -> dict[str, Any]:
        """Append no more."""
        self._quiet.set()
        for thread in self._threads[1:]:
            thread.join()
        return {}

    def status(self) -> dict[str, Any]:
        """How many are up, how many have sent everything; since when each is up; sends; CPU time."""
        times = os.times()
        members = self._members.values()
        return {
            "up": sum(m.was_up_ns > 0 for m in members),
            "up_since_ns": [m.was_up_ns for m in members],
            "held": sum(log.held for m in members for log in m.lanes.logs),
            "sends": WatchedSocket.sends,
            "sends_that_may_wait": WatchedSocket.may_wait,
            "sends_long": WatchedSocket.long,
            "send_longest_s": WatchedSocket.longest_s,
            "cpu_s": times.user + times.system,
            "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208  (a count)
        }

    def appended(self) -> dict[str, Any]:
        """By box, how many records each lane was given."""
        return {name: member.appended for name, member in self._members.items()}

    def close(self) -> dict[str, Any]:
        """Stop everything."""
        self._over.set()
        self.quiet()
        for member in self._members.values():
            member.uplink.stop()
        for member in self._members.values():
            if member.uplink.is_alive():
                member.uplink.join()
            member.uplink.close()
            member.lanes.close()
        return {}

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            for member in self._members.values():
                if not member.uplink.up:
                    member.was_up_ns = 0
                elif not member.was_up_ns:
                    member.was_up_ns = time.monotonic_ns()

    def _append(self, every_s: float) -> None:
        items = content.readings(self._plans, 1, time.monotonic_ns())
        while True:
            for number, member in enumerate(self._members.values()):
                if self._quiet.wait(every_s / len(self._members)):
                    return
                batch = [(time.monotonic_ns(), next(items)[1]) for _ in range(BATCH)]
                self._put(member, Lane.TELEMETRY, batch)
                if number % 2 and self._chance.random() < 1 / BATCH:
                    self._put(
                        member, Lane.ALERT, [content.alert(self._plans, time.monotonic_ns(), self._chance)]
                    )
                member.uplink.wake()

    def _put(self, member: _Member, lane: Lane, items: list[Any]) -> None:
        source = Source(1 + int(lane), member.appended[lane] + 1, len(items))
        header = content.header(items[0][0], (source,), content.id_of(self._plans))
        member.lanes.logs[lane].append([Payload(len(items), pack_batch(header, items))])
        member.appended[lane] += len(items)


if __name__ == "__main__":
    start_logging("fleet")
    die_with_parent()
    zmq.Context = WatchedContext  # type: ignore[misc]  # what gateway.uplink makes
    threading.stack_size(512 << 10)
    serve(Fleet(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
