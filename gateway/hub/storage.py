"""What the hub's disk says: SQLite's refusals in a person's words, and a disk that only pretends to write."""

import os
import sqlite3
from pathlib import Path
from typing import Final

from gateway.errors import HubError

_READ_ONLY: Final = (
    "its disk is mounted read-only; the kernel does that after errors, so the disk may be dying: look at "
    "`dmesg`, then replace it, or mount it writable"
)
_MEANINGS: Final = {
    sqlite3.SQLITE_FULL: "its disk is full; free some space",
    sqlite3.SQLITE_IOERR: "its disk does not do what it is told; look at `dmesg`, it may be dying",
    sqlite3.SQLITE_READONLY: "this user may not write to it; correct the owner of the folder and its files",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is its disk mounted, and may this user write there?",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged",
    sqlite3.SQLITE_BUSY: "another program holds it",
}


def refused(verb: str, path: Path, error: sqlite3.Error, cure: str = "") -> HubError:
    """The error to raise where SQLite refused; `cure` is what helps against damage of this file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is detail
    meaning = _MEANINGS.get(code, "")
    if meaning == "it is damaged" and cure:
        meaning = f"{meaning}; {cure}"
    if is_read_only(path):
        meaning = _READ_ONLY
    return HubError("; ".join(filter(None, (f"cannot {verb} {path}: {error}", meaning))))


def is_read_only(path: Path) -> bool:
    """Whether the file's file system is mounted read-only."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


class Belief:
    """Whether what SQLite has committed to a file may be believed to be on the medium.

    Where ext4 is remounted read-only under a program, it takes writes to blocks that a file has already
    into memory, and fdatasync returns 0 without writing (seen on Linux 6.12, hil/ladder/test_disk.py).
    SQLite overwrites its log in place, and would report a commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doubted = False

    def check(self) -> None:
        """Raises HubError while the disk is read-only. Afterwards what stayed in memory is written first."""
        if is_read_only(self._path):
            self._doubted = True
            raise HubError(f"cannot write {self._path}: {_READ_ONLY}")
        if not self._doubted:
            return
        try:
            for path in (self._path.with_name(self._path.name + "-wal"), self._path):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise HubError(f"cannot write {self._path}: {error.strerror}") from error
        self._doubted = False
