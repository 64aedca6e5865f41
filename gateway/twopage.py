"""A small value that is replaced often and must never be half written: two pages, used in turn.

Each page is `u64 turn | u32 length | u32 crc | content`; the valid one with the higher turn counts.
"""

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.disk import PAGE, Disk

_HEAD: Final = struct.Struct("<QII")


class TwoPageFile:
    """One value in a two-page file. With `sync`, a write returns only when it is on the medium.

    A file that cannot be made or read is as good as none: `value` is None, and `write` raises.
    """

    def __init__(self, disk: Disk, path: Path, *, sync: bool) -> None:
        self._disk = disk
        self._path = path
        self._sync = sync
        self._turn = 0
        self._fd: int | None = None
        self.value: Any = None
        with contextlib.suppress(OSError):
            self._open()

    def _open(self) -> int:
        folder = self._path.parent
        if self._path.name not in self._disk.list_folder(folder):
            self._disk.create(self._path, 2 * PAGE)
        fd = self._disk.open(self._path)
        try:
            if self._sync:
                self._disk.read_afresh(fd, 2 * PAGE, 0)
            for page in (0, 1):
                with contextlib.suppress(OSError, ValueError, msgpack.exceptions.UnpackException):
                    self._load(self._disk.read(fd, PAGE, page * PAGE))
            if self._sync:
                self._disk.sync_folder(folder)  # also if it is there: an earlier sync may have failed
        except OSError:
            self._disk.close(fd)
            raise
        self._fd = fd
        return fd

    def _load(self, page: bytes) -> None:
        if len(page) < _HEAD.size:
            return
        turn, length, crc = _HEAD.unpack_from(page)
        content = page[_HEAD.size : _HEAD.size + length]
        if turn > self._turn and zlib.crc32(content, turn & 0xFFFFFFFF) == crc:
            self.value = msgpack.unpackb(content, strict_map_key=False)
            self._turn = turn

    def value_of(self, epoch: bytes) -> dict[str, Any]:
        """The value, if it is a dict of that epoch; else an empty one."""
        found = self.value
        return found if isinstance(found, dict) and found.get("epoch") == epoch else {}

    def write(self, value: Any, *, sync: bool = False) -> None:
        """Replace the value; `sync` makes this one durable. Raises OSError; the old value then stands."""
        fd = self._open() if self._fd is None else self._fd
        content: bytes = msgpack.packb(value)
        turn = self._turn + 1
        page = _HEAD.pack(turn, len(content), zlib.crc32(content, turn & 0xFFFFFFFF)) + content
        if len(page) > PAGE:
            raise ValueError(f"{self._path.name}: a value of {len(content)} bytes does not fit a page")
        self._disk.write(fd, page, turn % 2 * PAGE)
        if self._sync or sync:
            self._disk.sync(fd)
        self._turn, self.value = turn, value

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
