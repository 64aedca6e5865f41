"""An event that a poller can wait for beside its sockets."""

import contextlib
import os
import select
from typing import Final

_READ_SIZE: Final = 4096


class Alarm:
    """`set` from any thread or signal handler ends a wait in `poll`; `clear` it before the next.

    Its descriptor alone says whether it is set: beside a flag, a `clear` in another thread could come
    between the two, and a poller would never sleep again.
    """

    def __init__(self) -> None:
        self._fd, self.teller = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a byte into `teller` sets it

    def fileno(self) -> int:
        """Readable while the event is set."""
        return self._fd

    def set(self) -> None:
        """Set the event."""
        with contextlib.suppress(BlockingIOError):  # so full that it is set
            os.write(self.teller, b"!")

    def is_set(self) -> bool:
        """Whether it was set since it was made or cleared."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(0))

    def clear(self) -> None:
        """Unset the event."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _READ_SIZE):
                pass

    def close(self) -> None:
        """Let go of the descriptors, when nobody will set it any more."""
        os.close(self._fd)
        os.close(self.teller)
