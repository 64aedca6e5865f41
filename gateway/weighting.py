"""What sound levels are weighted by: A and C of IEC 61672-1:2013, thirds of octaves of IEC 61260-1:2014.

The weightings are the analogue networks of annex E of IEC 61672-1, normalised to 0 dB at 1000 Hz. The bands
are base ten: their middles are 1000 Hz times whole powers of 10 ** 0.1.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Hertz = npt.NDArray[np.float64]
Response = npt.NDArray[np.complex128]

# Poles of the networks (annex E): what corners at 10 ** 1.5, 10 ** 2.45 and 10 ** 3.9 Hz give.
_F1: Final = 20.598997
_F2: Final = 107.65265
_F3: Final = 737.86223
_F4: Final = 12194.217
_REFERENCE_HZ: Final = 1000.0

_NOMINAL: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)  # IEC 61260-1, annex E
_LOWEST, _HIGHEST = -16, 12  # 25 Hz and 16 kHz
_EDGE: Final = 10.0**0.05  # half a band


def c_weighting(hertz: Hertz) -> Response:
    """Complex gain of the C network at these frequencies."""
    gain: Response = _c_network(hertz) / abs(_c_network(np.array([_REFERENCE_HZ]))[0])
    return gain


def a_weighting(hertz: Hertz) -> Response:
    """Complex gain of the A network at these frequencies."""
    gain: Response = _a_network(hertz) / abs(_a_network(np.array([_REFERENCE_HZ]))[0])
    return gain


def _c_network(hertz: Hertz) -> Response:
    s = 1j * hertz
    gain: Response = s**2 * _F4**2 / ((s + _F1) ** 2 * (s + _F4) ** 2)
    return gain


def _a_network(hertz: Hertz) -> Response:
    s = 1j * hertz
    return np.asarray(_c_network(hertz) * s**2 / ((s + _F2) * (s + _F3)), dtype=np.complex128)


@dataclass(frozen=True, slots=True)
class Band:
    """A third of an octave: `nominal` is its name in whole Hz (31 for 31.5), the others are exact."""

    nominal: int
    low_hz: float
    middle_hz: float
    high_hz: float


def third_octaves(rate_hz: int) -> tuple[Band, ...]:
    """The bands from 25 Hz to 16 kHz that lie wholly below half the sample rate."""
    bands = []
    for number in range(_LOWEST, _HIGHEST + 1):
        middle = _REFERENCE_HZ * 10.0 ** (number / 10)
        decade, step = divmod(number, 10)
        nominal = int(_NOMINAL[step] * 10.0 ** (decade + 3) + 1e-6)
        band = Band(nominal, middle / _EDGE, middle, middle * _EDGE)
        if band.high_hz <= rate_hz / 2:
            bands.append(band)
    return tuple(bands)
