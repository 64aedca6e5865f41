"""One gateway a state folder: the files that say so, each locked for as long as its unit runs.

run/core.lock, sensors.lock, cameras.lock      flock(2); the pid of the holder is in the file, for people

`gateway run` holds all; under systemd each unit holds its own. The kernel frees a lock when its last
holder dies, however it dies, so nothing is ever left to clean up.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from gateway.errors import ConfigError


def hold_units(state: Path, units: Iterable[str]) -> None:
    """Lock these units of a state folder until this process ends; exec keeps the locks, children do not.

    Makes the folder run/. Raises ConfigError if another process runs one of them, OSError if a file
    cannot be opened.
    """
    (state / "run").mkdir(exist_ok=True)
    for unit in units:
        # Never closed: the open file is the lock.
        held = os.open(state / "run" / f"{unit}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(held, 20, 0).decode(errors="replace").strip()
            os.close(held)
            raise ConfigError(
                f"a gateway already runs with the state folder {state} (pid {pid}); stop it first"
            ) from None
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
        os.set_inheritable(held, True)  # Popen closes it in children; exec must not


def is_held(state: Path, unit: str) -> bool:
    """Whether a process runs that unit. Raises OSError if the file cannot be opened, but for its absence."""
    try:
        file = (state / "run" / f"{unit}.lock").open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
