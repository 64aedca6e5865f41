"""The heartbeat of a worker: a byte now and then to the supervisor, who ends a worker that is silent.

The worker's loop beats. While it waits for something that may take long, as for a child that tries a model,
`beating` does it, from a thread and not for ever: a wait without end is silence, too.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

EVERY_S: Final = 5.0
LONGEST_S: Final = 150.0  # of one wait: three versions of a model, tried one after the other
_fds: list[int] = []  # of this process; one, or none


def beats_to(fd: int) -> None:
    """From now on, `beat` writes there."""
    os.set_blocking(fd, False)
    _fds[:] = [fd]


def beat() -> None:
    """One beat, if somebody listens for it."""
    for fd in _fds:
        with contextlib.suppress(BlockingIOError):  # a supervisor that does not read still lives
            os.write(fd, b".")


@contextlib.contextmanager
def beating(every_s: float = EVERY_S, longest_s: float = LONGEST_S) -> Iterator[None]:
    """Beat while the body runs, for `longest_s` at most."""
    beat()
    is_over = threading.Event()
    thread = threading.Thread(target=_beat_on, args=(is_over, every_s, longest_s), daemon=True)
    if _fds:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if _fds:
            thread.join()


def _beat_on(is_over: threading.Event, every_s: float, longest_s: float) -> None:
    for _ in range(int(longest_s / every_s)):
        if is_over.wait(every_s):
            return
        beat()
