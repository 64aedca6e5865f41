# ruff: noqa: D102 # gateway.disk.Disk says what the calls do
"""gateway.disk.Disk over a medium in memory: it tells of every operation before it is done, and can fail.

`before` is called before each step after which a power cut could leave something new; the medium is
then as it is at that moment. `create` is three steps: the name, the blocks, the end.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from gateway.disk import Disk
from gateway_hil.crashes.medium import PAGE, File, Folder

Watch = Callable[[str, str], None]  # operation, and what it is done to


@dataclass(slots=True)
class Failing:
    """The next calls of `operation` whose path holds `where` fail, `times` times."""

    operation: str
    errno: int
    where: str = ""
    times: int = 1


class RecordingDisk(Disk):
    """A disk of `capacity` bytes with the folder `root` on it. `draw` decides what a failure leaves."""

    def __init__(
        self, root: Folder, draw: Random, before: Watch | None = None, capacity: int = 1 << 40
    ) -> None:
        self.root = root
        self.before = before
        self.writes: Callable[[str, bytes], None] | None = None  # told of every write: path and content
        self.capacity = capacity
        self.failing: list[Failing] = []
        self.failed: set[str] = set()  # operations that have failed
        self.changes = 0  # counts whatever a power cut could show
        self._draw = draw
        self._open: dict[int, tuple[File, str]] = {}
        self._next_fd = 3

    @property
    def open_files(self) -> list[str]:
        """Names of the files that are open."""
        return [name for _, name in self._open.values()]

    def _step(self, operation: str, path: str) -> None:
        if self.before is not None:
            self.before(operation, path)
        self.changes += 1

    def _may_fail(self, operation: str, path: str) -> None:
        for failing in self.failing:
            if failing.operation == operation and failing.where in path:
                failing.times -= 1
                if not failing.times:
                    self.failing.remove(failing)
                self.failed.add(operation)
                raise OSError(failing.errno, os.strerror(failing.errno), path)

    def _folder(self, path: Path) -> Folder:
        node: File | Folder = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Folder) or part not in node.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = node.names[part]
        if isinstance(node, File):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return node

    def _file(self, path: Path) -> File:
        node = self._folder(path.parent).names.get(path.name)
        if not isinstance(node, File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return node

    # ---- the calls of gateway.disk.Disk ----

    def make_folder(self, path: Path) -> None:
        if path.name not in self._folder(path.parent).names:
            self._step("make folder", str(path))
            self._folder(path.parent).change((path.name, Folder()))
        self.sync_folder(path.parent)

    def list_folder(self, path: Path) -> list[str]:
        return sorted(self._folder(path).names)

    def create(self, path: Path, size: int) -> None:
        folder = self._folder(path.parent)
        self._step("create", str(path))
        self._may_fail("create", str(path))
        pages = -(-size // PAGE)
        file = File.zeros(min(size, self._draw.randrange(pages + 1) * PAGE))
        folder.change((path.name, file))
        self._step("fill", str(path))
        if self.used() + size > self.capacity:
            self.unlink(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file.grow(size)
        self.changes += 1

    def open(self, path: Path) -> int:
        file = self._file(path)
        self._next_fd += 1
        self._open[self._next_fd] = (file, str(path))
        return self._next_fd

    def close(self, fd: int) -> None:
        if fd not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        del self._open[fd]

    def read(self, fd: int, size: int, at: int) -> bytes:
        file, path = self._open[fd]
        if self.failing:
            self._may_fail("read", path)
        return file.read(size, at)

    def read_afresh(self, fd: int, size: int, at: int) -> None:
        file, _ = self._open[fd]
        with contextlib.suppress(OSError):
            self.sync(fd)
        file.forget(at, size)

    def read_medium(self, fd: int, at: int) -> None:
        self.read(fd, 1, at)

    def write(self, fd: int, content: bytes, at: int) -> None:
        file, path = self._open[fd]
        if self.writes is not None:
            self.writes(path, content)
        self._step("write", path)
        if self.failing:
            try:
                self._may_fail("write", path)
            except OSError:
                file.write(content[: self._draw.randrange(len(content) + 1)], at)
                raise
        file.write(content, at)

    def sync(self, fd: int) -> None:
        file, path = self._open[fd]
        if file.dirty or self.failing:
            self._step("sync", path)
        if self.failing:
            try:
                self._may_fail("sync", path)
            except OSError:
                file.sync_fails(self._draw)
                raise
        file.sync()

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", f"{old} -> {new.name}")
        self._may_fail("rename", str(old))
        self._folder(old.parent).change((old.name, None), (new.name, self._file(old)))

    def unlink(self, path: Path) -> None:
        self._file(path)
        self._step("unlink", str(path))
        self._may_fail("unlink", str(path))
        self._folder(path.parent).change((path.name, None))

    def sync_folder(self, path: Path) -> None:
        folder = self._folder(path)
        if folder.pending or self.failing:
            self._step("sync folder", str(path))
        self._may_fail("sync folder", str(path))
        folder.sync()

    def lock(self, path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.open(path)
        self._folder(path.parent).change((path.name, File.zeros(0)))
        return self.open(path)

    # ---- the file system's size ----

    def used(self) -> int:
        """Bytes that files take."""
        total, folders = 0, [self.root]
        while folders:
            for node in folders.pop().names.values():
                if isinstance(node, Folder):
                    folders.append(node)
                else:
                    total += node.size
        return total

    def free_bytes(self, path: Path) -> int:
        return max(0, self.capacity - self.used())

    def total_bytes(self, path: Path) -> int:
        return self.capacity

    def is_at(self, fd: int, path: Path) -> bool:
        return self._open[fd][0] is self._file(path)
