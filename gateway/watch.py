"""Waiting for files and folders to change without looking again and again: inotify(7), over ctypes.

A box that waits for a plug or an enrolment sleeps until the kernel says that something happened.
The standard library has no inotify; three calls of the C library are all that it takes.
"""

import ctypes
import os
import struct
from pathlib import Path
from typing import Final, Self

_MODIFY: Final = 0x002  # linux/inotify.h
_ATTRIB: Final = 0x004
_CLOSE_WRITE: Final = 0x008
_MOVED_FROM: Final = 0x040
_MOVED_TO: Final = 0x080
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_NAMES: Final = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_HEAD: Final = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_READ_SIZE: Final = 16384


class Watch:
    """One inotify instance. `fileno` is readable when something changed; `changes` says what.

    Raises OSError if the kernel has no instance left for this user (fs.inotify.max_user_instances).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._paths: dict[int, Path] = {}
        self._fd = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: Path, *, closes: bool = True, writes: bool = False) -> None:
        """Watch a folder for names that come, go, change their rights or were written and closed.

        Without `closes` the last does not count: in /dev it happens each time that anybody is done with
        /dev/null. With `writes` every write counts, also to a file that stays open. A file can be watched,
        too. Adding a path again does no harm. Raises OSError if it is not there or may not be read.
        """
        mask = _NAMES | (_CLOSE_WRITE if closes else 0) | (_MODIFY if writes else 0)
        self._paths[self._call("inotify_add_watch", self._fd, os.fsencode(path), mask)] = path

    def changes(self) -> set[Path]:
        """What changed since the last call: names in watched folders, or a watched path itself.

        Never waits. If more happened than the kernel could hold, every watched path has changed. A
        watched path that was removed is watched no longer: `add` it when it is back.
        """
        changed: set[Path] = set()
        while True:
            try:
                events = os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                return changed
            at = 0
            while at < len(events):
                number, mask, _, length = _HEAD.unpack_from(events, at)
                at += _HEAD.size + length
                name = os.fsdecode(events[at - length : at].rstrip(b"\0"))
                if mask & _OVERFLOW:
                    changed.update(self._paths.values())
                elif number in self._paths:
                    path = self._paths[number]
                    changed.add(path / name if name else path)
                    if mask & _IGNORED:
                        del self._paths[number]

    def fileno(self) -> int:
        """The file descriptor, for a loop or a poller to wait on."""
        return self._fd

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, name: str, *arguments: int | bytes) -> int:
        number = int(getattr(self._libc, name)(*arguments))
        if number < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{name}: {os.strerror(code)}")
        return number
