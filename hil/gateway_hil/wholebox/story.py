"""The demo's story, told on real ports: its faults done to emulated devices, to processes and to the link."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway_hil.demo.timeline import Fault, Timeline
from gateway_hil.linkemulator import LinkEmulator
from gateway_hil.wholebox.pole import Pole

_HUB_DOWN_S: Final = 1.0


class Story:
    """Plays a timeline from `start_ns` (CLOCK_MONOTONIC) on. `plugs` are the emulators by sensor."""

    def __init__(
        self, timeline: Timeline, start_ns: int, pole: Pole, link: LinkEmulator, plugs: Mapping[str, Any]
    ) -> None:
        self._timeline = timeline
        self._start_s = start_ns / 1e9
        self._pole = pole
        self._link = link
        self._plugs = plugs

    def perform(self) -> None:
        """Do everything in its time; returns when the scene is over."""
        acts: list[tuple[float, Callable[[], None]]] = []
        for fault in self._timeline.faults:
            begin, end = self._acts(fault)
            acts += [(fault.at_s, begin), (fault.at_s + fault.for_s, end)]
        for at_s, command in self._timeline.commands:
            acts.append((at_s, lambda command=command: self._switch_lamp(command)))  # type: ignore[misc]
        acts.append((self._timeline.seconds + 1.0, lambda: None))
        for at_s, act in sorted(acts, key=lambda entry: entry[0]):
            time.sleep(max(0.0, self._start_s + at_s - time.monotonic()))
            act()

    def _acts(self, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
        match fault.verb, fault.victim:
            case "unplug", sensor:
                return self._plugs[sensor].unplug, self._plugs[sensor].replug
            case "cut", _:
                return self._link.link_loss, lambda: self._link.link_loss(False)
            case "kill", "hub":
                return lambda: self._pole.kill("hub"), self._start_hub_again
            case "kill", process:
                return lambda: self._pole.kill(process), lambda: None
        raise ValueError(f"no such fault on a whole box: {fault.verb} {fault.victim}")

    def _start_hub_again(self) -> None:
        time.sleep(_HUB_DOWN_S)
        self._pole.start_hub()

    def _switch_lamp(self, command: str) -> None:
        self._pole.gateway("command", "--site", str(self._pole.site), "lamp", command)
