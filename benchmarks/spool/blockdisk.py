"""A block device of its own, so that what reaches the medium can be counted: ext4 on a loop device.

Counted is what the kernel's own statistics say was written to that device: file content, ext4's
journal and its metadata (Documentation/block/stat.rst). /proc/self/io is of no use here: it counts
pages made dirty, and large folios too often.
"""

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_SECTOR: Final = 512  # bytes; of the statistics, whatever the device's own
_IMAGE: Final = 3 << 30
_SECTORS_WRITTEN, _FLUSHES = 6, 15  # columns of /sys/block/*/stat


@dataclass(frozen=True, slots=True)
class Written:
    """What was written up to a moment; flushes are None where they are not counted."""

    octets: int
    flushes: int | None

    def and_between(self, before: "Written", after: "Written") -> "Written":
        """This, and what was written between two later moments."""
        return Written(self.octets + after.octets - before.octets, self.flushes)


class NoBlockDisk(Exception):
    """This machine does not allow one; the text says why."""


class BlockDisk:
    """Made and mounted on entering, gone on leaving. Raises NoBlockDisk. `folder` is where to work."""

    def __init__(self, beside: Path) -> None:
        self._image = beside / "disk.img"
        self.folder = beside / "mounted"
        self._undo = contextlib.ExitStack()
        self._stat = Path()

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise NoBlockDisk("it takes root to make a loop device")
        with contextlib.ExitStack() as undo:
            try:
                self._make(undo)
            except FileNotFoundError as error:
                raise NoBlockDisk(f"{error.filename} is missing") from error
            except (OSError, subprocess.CalledProcessError) as error:
                told = getattr(error, "stderr", None) or str(error)
                raise NoBlockDisk(f"no loop device here: {told.strip()}") from error
            self._undo = undo.pop_all()
        return self

    def _make(self, undo: contextlib.ExitStack) -> None:
        fd = os.open(self._image, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        undo.callback(self._image.unlink)
        try:
            os.posix_fallocate(fd, 0, _IMAGE)
        finally:
            os.close(fd)
        # Direct I/O: pages are cached once, by the file system on top.
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(self._image)).strip()
        undo.callback(_run, "losetup", "--detach", device)
        # Nothing left to be initialized later, while somebody counts.
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", device)
        self.folder.mkdir()
        undo.callback(self.folder.rmdir)
        _run("mount", "-t", "ext4", "-o", "noatime", device, str(self.folder))
        undo.callback(_run, "umount", str(self.folder))
        self._stat = Path("/sys/block") / Path(device).name / "stat"

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    def written(self) -> Written:
        """All that was written up to now, once what is still in memory is out."""
        _run("sync", "--file-system", str(self.folder))
        fields = [int(word) for word in self._stat.read_text(encoding="ascii").split()]
        return Written(fields[_SECTORS_WRITTEN] * _SECTOR, fields[_FLUSHES])


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
