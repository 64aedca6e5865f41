"""Watches a guest from outside: its console is kept and shown line by line, its wall time is limited."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from gateway.process import child_environment
from gateway_hil.engines import EngineError, last_lines

_CHUNK: Final = 65_536
_END_S: Final = 5.0  # for a process that was killed, or closed its console, to be gone

# Becomes the guest; a guest must not outlive us, however we are ended. What it starts has other parents.
_BECOME: Final = (
    "import os, sys; from gateway.process import die_with_parent; "
    "die_with_parent(); del os.environ['GATEWAY_PARENT']; os.execv(sys.argv[1], sys.argv[1:])"
)


def watch(
    command: Sequence[str],
    console: Path,
    line: Callable[[str], None] | None,
    limit_s: float,
    variables: Mapping[str, str] | None = None,
) -> tuple[str, float]:
    """Run a guest until it ends. Returns why it ended badly ("" if it went down in order) and its seconds.

    The guest's standard output is its console; `variables` are added to its environment. It is in a process
    group of its own, which is killed at the limit and when we are interrupted. Raises EngineError if it
    cannot be started.
    """
    program = shutil.which(command[0])
    if program is None:
        raise EngineError(f"there is no {command[0]} on this machine")
    start_s = time.monotonic()
    with console.open("wb") as kept:
        guest = subprocess.Popen(
            [sys.executable, "-c", _BECOME, program, *command[1:]],
            env=child_environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert guest.stdout is not None
        try:
            in_time = _copy(guest.stdout.fileno(), kept, line or _nobody, start_s + limit_s)
            if in_time:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    guest.wait(_END_S)
        finally:
            _end(guest)
    seconds = time.monotonic() - start_s
    if not in_time:
        return (
            f"still running after {limit_s:g} s, so it was ended; it last said:\n{last_lines(console)}",
            seconds,
        )
    if guest.returncode != 0:
        return f"{command[0]} ended with {guest.returncode}; it last said:\n{last_lines(console)}", seconds
    return "", seconds


def _nobody(text: str) -> None:
    """Nobody wants to see the console's lines as they come."""


def _copy(source: int, kept: BinaryIO, line: Callable[[str], None], end_s: float) -> bool:
    """Copy the console until it is closed. Returns False if that took too long."""
    waiting = b""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while (left_s := end_s - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            continue
        chunk = os.read(source, _CHUNK)
        if not chunk:
            break
        kept.write(chunk)
        kept.flush()
        *whole, waiting = (waiting + chunk).split(b"\n")
        for text in whole:
            line(text.decode(errors="replace").rstrip("\r"))
    else:
        return False
    if waiting:
        line(waiting.decode(errors="replace"))
    return True


def _end(guest: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, whatever is left of it, and collect the guest."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait(_END_S)
    if guest.stdout is not None:
        guest.stdout.close()
