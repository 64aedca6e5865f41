"""How often a process wakes up: what a pole pays for on a solar panel, and a guest for its virtual time."""

import contextlib
from pathlib import Path


def wakeups(pid: int) -> int:
    """How often its threads went to sleep of their own will so far, each time to be woken (proc(5)).

    A difference of two calls over some seconds gives wake-ups a second. Raises FileNotFoundError if
    there is no such process.
    """
    count = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            for line in (thread / "status").read_text(encoding="ascii").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    count += int(line.split()[1])
    return count
