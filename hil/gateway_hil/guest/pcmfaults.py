"""Faults of a sound card's capture, brought about in the kernel on the very stream that somebody records.

The stream is an open file of the recording process; pidfd_getfd(2) gives root a second handle on it, and
ALSA's own ioctls do the rest (include/uapi/sound/asound.h). The recorder sees what it would see of a card
that fails: no samples, or an overrun.
"""

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PAUSE: Final = 0x40044145  # _IOW('A', 0x45, int)
_XRUN: Final = 0x4148  # _IO('A', 0x48)
_PIDFD_GETFD: Final = 438  # the same on all architectures


def pause(node: Path, paused: bool) -> None:
    """Have the card give no samples, or go on. Raises OSError, also if nobody records from it."""
    with _stream(node) as fd:
        fcntl.ioctl(fd, _PAUSE, int(paused))


def overrun(node: Path) -> None:
    """Have the kernel take its buffer for overrun. Raises OSError, also if nobody records from it."""
    with _stream(node) as fd:
        fcntl.ioctl(fd, _XRUN)


@contextmanager
def _stream(node: Path) -> Iterator[int]:
    pid, number = _recorder(node)
    process = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = int(libc.syscall(_PIDFD_GETFD, process, number, 0))
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(node))
    finally:
        os.close(process)
    try:
        yield fd
    finally:
        os.close(fd)


def _recorder(node: Path) -> tuple[int, int]:
    """(process, its file descriptor) of whoever has this capture open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == node:
                return int(link.parts[2]), int(link.name)
        except OSError:
            continue
    raise FileNotFoundError(f"nobody records from {node}")
