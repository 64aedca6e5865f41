"""The spool's files: the epoch and four logs, and who gives up what when the disk is full. No threads.

What is given up first is what matters least; docs/spool.md has the rules.
"""

import logging
import secrets
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Final

import msgpack

from gateway.disk import Disk
from gateway.errors import WireError
from gateway.lane import LaneLog
from gateway.log import say
from gateway.plan import SpoolPlan
from gateway.reading import Lane
from gateway.records import unpack_batch
from gateway.recover import LaneFormat, epoch_in

SEGMENT_BYTES: Final = (1 << 20, 1 << 20, 8 << 20, 8 << 20)
_EPOCH_HEAD: Final = b"POLESPOOL1"
_EPOCH_SIZE: Final = len(_EPOCH_HEAD) + 8 + 4
_log = logging.getLogger("spool")


class Lanes:
    """Opens or creates the files in `folder`; any crash may have come before.

    Raises SpoolError if another process owns the folder, OSError if the disk refuses.
    """

    def __init__(
        self, folder: Path, plan: SpoolPlan, disk: Disk, segment_bytes: tuple[int, ...] = SEGMENT_BYTES
    ) -> None:
        self._disk = disk
        disk.make_folder(folder)
        self._lock_fd = disk.lock(folder / "lock")
        self.epoch = _epoch_of(disk, folder, segment_bytes)
        self.logs: tuple[LaneLog, ...] = tuple(
            self._open_log(folder, lane, plan.quota_mib[lane] << 20, segment_bytes[lane]) for lane in Lane
        )

    def _open_log(self, folder: Path, lane: Lane, quota: int, segment_bytes: int) -> LaneLog:
        form = LaneFormat(lane, self.epoch, segment_bytes, quota // segment_bytes, marks_of, kinds_of)
        return LaneLog(self._disk, folder / str(int(lane)), form, lambda: self._make_room(lane))

    def _make_room(self, lane: Lane) -> bool:
        """Give up the oldest segment of the least important lane below `lane`; False if there is none."""
        return any(self.logs[other].evict_oldest(to_disk=True) for other in reversed(Lane) if other > lane)

    def close(self) -> None:
        """Close the files and give up the ownership of the folder."""
        for log in self.logs:
            log.close()
        self._disk.close(self._lock_fd)


def marks_of(content: bytes) -> dict[int, int]:
    """The highest n per incarnation in a stored batch; nothing if it cannot be read."""
    try:
        unpacker = msgpack.Unpacker()
        unpacker.feed(content[:4096])
        return {incarnation: first_n + count - 1 for incarnation, first_n, count in unpacker.unpack()[7]}
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException):
        return {}


def kinds_of(content: bytes) -> dict[int, int]:
    """How many records of each Kind a stored batch holds; nothing if it cannot be read."""
    try:
        return dict(Counter(int(fields[0]) for _, fields in unpack_batch(content).records))
    except (WireError, ValueError, TypeError, IndexError):
        return {}


def _epoch_of(disk: Disk, folder: Path, segment_bytes: tuple[int, ...]) -> bytes:
    """The spool's epoch: 8 random bytes, made when it is created; a new card means a new epoch."""
    path = folder / "epoch"
    if path.name in disk.list_folder(folder):
        fd = disk.open(path)
        try:
            found = disk.read(fd, _EPOCH_SIZE, 0)
        finally:
            disk.close(fd)
        epoch = found[len(_EPOCH_HEAD) : len(_EPOCH_HEAD) + 8]
        if found == _epoch_file(epoch):
            return epoch
        say(_log, logging.ERROR, f"{path} is damaged; it is made again from what the segments say")
    epoch = _epoch_of_segments(disk, folder, segment_bytes) or secrets.token_bytes(8)
    beside = folder / "epoch.new"
    disk.create(beside, _EPOCH_SIZE)
    fd = disk.open(beside)
    try:
        disk.write(fd, _epoch_file(epoch), 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.rename(beside, path)
    disk.sync_folder(folder)
    return epoch


def _epoch_of_segments(disk: Disk, folder: Path, segment_bytes: tuple[int, ...]) -> bytes | None:
    for lane in Lane:
        if str(int(lane)) in disk.list_folder(folder):
            epoch = epoch_in(disk, folder / str(int(lane)), segment_bytes[lane])
            if epoch is not None:
                return epoch
    return None


def _epoch_file(epoch: bytes) -> bytes:
    return _EPOCH_HEAD + epoch + struct.pack("<I", zlib.crc32(epoch))
