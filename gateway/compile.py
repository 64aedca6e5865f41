"""The compile step: a short-lived child reads the site file, so that no driver is ever loaded here.

As a program, `python -m gateway.compile SITE` prints the plan. Errors in the site file go to stderr,
one a line, and the exit status is 65 (EX_DATAERR of sysexits.h); any other failure of the child is a
bug in a driver, and its parent says so instead of falling over with it.
"""

import errno
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TextIO

from gateway.errors import ConfigError, GatewayError
from gateway.log import say
from gateway.plan import Plan, load_plan, parse_plan
from gateway.pluginchild import run_child
from gateway.unitlock import hold_units

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_log = logging.getLogger("compile")


def compiled(site: Path) -> Plan:
    """The plan of a site file; nothing is kept on disk. Raises ConfigError with all that is wrong."""
    printed = run_child("gateway.compile", str(site), doing=f"checking {site}")
    return parse_plan(printed, f"the plan of {site}")


def compile_site(site: Path, units: Iterable[str] = ()) -> Path:
    """Compile a site file into its state folder, made if need be; the path of plan.json.

    The locks of `units` are taken first, and held for as long as this process lives.
    Where the disk is too full for a new plan, the one of before stays, and a warning says so: a box
    that counts by yesterday's plan is better than none. Raises ConfigError with all that is wrong in
    the site file, if one of the units runs already, or if the state folder cannot be written.
    """
    plan = compiled(site)
    path = plan.state / "plan.json"
    try:
        plan.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        hold_units(plan.state, units)  # before anything that a running unit reads is changed
        plan.save(path)
    except OSError as error:
        if error.errno not in _FULL or not _is_plan(path):
            raise ConfigError(
                f"the state folder {plan.state} cannot be written: {error.strerror}; "
                "name another in the site file, or make it yours (chown)"
            ) from None
        text = f"the disk is full: {site} cannot be taken over, the box runs by its plan of before; "
        say(_log, logging.WARNING, text + "free some space and start it again", plan=path)
    return path


def _is_plan(path: Path) -> bool:
    try:
        load_plan(path)
    except ConfigError:
        return False
    return True


def answer_alone() -> TextIO:
    """A child's stdout for its answer only: what a plugin prints goes to stderr from now on."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answer


def main() -> int:
    """The child: print the plan of SITE."""
    # Here, not above: the parent must not load pydantic or drivers.
    from gateway.config import read_site

    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m gateway.compile SITE\n")
        return os.EX_USAGE
    with answer_alone() as answer:
        try:
            answer.write(read_site(Path(sys.argv[1])).text())
        except GatewayError as error:
            sys.stderr.write(f"{error}\n")
            return os.EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main())
