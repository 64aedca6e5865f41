"""Our log, through the interface that core uses: batches of at most 4 KiB in the telemetry lane, durable."""

import functools
from pathlib import Path
from typing import Final

from gateway.clock import ClockSource
from gateway.disk import PAGE, Disk
from gateway.lanes import Lanes
from gateway.plan import SpoolPlan
from gateway.reading import Lane
from gateway.records import BATCH_MAX, BatchHeader, Source, pack_batch
from gateway.segment import Payload, StoredFrame

_LANE: Final = Lane.TELEMETRY
_HEAD_ROOM: Final = 160  # what the spool leaves for a batch's header
_BOOT, _TABLE = bytes(range(8)), bytes(range(8, 16))


class CountingDisk(Disk):
    """The real disk, with an account of the pages it was asked to write: each once between two syncs."""

    def __init__(self) -> None:
        self._octets = 0
        self._dirty: dict[int, set[int]] = {}  # by descriptor

    def create(self, path: Path, size: int) -> None:
        """As the real disk does."""
        super().create(path, size)
        self._write_back()

    def write(self, fd: int, content: bytes, at: int) -> None:
        """As the real disk does."""
        super().write(fd, content, at)
        pages = range(at // PAGE, -(-(at + len(content)) // PAGE))
        self._dirty.setdefault(fd, set()).update(pages)

    def sync(self, fd: int) -> None:
        """As the real disk does."""
        super().sync(fd)
        self._octets += PAGE * len(self._dirty.pop(fd, ()))

    def _write_back(self) -> None:
        self._octets += PAGE * sum(len(pages) for pages in self._dirty.values())
        self._dirty.clear()

    @property
    def written(self) -> int:
        """Octets up to now, what nobody synced included."""
        self._write_back()
        return self._octets


@functools.cache
def _header(count: int) -> bytes:
    """A batch's header, which is what makes records readable and no work of the store."""
    header = BatchHeader(_BOOT, _TABLE, 10**15, 17 * 10**17, ClockSource.GPS, 50, (Source(1, 1, count),))
    return pack_batch(header, ())


class Ours:
    """A LaneLog of a whole spool folder; `counting`: on a disk that keeps account, which costs time."""

    def __init__(self, folder: Path, size: int, counting: str = "") -> None:
        self.disk = CountingDisk() if counting else Disk()
        self._lanes = Lanes(folder, SpoolPlan(), self.disk)
        self.log = self._lanes.logs[_LANE]
        self._per_batch = (BATCH_MAX[_LANE] - _HEAD_ROOM) // size
        self._bytes = size
        self._n = 1

    def payloads(self, records: list[bytes]) -> list[Payload]:
        """The batches that one commit makes of these records."""
        made = []
        for at in range(0, len(records), self._per_batch):
            part = records[at : at + self._per_batch]
            self._n += len(part)
            made.append(Payload(len(part), _header(len(part)) + b"".join(part), {1: self._n - 1}))
        return made

    def append(self, records: list[bytes]) -> int:
        """One commit, on the medium when it returns."""
        self.log.append(self.payloads(records))
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Frames as the uplink takes them; one ack a pack."""
        log, came = self.log, 0
        after = log.acked
        while came < limit and (items := log.peek(after, pack * self._bytes)):
            came += sum(item.count for item in items if isinstance(item, StoredFrame))
            after = items[-1].last_seq
            log.ack(after)
        return came

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether the oldest frame can be read."""
        return bool(self.log.peek(self.log.acked, 1))

    def close(self) -> None:
        """Close the files."""
        self._lanes.close()
