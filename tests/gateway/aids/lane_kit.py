"""A lane's log over the real disk, or over one that refuses chosen calls."""

import os
from pathlib import Path

from gateway.disk import PAGE, Disk
from gateway.lane import LaneLog
from gateway.recover import LaneFormat
from gateway.segment import StoredFrame

EPOCH = b"12345678"
SEGMENT = 9 * PAGE  # first and last page, and seven commits of a page


class FaultyDisk(Disk):
    """The real disk, refusing chosen calls."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}  # call -> errno

    def _check(self, call: str) -> None:
        if call in self.fail:
            raise OSError(self.fail[call], os.strerror(self.fail[call]))

    def create(self, path: Path, size: int) -> None:
        self._check("create")
        super().create(path, size)

    def write(self, fd: int, content: bytes, at: int) -> None:
        self._check("write")
        super().write(fd, content, at)

    def sync(self, fd: int) -> None:
        self._check("sync")
        super().sync(fd)

    def read(self, fd: int, size: int, at: int) -> bytes:
        self._check("read")
        self._check(f"read at {at // PAGE}")
        return super().read(fd, size, at)

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._check("unlink")
        super().unlink(path)


def open_lane(folder: Path, disk: Disk | None = None, segments_max: int = 4, epoch: bytes = EPOCH) -> LaneLog:
    form = LaneFormat(2, epoch, SEGMENT, segments_max, lambda _: {}, lambda content: {1: content.count(b"#")})
    return LaneLog(disk or Disk(), folder, form)


def contents(log: LaneLog, after: int = 0) -> list[tuple[int, bytes]]:
    """Everything held, read in several peeks, as (first sequence number, content); gaps as b"LOST"."""
    found: list[tuple[int, bytes]] = []
    while items := log.peek(after, 100):
        for item in items:
            assert item.first_seq == after + 1
            after = item.last_seq
            found.append((item.first_seq, item.content if isinstance(item, StoredFrame) else b"LOST"))
    return found
