"""Where the product's own onset finder goes off in a recording, and how far the bang rises there."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.features import Samples
from gateway.onset import HIGH_HZ, LOW_HZ, OnsetFinder
from gateway_models.waves import Wave, fast_length

OVER_DB: Final = 9.0
_LEVEL_S: Final = 0.010  # over which a level is taken
_HOP_S: Final = 0.0025
_BEFORE_S: Final = 0.300  # of the median that a bang rises over
_PEAK_S: Final = 0.030
_TINY: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Trigger:
    """`first`: index of the bang's first sample; `level_db`: its loudest 10 ms within 30 ms, of full scale;
    `prominence_db`: that level over the median of the 300 ms before.
    """

    first: int
    level_db: float
    prominence_db: float


def triggers(sound: Samples, rate_hz: int, over_db: float = OVER_DB) -> list[Trigger]:
    """Every onset in `sound`, in order of time."""
    finder = OnsetFinder(over_db)
    finder.start(0, rate_hz)
    size = rate_hz // 2  # in blocks, as on a box: the finder is quicker once it has 300 ms to look back on
    onsets = [first for at in range(0, len(sound), size) for first in finder.push(sound[at : at + size])]
    if not onsets:
        return []
    level = levels(sound, rate_hz)
    hop = rate_hz * _HOP_S
    found = []
    for first in onsets:
        at = int(first / hop)
        peak = float(level[at : at + round(_PEAK_S / _HOP_S)].max(initial=-100.0))
        # frames that reach into the bang are left out
        past = level[max(0, at - round(_BEFORE_S / _HOP_S)) : max(1, at - round(_LEVEL_S / _HOP_S))]
        found.append(Trigger(first, peak, peak - float(np.median(past))))
    return found


def levels(sound: Samples, rate_hz: int) -> Wave:
    """Level in dB of full scale between 200 and 3400 Hz, of 10 ms from every 2.5 ms on."""
    length = fast_length(len(sound) + rate_hz // 20)
    hertz = np.fft.rfftfreq(length, 1.0 / rate_hz)
    band = ((hertz >= LOW_HZ) & (hertz <= HIGH_HZ)).astype(np.float64)
    filtered = np.fft.irfft(np.fft.rfft(sound, length) * band, length)[: len(sound)]
    total = np.concatenate(([0.0], np.cumsum(filtered**2)))
    starts = np.arange(0, len(sound), rate_hz * _HOP_S).astype(np.intp)
    ends = np.minimum(starts + round(_LEVEL_S * rate_hz), len(sound))
    power = (total[ends] - total[starts]) / np.maximum(1, ends - starts)
    decibel: Wave = 10.0 * np.log10(np.maximum(power, _TINY))
    return decibel
