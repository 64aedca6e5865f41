"""`gateway reload`: have the box that runs here go by its changed site file; what is as before goes on."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.commands.sitefile import add_site
from gateway.compile import compiled
from gateway.errors import ConfigError
from gateway.link import ask_reload
from gateway.numbering import keeps_numbers, plan_before
from gateway.plan import Plan, PortPlan
from gateway.takeover import BEGUN, IN_PLACE, OTHER, digest, packed
from gateway.unitlock import is_held

_WITHIN_S: Final = 45.0
_PAUSE_S: Final = 0.1


class Reload:
    """Compile the site file, have core put the plan in place, and wait until its workers run."""

    name = "reload"
    help = "take a changed site file up: only the ports that changed start anew"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SITE."""
        add_site(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if the box runs by it. Errors in the file are raised, one a line: then nothing has changed."""
        deadline = time.monotonic() + _WITHIN_S
        site = arguments.site.resolve()
        old, new = _compiled(site)
        while True:
            state, text, workers = _ask(site, old, new)
            if state == OTHER:  # somebody else's reload came first: this one builds on it
                old, new = _compiled(site)
            elif state not in {BEGUN, IN_PLACE}:
                raise ConfigError(text)
            missing = {port.number for port in _changed(old, new)} - workers
            if state == IN_PLACE and not missing:
                break
            if time.monotonic() > deadline:
                raise ConfigError(_late(state, new, missing))
            time.sleep(_PAUSE_S)
        print("\n".join(changes(old, new)))
        return 0


def _ask(site: Path, old: Plan | None, new: Plan) -> tuple[str, str, frozenset[int]]:
    """What core says; while it starts anew, or is started again, that it is at it."""
    try:
        return ask_reload(new.state / "run" / "core.sock", site, digest(old), packed(new))
    except ConfigError:
        if not is_held(new.state, "core"):
            raise ConfigError(
                f"no gateway runs with the state folder {new.state}; start it: gateway run {site}"
            ) from None
        return BEGUN, "", frozenset()


def _compiled(site: Path) -> tuple[Plan | None, Plan]:
    """The plan the box runs by, and the new one, numbered beside just that one."""
    while True:
        new = compiled(site)
        old = plan_before(new.state)
        if old is None or keeps_numbers(old, new):
            return old, new


def _changed(old: Plan | None, new: Plan) -> list[PortPlan]:
    before = old.ports if old is not None else ()
    return [port for port in new.ports if port not in before]


def changes(old: Plan | None, new: Plan) -> Sequence[str]:
    """What became of the ports, for a person."""
    before = {port.number: port for port in old.ports} if old is not None else {}
    now = {port.number for port in new.ports}
    changed = _changed(old, new)
    groups = {
        "restarted": [port for port in changed if port.number in before],
        "new": [port for port in changed if port.number not in before],
        "gone": [port for number, port in before.items() if number not in now],
    }
    lines = [
        f"ports {word}: " + ", ".join(f"{port.number} ({_sensors(port)})" for port in ports)
        for word, ports in groups.items()
        if ports
    ]
    went_on = len(new.ports) - len(changed)
    if not lines:
        return [f"nothing of the ports has changed; all {went_on} went on"]
    return [*lines, f"{went_on} went on"]


def _sensors(port: PortPlan) -> str:
    return ", ".join(sensor.name for sensor in port.sensors)


def _late(state: str, new: Plan, missing: set[int]) -> str:
    if state != IN_PLACE:
        return f"the new plan was not in place within {_WITHIN_S:.0f} s; `gateway doctor` says more"
    names = ", ".join(f"{port.number} ({_sensors(port)})" for port in new.ports if port.number in missing)
    return f"the new plan is in place, but nothing serves port {names} yet; `gateway doctor` says more"
