"""Waiting for a plug: sleeps until a name below /dev, or any other path, comes, goes or changes its rights.

A port that is gone must cost nothing, for a camera may be away for a year. So nothing is looked at again
and again; the kernel says when something happened (inotify, gateway.watch).
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.log import say
from gateway.watch import Watch

LOOK_S: Final = 1.0  # pause between looks where the kernel has no inotify left for this user
_log = logging.getLogger("ports")
_told: set[int] = set()


class DevWatch:
    """Wakes for paths that begin with one of `prefixes`, such as "/dev/ttyACM" or "/dev/snd/".

    Use it as a context manager. A folder that is not there yet (/dev/serial/by-path, before udev has made
    it) is waited for. Look at what you wait for after entering, not before: what changed until then is
    not told.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple(sorted(set(prefixes)))
        self._watch: Watch | None = None
        self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a change, so long at most; whether there was one.

        False may come early, after a second, where inotify cannot be had: look yourself, then ask again.
        """
        if self._watch is None:
            await asyncio.sleep(min(timeout_s, LOOK_S))
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def __enter__(self) -> Self:
        try:
            self._watch = Watch()
            self._arm()
        except OSError as error:
            self._fall_back(error)
            return self
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _arm(self) -> None:
        """Watch the folder of every prefix, or the nearest one above it that is there."""
        assert self._watch is not None
        for prefix in self._prefixes:
            for folder in Path(os.path.dirname(prefix), "x").parents:  # noqa: PTH120  # "/dev/snd/" is a folder
                try:
                    self._watch.add(folder, closes=False)
                except (FileNotFoundError, NotADirectoryError, PermissionError):
                    continue
                break

    def _take(self) -> None:
        assert self._watch is not None
        for path in map(str, self._watch.changes()):
            # A folder above may have come, or gone: then there is more, or less, to watch.
            is_above = any(prefix.startswith(f"{path}/") for prefix in self._prefixes)
            if is_above:
                self._arm()
            if is_above or path.startswith(self._prefixes):
                self._changed.set()

    def _fall_back(self, error: OSError) -> None:
        """Say once that looking again and again is all that is left."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if error.errno not in _told:
            _told.add(error.errno or 0)
            say(
                _log,
                logging.WARNING,
                f"cannot wait for plugs ({error.strerror}), so looking every second; "
                "raise fs.inotify.max_user_instances or max_user_watches",
            )
