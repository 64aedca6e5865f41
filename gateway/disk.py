"""Every file call the spool makes, in one place: the real disk here, a recording or failing one in tests."""

import contextlib
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from gateway.errors import SpoolError

PAGE: Final = 4096  # bytes; what flash and file systems write at once
_ZEROS: Final = bytes(1 << 20)
_PROBES: Final = 8


class Disk:
    """The real disk. All methods raise OSError as the kernel does."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents, unless it is there; durable in any case."""
        if not path.is_dir():
            if not path.parent.is_dir():
                self.make_folder(path.parent)
            path.mkdir(exist_ok=True)
        self.sync_folder(path.parent)  # also where it is there: an earlier sync may have failed

    def list_folder(self, path: Path) -> list[str]:
        """Names in a folder, sorted."""
        return sorted(entry.name for entry in path.iterdir())

    def create(self, path: Path, size: int) -> None:
        """A file of `size` zeros, its blocks written, so that later writes allocate nothing."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            for at in range(0, size, len(_ZEROS)):
                self.write(fd, _ZEROS[: size - at], at)
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(fd)

    def open(self, path: Path) -> int:
        """Open an existing file for reading and writing; a file descriptor."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a file descriptor."""
        os.close(fd)

    def read(self, fd: int, size: int, at: int) -> bytes:
        """Up to `size` bytes from offset `at`; fewer only before the end or a bad page."""
        return os.pread(fd, size, at)

    def answers(self, fd: int, end: int) -> bool:
        """Whether the medium gives out any of a few pages spread over the first `end` bytes of a file."""
        for at in (0, *(end * part // _PROBES // PAGE * PAGE for part in range(1, _PROBES))):
            with contextlib.suppress(OSError):
                self.read_medium(fd, at)
                return True
        return False

    def read_medium(self, fd: int, at: int) -> None:
        """Have the medium read the page at `at`, past the page cache where the file system can do that."""
        self.read(fd, 1, at)
        try:
            past_cache = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:  # no O_DIRECT here: what was read above has to do
            return
        try:
            with mmap.mmap(-1, PAGE) as aligned:
                os.preadv(past_cache, [aligned], at)
        finally:
            os.close(past_cache)

    def read_afresh(self, fd: int, size: int, at: int) -> None:
        """Have the next read of these bytes show what is on the medium.

        After a failed sync the page cache shows what was to be written, and calls it clean.
        """
        with contextlib.suppress(OSError):
            os.fdatasync(fd)  # only clean pages can be dropped; after a failed sync they count as clean
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, at, size, os.POSIX_FADV_DONTNEED)

    def write(self, fd: int, content: bytes, at: int) -> None:
        """Write all of `content` at offset `at`."""
        view = memoryview(content)
        while view:
            done = os.pwrite(fd, view, at)
            view, at = view[done:], at + done

    def sync(self, fd: int) -> None:
        """Wait until the file's content is on the medium."""
        os.fdatasync(fd)
        # ext4 that was remounted read-only under open files takes writes into memory, and then fdatasync
        # returns 0 and writes nothing (seen on Linux 6.12: hil/ladder/test_disk.py).
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def rename(self, old: Path, new: Path) -> None:
        """Rename; durable only after sync_folder."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file; durable only after sync_folder."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """Wait until the folder's names are on the medium."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """What an ordinary user may still write to the file system that holds `path`."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def total_bytes(self, path: Path) -> int:
        """Size of the file system that holds `path`."""
        found = os.statvfs(path)
        return found.f_blocks * found.f_frsize

    def is_at(self, fd: int, path: Path) -> bool:
        """Whether what is open as `fd` still goes by `path`; not where another disk was mounted over it."""
        open_one, named = os.fstat(fd), path.stat()
        return (open_one.st_dev, open_one.st_ino) == (named.st_dev, named.st_ino)

    def lock(self, path: Path) -> int:
        """Take the exclusive lock of a folder's owner; held until the returned descriptor closes.

        Raises SpoolError if another process holds it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise SpoolError(f"another gateway already uses {path.parent}; stop it first") from None
        return fd
