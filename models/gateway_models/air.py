"""What air takes from a sound on its way: absorption after ISO 9613-1:1993, and the speed of sound."""

from typing import Final

import numpy as np

from gateway_models.waves import Wave

_REFERENCE_K: Final = 293.15
_TRIPLE_POINT_K: Final = 273.16
_REFERENCE_KPA: Final = 101.325


def sound_speed(celsius: float) -> float:
    """Speed of sound in m/s (ISO 9613-1, 343.2 m/s at 20 degrees)."""
    return 343.2 * float(np.sqrt((celsius + 273.15) / _REFERENCE_K))


def absorption_db_m(hertz: Wave, celsius: float, humidity: float, kpa: float = _REFERENCE_KPA) -> Wave:
    """Attenuation of pure tones in dB per metre (ISO 9613-1, equations 3 to 5). `humidity` in percent."""
    kelvin = celsius + 273.15
    warmth, pressure = kelvin / _REFERENCE_K, kpa / _REFERENCE_KPA
    saturation = 10.0 ** (-6.8346 * (_TRIPLE_POINT_K / kelvin) ** 1.261 + 4.6151)
    molar = humidity * saturation / pressure
    oxygen_hz = pressure * (24.0 + 4.04e4 * molar * (0.02 + molar) / (0.391 + molar))
    nitrogen_hz = (
        pressure
        * warmth**-0.5
        * (9.0 + 280.0 * molar * float(np.exp(-4.170 * (warmth ** (-1.0 / 3.0) - 1.0))))
    )
    square = np.asarray(hertz, np.float64) ** 2
    classical = 1.84e-11 / pressure * warmth**0.5
    oxygen = 0.01275 * np.exp(-2239.1 / kelvin) * oxygen_hz / (oxygen_hz**2 + square)
    nitrogen = 0.1068 * np.exp(-3352.0 / kelvin) * nitrogen_hz / (nitrogen_hz**2 + square)
    out: Wave = 8.686 * square * (classical + warmth**-2.5 * (oxygen + nitrogen))
    return out
