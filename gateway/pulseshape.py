"""The shape of a bang: rise, duration, levels by band, and the crack of a bullet ahead of its blast."""

from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.features import FrontEnd, Samples
from gateway.pulse import BANDS

Powers = npt.NDArray[np.float64]

PEAK_S: Final = 0.030  # the peak of a bang is reached within this time of its first sample
CRACK_S: Final = 0.300  # a bullet runs no further ahead of its blast than this, as far as it can be told
_SINE_DB: Final = 3.01  # AES17: levels count from a full-scale sine
_FALL_DB: Final = 10.0
_TINY: Final = 1e-13  # -127 dB
_HIGH_HZ: Final = (1200.0, 3600.0)
_LOW_HZ: Final = (80.0, 600.0)
_SPANS_MIN: Final = 12  # ms of sound that a crack and a blast need
_SUDDEN: Final = 6.0  # the blast's low power, over that of anything before it
_SHARP_DB: Final = 6.0  # high over low at the crack, and half of how much of that the blast lacks
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
    """How far an N-wave runs ahead of the blast in a bang that begins `sound`, to about 1 ms; None if there
    is none, or less than 7 ms.

    An N-wave is over in half a millisecond and has its power above 1 kHz; the blast that follows has most of
    it below (Maher 2006). So: at first nearly nothing that is low, then at once the better part of it.
    """
    sound = sound[: round(CRACK_S * rate_hz)]
    hop = max(1, rate_hz // 1000)
    if len(sound) < _SPANS_MIN * hop:
        return None
    high, low = (_power_by_ms(sound, rate_hz, hop, *band) for band in (_HIGH_HZ, _LOW_HZ))
    three = np.convolve(low, np.ones(3))[2:]  # of a span and the two after it
    before = np.maximum.accumulate(three)
    rises = (three[5:-2] >= _SUDDEN * before[1:-6]) & (three[5:-2] >= 0.4 * three.max())
    if not rises.any():
        return None
    blast = 5 + int(rises.argmax())
    peak = blast + int(low[blast : blast + 3].argmax())
    sharp = _ratio_db(high[:2].sum(), low[:3].sum())
    dull = _ratio_db(high[max(0, peak - 1) : peak + 3].sum(), three[blast])
    return float(blast + 2) * hop * 1000 / rate_hz if sharp >= _SHARP_DB <= (sharp - dull) / 2 else None


def _power_by_ms(sound: Samples, rate_hz: int, hop: int, low_hz: float, high_hz: float) -> Powers:
    """Power in a band with soft edges, summed over every `hop` samples."""
    hertz = np.fft.rfftfreq(2 * len(sound), 1.0 / rate_hz)
    gain = np.clip((hertz / low_hz - 0.8) / 0.4, 0.0, 1.0) * np.clip((1.2 - hertz / high_hz) / 0.4, 0.0, 1.0)
    part = np.fft.irfft(np.fft.rfft(sound, 2 * len(sound)) * gain)[: len(sound) // hop * hop]
    return np.asarray(np.square(part).reshape(-1, hop).sum(axis=1) + _TINY, dtype=np.float64)


def _ratio_db(power: float, other: float) -> float:
    return 10.0 * float(np.log10(power / other))
