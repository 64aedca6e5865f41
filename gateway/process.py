"""What a process does when it starts: die with its parent, so that no orphan keeps a port; hear signals."""

import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send this process `signum` when its parent dies, however it dies.

    Raises OSError if the kernel refuses. A parent that is already dead is noticed: then this
    process ends at once. The expected parent's pid comes in GATEWAY_PARENT; without it (started by
    systemd or by hand) nothing is done.
    """
    expected = os.environ.get("GATEWAY_PARENT")
    if expected is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(expected):
        os.kill(os.getpid(), signum)


def child_environment() -> dict[str, str]:
    """The environment for a child that calls `die_with_parent`."""
    # numpy's products are small here: a second thread would only spin, and be waited for on a busy box.
    return {"OPENBLAS_NUM_THREADS": "1"} | os.environ | {"GATEWAY_PARENT": str(os.getpid())}


def tell_signals(descriptor: int, *numbers: int) -> None:
    """Have these signals do nothing but write a byte to a descriptor that does not block, and at once.

    A handler in Python runs only when the main thread is back from its wait, and a signal that comes
    just before a wait begins does not end it. Main thread only.
    """
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)


def open_many_files() -> None:
    """Raise this process's limit of open files to all that it may have.

    The usual 1024, which select(2) is to blame for, are 500 boxes with two connections each, or 8 GiB of
    a spool. Whoever calls this uses poll or epoll.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
