"""Counting rounds: which of the onsets that follow a shot are further shots, and which its echoes."""

from collections.abc import Sequence
from typing import Final

from gateway.onset import Found

FASTEST_S: Final = 0.055  # automatic fire has 63 to 133 ms between its rounds
_ECHO_DB: Final = 3.0  # rounds of one gun are as loud as each other; what is weaker is taken for an echo


def rounds_of(onsets: Sequence[Found], rate_hz: int) -> tuple[float, ...]:
    """When each round begins, in ms after the first onset, of a bang and the onsets after it, in order."""
    loudest = onsets[0].level
    rounds = [0.0]
    for onset in onsets[1:]:
        at_ms = (onset.first - onsets[0].first) * 1000.0 / rate_hz
        if at_ms - rounds[-1] >= FASTEST_S * 1000 and onset.level >= loudest - _ECHO_DB:
            rounds.append(at_ms)
            loudest = max(loudest, onset.level)
    return tuple(rounds)
