"""A small disk that others use, too: as much fits on it as a test says. Quick, because nothing is synced."""

import errno
import os
import threading
from pathlib import Path

from gateway.disk import Disk


class SmallDisk(Disk):
    """Files of at most `capacity` bytes in all, beside `others` bytes that are no files of ours."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.others = 0
        self._sizes: dict[Path, int] = {}
        self._lock = threading.RLock()

    @property
    def used(self) -> int:
        with self._lock:
            return sum(self._sizes.values())

    def free_bytes(self, path: Path) -> int:
        return max(0, self.capacity - self.others - self.used)

    def total_bytes(self, path: Path) -> int:
        return self.capacity

    def create(self, path: Path, size: int) -> None:
        with self._lock:
            if size > self.free_bytes(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._sizes[path] = size
        path.write_bytes(b"")
        os.truncate(path, size)

    def sync(self, fd: int) -> None:
        assert fd

    def sync_folder(self, path: Path) -> None:
        assert path.is_dir()

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        with self._lock:
            self._sizes[new] = self._sizes.pop(old)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        with self._lock:
            del self._sizes[path]
