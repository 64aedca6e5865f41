"""Shots and what was made of them: which were heard, which fell into deaf time, which alarms were false."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAME_SHOT_S: Final = 0.08  # an event this close to a shot's first sample is that shot
MICROPHONE: Final = "microphone"


@dataclass(frozen=True, slots=True)
class Deaf:
    """A stretch of the scene in which a sensor heard nothing, as its worker declared it."""

    sensor: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Shots:
    """Times in seconds of the scene. Every shot that was fired is in one of the first three."""

    unheard: tuple[float, ...]  # fell into declared deaf time
    detected: tuple[float, ...]
    missed: tuple[float, ...]
    false: tuple[float, ...]  # events where no shot was

    @property
    def counts(self) -> dict[str, int]:
        """How many of each, as the account gives them."""
        return {
            "fired": len(self.unheard) + len(self.detected) + len(self.missed),
            "in_deaf_time": len(self.unheard),
            "detected": len(self.detected),
            "false": len(self.false),
        }


def match_shots(
    fired: Sequence[float], events: Sequence[float], deaf: Sequence[Deaf], rounds: Sequence[float] = ()
) -> Shots:
    """Match events with shots, each shot at most once; what matches none is false. A shot soon after another
    is one of the `rounds` that the other's event tells.

    An event of a shot in deaf time is neither: the microphone's worker heard it and died before it
    could say that it had.
    """
    stretches = [d for d in deaf if d.sensor == MICROPHONE]
    unheard = [at for at in fired if any(d.from_s <= at < d.to_s for d in stretches)]
    waiting = sorted(set(fired) - set(unheard))
    detected, false = [], []
    for at in sorted(events):
        match = next((shot for shot in waiting if abs(at - shot) <= SAME_SHOT_S), None)
        if match is not None:
            waiting.remove(match)
            detected.append(match)
        elif not any(abs(at - shot) <= SAME_SHOT_S for shot in unheard):
            false.append(at)
    told = [shot for shot in waiting if any(abs(at - shot) <= SAME_SHOT_S for at in rounds)]
    missed = tuple(shot for shot in waiting if shot not in told)
    return Shots(tuple(unheard), tuple(sorted(detected + told)), missed, tuple(false))
