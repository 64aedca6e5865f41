"""The spool's files: the epoch and four logs, and who gives up what when the disk is full. No threads.

What is given up first is what matters least; docs/spool.md has the rules.
"""

import errno
import logging
import os
import secrets
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
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
from gateway.room import Room

SEGMENT_BYTES: Final = (1 << 20, 1 << 20, 8 << 20, 8 << 20)
FILES_MIN: Final = 2  # of a lane: with one to write and one to give up, it can always go on
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
        self._lock = folder / "lock"
        disk.make_folder(folder)
        self._lock_fd = disk.lock(self._lock)
        logs: list[LaneLog] = []
        try:
            self.epoch = _epoch_of(disk, folder, segment_bytes)
            sharing = _Sharing(disk, folder, plan, segment_bytes, logs)
            for lane in Lane:
                size = segment_bytes[lane]
                segments_max = (plan.quota_mib[lane] << 20) // size
                form = LaneFormat(lane, self.epoch, size, segments_max, marks_of, kinds_of)
                logs.append(LaneLog(disk, folder / str(int(lane)), form, _Share(sharing, lane)))
            self.logs: tuple[LaneLog, ...] = tuple(logs)
        except OSError:
            self._close(logs)
            raise

    def moved(self) -> bool:
        """Whether another disk is now where this one was mounted: these files must be left alone then.

        Raises OSError where there is none.
        """
        return not self._disk.is_at(self._lock_fd, self._lock)

    def close(self) -> None:
        """Close the files and give up the ownership of the folder."""
        self._close(self.logs)

    def _close(self, logs: Sequence[LaneLog]) -> None:
        for log in logs:
            log.close()
        self._disk.close(self._lock_fd)


class _Sharing:
    """The disk that the lanes share: how much of it stays free, and whose floor is how many files."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        plan: SpoolPlan,
        segment_bytes: tuple[int, ...],
        logs: Sequence[LaneLog],
    ) -> None:
        self._disk = disk
        self._folder = folder
        self.segment_bytes = segment_bytes
        self.logs = logs  # those that are open so far
        self.reserve = plan.reserve_bytes(disk.total_bytes(folder))
        self.floors = tuple(
            max(FILES_MIN, -(-(min(floor, quota) << 20) // size))
            for floor, quota, size in zip(plan.floor_mib, plan.quota_mib, segment_bytes, strict=True)
        )

    def free(self) -> int:
        """Bytes that may still be written, the reserve included."""
        return self._disk.free_bytes(self._folder)

    def has_below(self, files: int, lane: Lane) -> bool:
        """Whether a lane has less than that many files."""
        return lane >= len(self.logs) or self.logs[lane].files < files

    def take_from(self, lane: Lane, keep: int) -> int:
        """Have a lane give up a file, if it has more than `keep`; the bytes freed."""
        return self.logs[lane].give_room(keep) if lane < len(self.logs) else 0


class _Share(Room):
    """One lane's share of it.

    Alerts may use the reserve; every other lane only up to its floor. Room is made by the least
    important lane that is above its floor. A more important one gives only to a lane that is below
    its own floor, and alerts give to none. A lane that could not go on at all is given what others
    have beyond the two files they go on with; alerts, what others have beyond the one in use.
    """

    def __init__(self, sharing: _Sharing, lane: Lane) -> None:
        self._sharing = sharing
        self._lane = lane

    def ask(self, freed: int) -> None:
        """One more file is all right in place of as much, or where the reserve stays free."""
        sharing, lane = self._sharing, self._lane
        size = sharing.segment_bytes[lane]
        if freed >= size:
            return
        exempt = lane == Lane.ALERT or sharing.has_below(sharing.floors[lane], lane)
        reserve = 0 if exempt else sharing.reserve
        if sharing.free() < size + reserve:
            beside = " beside the reserve" if reserve else ""
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC) + beside)

    def make(self) -> int:
        """Have the least important lane that can give up its oldest file; the bytes freed."""
        sharing, lane = self._sharing, self._lane
        givers = [other for other in reversed(Lane) if other > lane]
        if sharing.has_below(sharing.floors[lane], lane):
            givers += [other for other in reversed(Lane) if Lane.ALERT < other < lane]
        asked = [(other, sharing.floors[other]) for other in givers]
        if sharing.has_below(FILES_MIN, lane):
            asked += [(other, 1 if lane == Lane.ALERT else FILES_MIN) for other in givers]
        return next((freed for other, keep in asked if (freed := sharing.take_from(other, keep))), 0)


def marks_of(content: bytes) -> dict[int, int]:
    """The highest n per incarnation in a stored batch; nothing if it cannot be read."""
    try:
        unpacker = msgpack.Unpacker()
        unpacker.feed(content[:4096])
        return {incarnation: first_n + count - 1 for incarnation, first_n, count in unpacker.unpack()[7]}
    except (ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException):
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
        unreadable: OSError | None = None
        fd = disk.open(path)
        try:
            found = disk.read(fd, _EPOCH_SIZE, 0)
        except OSError as error:
            found, unreadable = b"", error
        finally:
            disk.close(fd)
        epoch = found[len(_EPOCH_HEAD) : len(_EPOCH_HEAD) + 8]
        if found == _epoch_file(epoch):
            return epoch
        if unreadable and not _epoch_of_segments(disk, folder, segment_bytes):
            raise unreadable  # a whole disk may be silent: what it holds must not become another epoch's
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
