"""Preallocated files that wait to be overwritten: made once, used again and again as segments.

Overwriting blocks that are there changes neither size nor extents, so a sync writes only the data. What an
outage made stays for the next one, within the lane's quota: a file that is made anew is written twice.
Synchronization: the caller's.
"""

import contextlib
import secrets
from collections import Counter
from pathlib import Path

from gateway.disk import Disk
from gateway.room import Room


class Blanks:
    """The blank files of one lane's folder. `counters` is the lane's."""

    def __init__(self, disk: Disk, folder: Path, size: int, counters: Counter[str], room: Room) -> None:
        self._disk = disk
        self._folder = folder
        self._size = size
        self._counters = counters
        self.room = room
        self._files: list[Path] = []

    def found(self, files: list[Path], most: int) -> None:
        """Files that were blank when the folder was opened; those beyond `most` are removed."""
        self._files = files[:most]
        for path in files[most:]:
            with contextlib.suppress(OSError):
                self._disk.unlink(path)

    def __len__(self) -> int:
        return len(self._files)

    def take(self) -> Path | None:
        """One that is ready, if there is one."""
        return self._files.pop(0) if self._files else None

    def give_back(self, path: Path) -> None:
        """One that was taken and could not be used, if it is still there under its name."""
        with contextlib.suppress(OSError):
            if path.name in self._disk.list_folder(self._folder):
                self._files.append(path)

    def create(self, freed: int) -> Path:
        """A new one, zeros all through; `freed` bytes were given up for it. Raises OSError."""
        self.room.ask(freed)
        path = self._name()
        self._disk.create(path, self._size)
        self._counters["blank_bytes"] += self._size
        return path

    def recycle(self, path: Path, fd: int | None, most: int) -> None:
        """Make a used file blank again, or remove it if `most` are waiting.

        A file that can be neither stays until the folder is opened again.
        """
        try:
            if fd is not None:
                self._disk.close(fd)
            if len(self._files) < most:
                blank = self._name()
                self._disk.rename(path, blank)
                self._files.append(blank)
            else:
                self._disk.unlink(path)
        except OSError:
            self._counters["recycle_errors"] += 1

    def remove(self, path: Path) -> None:
        """Give one that was taken back to the file system."""
        with contextlib.suppress(OSError):
            self._disk.unlink(path)
            self._disk.sync_folder(self._folder)  # some file systems have the space only then

    def _name(self) -> Path:
        return self._folder / f"{secrets.token_hex(8)}.free"
