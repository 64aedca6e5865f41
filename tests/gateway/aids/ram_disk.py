"""A disk in memory: as fast as a state machine needs it, and damaged where a test says."""

from pathlib import Path

from gateway.disk import Disk
from gateway.errors import SpoolError


class RamDisk(Disk):
    """Files survive everything except `rot`. What was written counts as synced."""

    def __init__(self) -> None:
        self._folders: set[Path] = set()
        self._files: dict[Path, bytearray] = {}
        self._open: dict[int, bytearray] = {}
        self._locks: dict[int, Path] = {}
        self._next_fd = 1_000_000  # no number that a real file could have

    def make_folder(self, path: Path) -> None:
        self._folders |= {path, *path.parents}

    def list_folder(self, path: Path) -> list[str]:
        if path not in self._folders:
            raise FileNotFoundError(path)
        return sorted(p.name for p in self._folders | self._files.keys() if p.parent == path)

    def create(self, path: Path, size: int) -> None:
        self._files[path] = bytearray(size)

    def open(self, path: Path) -> int:
        if path not in self._files:
            raise FileNotFoundError(path)
        self._open[self._fd()] = self._files[path]
        return self._next_fd

    def _fd(self) -> int:
        self._next_fd += 1
        return self._next_fd

    def close(self, fd: int) -> None:
        if self._locks.pop(fd, None) is None:
            del self._open[fd]

    def read(self, fd: int, size: int, at: int) -> bytes:
        return bytes(self._open[fd][at : at + size])

    def read_medium(self, fd: int, at: int) -> None:
        self.read(fd, 1, at)

    def read_afresh(self, fd: int, size: int, at: int) -> None:
        assert fd in self._open

    def free_bytes(self, path: Path) -> int:
        assert path in self._folders
        return 1 << 40

    def total_bytes(self, path: Path) -> int:
        return self.free_bytes(path)

    def is_at(self, fd: int, path: Path) -> bool:
        return self._files.get(path) is self._open[fd]

    def write(self, fd: int, content: bytes, at: int) -> None:
        self._open[fd][at : at + len(content)] = content

    def sync(self, fd: int) -> None:
        assert fd in self._open

    def rename(self, old: Path, new: Path) -> None:
        self._files[new] = self._files.pop(old)

    def unlink(self, path: Path) -> None:
        del self._files[path]

    def sync_folder(self, path: Path) -> None:
        assert path in self._folders

    def lock(self, path: Path) -> int:
        if path in self._locks.values():
            raise SpoolError(f"another gateway already uses {path.parent}; stop it first")
        self._locks[self._fd()] = path
        return self._next_fd

    @property
    def open_files(self) -> int:
        """How many descriptors nobody closed."""
        return len(self._open) + len(self._locks)

    def rot(self, content: bytes) -> bool:
        """Change one byte of every copy of `content`; whether there was one."""
        found = False
        for file in self._files.values():
            at = file.find(content)
            if at >= 0:
                file[at] ^= 0x40
                found = True
        return found
