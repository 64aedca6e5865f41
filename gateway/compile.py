"""The compile step: a short-lived child reads the site file, so that no driver is ever loaded here.

As a program, `python -m gateway.compile SITE OUT` writes the plan to OUT. Errors in the site file go
to stderr, one a line, and the exit status is 65 (EX_DATAERR of sysexits.h); any other failure of the
child is a bug in a driver, and its parent says so instead of falling over with it.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gateway.errors import ConfigError, GatewayError
from gateway.plan import Plan, load_plan

_TIMEOUT_S: Final = 120.0  # importing numpy and a model takes tens of seconds on a cold SD card


def compiled(site: Path) -> Plan:
    """The plan of a site file; nothing is kept on disk. Raises ConfigError with all that is wrong."""
    with TemporaryDirectory(prefix="gateway-") as folder:
        out = Path(folder) / "plan.json"
        run_child("gateway.compile", str(site), str(out), doing=f"checking {site}")
        return load_plan(out)


def compile_site(site: Path) -> Path:
    """Compile a site file into its state folder, made if need be; the path of plan.json.

    Raises ConfigError with all that is wrong in the site file, or if the state folder cannot be written.
    """
    plan = compiled(site)
    path = plan.state / "plan.json"
    try:
        plan.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        plan.save(path)
    except OSError as error:
        raise ConfigError(
            f"the state folder {plan.state} cannot be written: {error.strerror}; "
            "name another in the site file, or make it yours (chown)"
        ) from None
    return path


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


def main() -> int:
    """The child: compile SITE into OUT."""
    # Here, not above: the parent must not load pydantic or drivers.
    from gateway.config import read_site

    if len(sys.argv) != 3:
        sys.stderr.write("usage: python -m gateway.compile SITE OUT\n")
        return os.EX_USAGE
    site, out = map(Path, sys.argv[1:])
    try:
        read_site(site).save(out)
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main())
