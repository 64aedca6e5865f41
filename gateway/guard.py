"""What a worker lays around its drivers: a limit of memory, a watch on its loop, and last words if it dies.

All of it is the kernel's work, so an idle worker wakes up for none of it. A driver that leaks gets
MemoryError (RLIMIT_DATA, which counts threads' stacks, too). One that spins or waits keeps the loop from
coming round: then a timer's SIGALRM has faulthandler write down where every thread stands, in Python or
below it, and ends the process. So does a segmentation fault. `gateway.lastwords` reads what was written.
"""

import asyncio
import contextlib
import faulthandler
import fcntl
import math
import os
import resource
import selectors
import signal
import time
from pathlib import Path
from typing import Any, Final

from gateway.lastwords import crash_path
from gateway.modelmark import mark_path, mark_runs_in
from gateway.plan import PortPlan

# MiB a process may allocate, by its port's kind. Workers of slow ports begin with 14 to 18; numpy brings 50
# and more with every core; TFLite and a camera's pictures come on top of that.
MEMORY_MIB: Final = {"serial": 128, "ble": 128, "gpio": 128, "alsa": 512, "v4l2": 512}
MEMORY_MIB_RTSP: Final = 1024  # FFmpeg keeps pictures of its own
PATIENCE_S: Final = 15.0  # a loop that does not come round for this long is stuck
_SHORT_S: Final = 1.0  # a wait over which the alarm's timer need not rest
_HIGH_FD: Final = 200  # a driver that closes what it did not open begins with the low ones


def lay_guard(run: Path, port: PortPlan) -> None:
    """All of it around this process, before it loads a driver; its loop is a `watched_loop`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run.mkdir(parents=True, exist_ok=True)
    write_stacks_to(crash_path(run, port.number))
    mark_runs_in(mark_path(run, port.number))
    limit_memory(port.kind, port.url)
    loop = asyncio.get_running_loop()
    if isinstance(loop, _WatchedLoop):
        loop.watch.pause()  # loading a model from a slow card may take long


def limit_memory(kind: str, url: str) -> None:
    """Bound what this process may allocate: beyond it malloc fails, and Python raises MemoryError."""
    mib = MEMORY_MIB_RTSP if url.startswith("rtsp:") else MEMORY_MIB.get(kind, MEMORY_MIB["alsa"])
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = mib << 20 if hard == resource.RLIM_INFINITY else min(mib << 20, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def write_stacks_to(path: Path) -> None:
    """Have a fault, or a loop that is stuck, leave every thread's stack in this file. It is emptied first.

    A disk that refuses the file costs the stacks, not the worker.
    """
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)
        os.close(fd)
        faulthandler.enable(high)
        # chain: after the stacks are written, the signal does what it would have done, which is to kill.
        for signum in (signal.SIGALRM, signal.SIGPROF):  # gateway.modelmark sets the other one
            faulthandler.register(signum, high, all_threads=True, chain=True)


class _Watched(selectors.EpollSelector):
    """Lets SIGALRM come if what the loop runs between two waits takes longer than `patience_s`.

    Over short waits the timer runs on, and is set anew once a second: that costs a microphone less. So the
    patience may be shorter by two seconds.
    """

    def __init__(self, patience_s: float) -> None:
        super().__init__()
        self._patience_s = patience_s
        self._set_s = -math.inf
        self._short_s = min(_SHORT_S, patience_s / 8)

    def pause(self) -> None:
        """No alarm until the loop comes round again."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._set_s = -math.inf

    def select(self, timeout: float | None = None) -> Any:
        is_long = timeout is None or timeout > self._short_s
        if is_long:
            signal.setitimer(signal.ITIMER_REAL, 0)
        found = super().select(timeout)
        now_s = time.monotonic()
        if is_long or now_s - self._set_s > self._short_s:
            signal.setitimer(signal.ITIMER_REAL, self._patience_s)
            self._set_s = now_s
        return found


class _WatchedLoop(asyncio.SelectorEventLoop):
    def __init__(self, watch: _Watched) -> None:
        super().__init__(watch)
        self.watch = watch


def watched_loop(patience_s: float | None = None) -> asyncio.AbstractEventLoop:
    """A loop that ends its process, stacks written, if it does not come round in time. Main thread only."""
    return _WatchedLoop(_Watched(PATIENCE_S if patience_s is None else patience_s))
