"""What log lines become on the demo's screen: short, with sensors' names, and each said once.

A dead core is noticed by seven processes and a cut uplink by both of its connections, each of which
logs it. Within a moment the same words of several make one line.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.plan import PortPlan, load_plan

TOGETHER_S: Final = 0.3  # lines that come within this time of the first one are joined with it
_NAMED_MAX: Final = 3
_HELD_MAX: Final = 50
_WORKER: Final = re.compile(r"worker-(\d+)")
_UPLINK: Final = re.compile(r"(uplink) (?:urgent|bulk): (?:[a-z_]+: )?(.*)", re.DOTALL)


class Voices:
    """Takes log lines with `heard`; after a moment says each text once, with all who said it."""

    def __init__(self, folder: Path, say: Callable[[str, str], None], stamp: Callable[[], str]) -> None:
        """`say(text, stamp)` gets lines ready for the screen, with what `stamp()` was when they came."""
        self._folder = folder
        self._say = say
        self._stamp = stamp
        self._ports: tuple[PortPlan, ...] = ()
        self._held: dict[str, tuple[str, dict[str, None]]] = {}  # text -> stamp, who (in order)
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, line: Mapping[str, Any]) -> None:
        """One log line. It is said within TOGETHER_S."""
        who, text = self.plainly(str(line.get("unit", "?")), str(line.get("text", "")))
        if len(self._held) >= _HELD_MAX:
            self.speak()
        _, speakers = self._held.setdefault(text, (self._stamp(), {}))
        speakers[who] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER_S, self.speak)

    def speak(self) -> None:
        """Say now what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, {}
        for text, (stamp, speakers) in held.items():
            who = ", ".join(speakers) if len(speakers) <= _NAMED_MAX else f"{len(speakers)} processes"
            self._say(f"{who}: {text}", stamp)

    def plainly(self, unit: str, text: str) -> tuple[str, str]:
        """Who says it and what, in words that a viewer knows: no port numbers and no folder."""
        for port in self._known_ports():
            name = _name(port)
            text = text.replace(f"worker of port {port.number} ({port.url}):", f"the worker of {name}")
            text = text.removeprefix(f"port {port.url}: ")
        text = text.replace(f"{self._folder}/", "")
        if worker := _WORKER.fullmatch(unit):
            unit = next((_name(p) for p in self._known_ports() if p.number == int(worker[1])), unit)
            text = text.removeprefix(f"{unit} ")  # "light: light went away" names it twice
        elif uplink := _UPLINK.fullmatch(text):
            unit, text = uplink.groups()
        return unit, text

    def _known_ports(self) -> tuple[PortPlan, ...]:
        if not self._ports:
            try:
                self._ports = load_plan(self._folder / "box" / "plan.json").ports
            except GatewayError:  # the box has not written it yet
                return ()
        return self._ports


def _name(port: PortPlan) -> str:
    return "+".join(sensor.name for sensor in port.sensors)
