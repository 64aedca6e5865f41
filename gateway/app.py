"""`gateway run`: compiles the site file, then keeps the box's units running.

On a laptop this process is the parent of all units; on a pole systemd starts each unit by itself
(`gateway run SITE --only core`), and this file only compiles and becomes it.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gateway.compile import compile_site
from gateway.log import say, start_logging
from gateway.plan import load_plan
from gateway.process import child_environment, die_with_parent, tell_signals
from gateway.watch import Watch

# In the order they start: what follows `python -m`, and what follows the plan. Cameras on a network are a
# unit of their own, for which systemd opens their subnet and nothing else; without any it is not started.
UNITS: Final = {
    "core": ("gateway.core",),
    "sensors": ("gateway.supervisor", "sensors"),
    "cameras": ("gateway.supervisor", "cameras"),
}
_RESTART_S: Final = (0.2, 10.0)  # first and longest pause before a unit is started again
_WELL_S: Final = 60.0  # a unit that ran this long starts again without delay
_STOP_WITHIN_S: Final = 10.0
_log = logging.getLogger("run")


def run(site: Path, only: str | None = None) -> int:
    """Compile the site file and run its units until SIGTERM or Ctrl-C; the exit status.

    With `only` (one of `UNITS`) this process becomes that unit. Raises ConfigError if the site
    file is wrong or a gateway runs on it already; nothing was started then.
    """
    start_logging("run")
    plan = compile_site(site, UNITS if only is None else [only])
    if only is not None:
        os.execv(sys.executable, _command(only, plan, site))  # noqa: S606  no shell is wanted
    die_with_parent()
    stopping, teller = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    tell_signals(teller, signal.SIGTERM, signal.SIGINT)
    units: dict[str, _Unit] = {}
    try:
        with ExitStack() as watching:
            _keep(units, plan, site, stopping, _watch(plan, watching))
    finally:
        for name in reversed(UNITS):  # sensors first: what they hold must still reach core
            if name in units:
                units[name].stop()
    return 0


def _watch(plan: Path, watching: ExitStack) -> Watch | None:
    """Tells when core has put a new plan in the place of the old one, as its hub's owner may have it do."""
    try:
        watch = watching.enter_context(Watch())
        watch.add(plan.parent)
    except OSError as error:
        say(_log, logging.WARNING, f"{plan} cannot be watched ({error.strerror}); a new one starts no unit")
        return None
    return watch


def _command(unit: str, plan: Path, site: Path) -> list[str]:
    # -P: a folder named like one of our packages in the current directory must not shadow it.
    module, *arguments = UNITS[unit]
    if unit == "core":
        arguments.append(str(site))  # for the hub's owner, who may have core take it up anew
    return [sys.executable, "-P", "-m", module, str(plan), *arguments]


class _Unit:
    """One unit's process, started again when it dies. `pidfd` can be read when it has died."""

    def __init__(self, name: str, plan: Path, site: Path) -> None:
        self._name = name
        self._command = _command(name, plan, site)
        self._process: subprocess.Popen[bytes] | None = None
        self.pidfd: int | None = None
        self._pause_s = _RESTART_S[0]
        self._started = self._not_before = 0.0

    def keep(self) -> float | None:
        """Start the unit if it does not run and its pause is over; what is left of the pause."""
        now = time.monotonic()
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return None
            if now - self._started > _WELL_S:
                self._pause_s = _RESTART_S[0]
            text = f"unit {self._name} ended; it starts again in {self._pause_s:.1f} s"
            say(_log, logging.WARNING, text, status=status)
            self._forget()
            self._not_before = now + self._pause_s
            self._pause_s = min(self._pause_s * 2, _RESTART_S[1])
        if now < self._not_before:
            return self._not_before - now
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, env=child_environment(), start_new_session=True
        )
        self.pidfd = os.pidfd_open(self._process.pid)
        self._started = now
        return None

    def stop(self) -> None:
        """Ask the unit to end, and end it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            say(
                _log, logging.WARNING, f"unit {self._name} did not stop within {_STOP_WITHIN_S:.0f} s; killed"
            )
            self._process.kill()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def _keep(units: dict[str, _Unit], plan: Path, site: Path, stopping: int, watch: Watch | None) -> None:
    """Keep the units that the plan needs running until `stopping` can be read; sleeps until one dies, is due
    again, or the plan is another.
    """
    _choose(units, plan, site)
    while True:
        pauses_s = [unit.keep() for unit in units.values()]
        pause_s = min((pause_s for pause_s in pauses_s if pause_s is not None), default=None)
        waited_for = [unit.pidfd for unit in units.values() if unit.pidfd is not None]
        if watch is not None:
            waited_for.append(watch.fileno())
        ready, _, _ = select.select([stopping, *waited_for], [], [], pause_s)
        if stopping in ready:
            return
        if watch is not None and watch.fileno() in ready and plan in watch.changes():
            _choose(units, plan, site)


def _choose(units: dict[str, _Unit], plan: Path, site: Path) -> None:
    """Add the units that the plan needs, stop those that it does not need any more."""
    needed = {"core", "sensors"} | {port.unit for port in load_plan(plan).ports}
    for name in UNITS:
        if name in needed and name not in units:
            units[name] = _Unit(name, plan, site)
        elif name not in needed and name in units:
            units.pop(name).stop()
