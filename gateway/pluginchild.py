"""Work that loads plugins is done by a short-lived child: no driver can take down the process that asks."""

import os
import subprocess
import sys
from typing import Final

from gateway.errors import ConfigError

_TIMEOUT_S: Final = 120.0  # importing numpy and a model takes tens of seconds on a cold SD card


def run_child(module: str, *arguments: str, doing: str) -> bytes:
    """Run one of our modules that loads plugins; its stdout.

    Raises ConfigError with what it printed if it found an error, or saying that a plugin broke it.
    """
    # -P: a folder named like one of our packages in the current directory must not shadow it.
    command = [sys.executable, "-P", "-m", module, *arguments]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{doing} took over {_TIMEOUT_S:.0f} s; does a driver wait for something?"
        ) from None
    if child.returncode == 0:
        return child.stdout
    text = child.stderr.decode(errors="replace").strip()
    if child.returncode == os.EX_DATAERR:
        raise ConfigError(text)
    if "GATEWAY_TRACE" in os.environ:
        sys.stderr.write(text + "\n")
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
    last = text.splitlines()[-1] if text else "it said nothing"
    raise ConfigError(
        f"{doing} ended with {how} ({last}); a plugin is broken. GATEWAY_TRACE=1 shows where it happened"
    )
