"""A small value that is replaced often and must never be half written: two pages, used in turn.

Each page is `u64 turn | u32 length | u32 crc | content`; the valid one with the higher turn counts.
"""

import struct
import zlib
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.disk import PAGE, Disk

_HEAD: Final = struct.Struct("<QII")


class TwoPageFile:
    """One value in a two-page file. With `sync`, a write returns only when it is on the medium."""

    def __init__(self, disk: Disk, path: Path, *, sync: bool) -> None:
        self._disk = disk
        self._sync = sync
        self._turn = 0
        self.value: Any = None
        if path.name not in disk.list_folder(path.parent):
            disk.create(path, 2 * PAGE)
            disk.sync_folder(path.parent)
        self._fd = disk.open(path)
        for page in (0, 1):
            self._load(disk.read(self._fd, PAGE, page * PAGE))

    def _load(self, page: bytes) -> None:
        if len(page) < _HEAD.size:
            return
        turn, length, crc = _HEAD.unpack_from(page)
        content = page[_HEAD.size : _HEAD.size + length]
        if turn > self._turn and zlib.crc32(content, turn & 0xFFFFFFFF) == crc:
            self._turn = turn
            self.value = msgpack.unpackb(content, strict_map_key=False)

    def write(self, value: Any) -> None:
        """Replace the value. Raises OSError; the old value then stands."""
        content: bytes = msgpack.packb(value)
        turn = self._turn + 1
        page = _HEAD.pack(turn, len(content), zlib.crc32(content, turn & 0xFFFFFFFF)) + content
        self._disk.write(self._fd, page, turn % 2 * PAGE)
        if self._sync:
            self._disk.sync(self._fd)
        self._turn, self.value = turn, value

    def close(self) -> None:
        """Close the file."""
        self._disk.close(self._fd)
