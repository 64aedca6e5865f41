"""Tells a thread that hub.sqlite was written, by this process or another, so that it need not look."""

import contextlib
import time
from pathlib import Path
from typing import Final

import zmq

from gateway.watch import Watch

_LOOKS: Final = ((2.0, 100), (15.0, 1000))  # until so many seconds after a write: look every so many ms
_REFUSED_MS: Final = 200  # where the kernel refuses to watch
_ANYWAY_MS: Final = 60_000


class RegistryWatch:
    """For one thread's poller. SQLite writes to the log beside the file, which stays while a hub runs.

    What was written can be read only a moment later, when it is on the disk, and nothing tells of
    that: after a write the thread looks again and again for a while.
    """

    def __init__(self, registry: Path) -> None:
        """Watch from now on; a connection to the file must be open, so that its log is there."""
        self._written_at = time.monotonic()
        self._watch: Watch | None = None
        with contextlib.suppress(OSError):
            watch = Watch()
            try:
                for path in (registry, Path(f"{registry}-wal")):
                    watch.add(path, writes=True)
                self._watch = watch
            finally:
                if self._watch is None:
                    watch.close()

    def register(self, poller: zmq.Poller) -> None:
        """Have a poller wait for it, `wait_ms` at the most."""
        if self._watch is not None:
            poller.register(self._watch.fileno(), zmq.POLLIN)

    @property
    def wait_ms(self) -> int:
        """After how long to look even if nothing is told."""
        if self._watch is None:
            return _REFUSED_MS
        since_s = time.monotonic() - self._written_at
        return next((every_ms for until_s, every_ms in _LOOKS if since_s < until_s), _ANYWAY_MS)

    def heard(self) -> None:
        """Take in what came, so that the next wait is for what comes after."""
        if self._watch is not None and self._watch.changes():
            self._written_at = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()
