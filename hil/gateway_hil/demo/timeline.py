"""What happens when in the demo: shots, bangs that are none, and faults. Times are seconds of the scene."""

import itertools
from dataclasses import dataclass
from typing import Final

SHORTEST_S: Final = 25.0
_SHORT: Final = ("door", "clap", "glass", "knock", "horn")  # over within a second
_LONG: Final = "firework"  # crackles on for seconds


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to the box on purpose, for how long, and what to say of it on screen."""

    at_s: float
    verb: str  # unplug, cut, kill
    victim: str  # sensor or process
    for_s: float
    felt_s: float  # how long after it things may still be slower than usual
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run of the demo."""

    seconds: float
    shots: tuple[float, ...]
    bangs: tuple[tuple[float, str], ...]
    faults: tuple[Fault, ...]
    commands: tuple[tuple[float, str], ...]  # to the lamp


def timeline(seconds: float) -> Timeline:
    """The demo's story, stretched to `seconds`: one shot falls into each fault, one where nobody hears it."""
    cut_s = min(12.0, max(5.0, 0.15 * seconds))
    kill_microphone, kill_core, kill_hub = 0.48 * seconds, 0.62 * seconds, 0.76 * seconds
    cut = 0.22 * seconds
    volley = min(0.88 * seconds, seconds - 3.8)  # the model looks at the last round for 2.75 s
    faults = (
        Fault(0.10 * seconds, "unplug", "light", 2.0, 0.0, "light sensor unplugged for 2 s"),
        Fault(cut, "cut", "uplink", cut_s, 5.0, f"uplink cut for {cut_s:.0f} s"),
        Fault(kill_microphone, "kill", "worker microphone", 0.0, 2.0, "SIGKILL to the microphone's worker"),
        Fault(kill_core, "kill", "core", 0.0, 2.0, "SIGKILL to core"),
        Fault(kill_hub, "kill", "hub", 0.0, 4.0, "SIGKILL to the hub"),
    )
    shots = (
        0.06 * seconds,
        0.16 * seconds,
        cut + 0.24 * cut_s,
        cut + 0.90 * cut_s,
        kill_microphone + 0.15,  # nobody hears this one: it must be accounted for as deaf time
        0.57 * seconds,
        kill_core + 0.25,
        0.70 * seconds,
        kill_hub + 0.3,
        volley,
        volley + 0.6,
    )
    return Timeline(
        seconds, shots, _between(shots), faults, ((0.14 * seconds, "on"), (0.82 * seconds, "off"))
    )


def _between(shots: tuple[float, ...]) -> tuple[tuple[float, str], ...]:
    """A bang in every pause that is long enough for it to be over; the longest gets the firework."""
    pauses = [(before, after - before) for before, after in itertools.pairwise(shots) if after - before > 2.0]
    longest = max(pauses, key=lambda pause: pause[1])
    bangs = []
    for n, pause in enumerate(pauses):
        begins, length = pause
        kind = _LONG if pause == longest and length > 5.0 else _SHORT[n % len(_SHORT)]
        bangs.append((begins + min(0.9, length / 3), kind))
    return tuple(bangs)
