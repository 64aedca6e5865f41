"""An event that a poller can wait for beside its sockets."""

import contextlib
import os
import threading


class Alarm(threading.Event):
    """`set` from any thread or signal handler ends a wait in `poll` or `wait`; `clear` it before the next."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable while the event is set."""
        return self._fd

    def set(self) -> None:
        """Set the event."""
        super().set()
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Unset the event."""
        super().clear()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Let go of the descriptor, when nobody will set it any more."""
        os.close(self._fd)
