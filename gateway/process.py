"""What every process of a box does when it starts: die with its parent, so that no orphan keeps a port."""

import ctypes
import os
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
    return os.environ | {"GATEWAY_PARENT": str(os.getpid())}
