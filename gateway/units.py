"""The units a measure may have: UCUM codes (https://ucum.org), each with the finest step worth sending.

The step is the default `resolution` of a Measure: values travel as whole multiples of it, which
keeps records small and keeps anything but bounded numbers from leaving the box.
"""

from typing import Final

RESOLUTION: Final[dict[str, float]] = {
    "1": 1.0,  # a plain number or count
    "bool": 1.0,  # not UCUM: 0 or 1
    "%": 0.1,
    "deg": 1e-7,  # latitude, longitude: 11 mm on the ground
    "m": 0.01,
    "m/s": 0.01,
    "m/s2": 0.001,
    "deg/s": 0.001,
    "s": 0.001,
    "Cel": 0.01,
    "K": 0.01,
    "Pa": 1.0,
    "lx": 0.01,
    "ug/m3": 0.1,
    "[ppm]": 1.0,
    "V": 0.001,
    "A": 0.001,
    "W": 0.01,
    "W/m2": 0.1,
    "kW.h": 0.001,
    "V.A": 0.01,  # apparent power, and reactive, for which UCUM has no unit of its own
    "kg": 0.01,
    "L": 0.001,
    "m3": 0.001,
    "m3/h": 0.001,
    "/m3": 1.0,  # so many in a cubic metre
    "uS/cm": 1.0,
    "/min": 1.0,  # revolutions a minute
    "Hz": 0.1,
    "dB": 0.1,
    "dB[FS]": 0.1,  # not UCUM: level below digital full scale
    "dB[SPL]": 0.1,  # UCUM B[SPL], in decibel
    "mm": 0.1,
    "kPa": 0.001,
    "hPa": 0.01,
    "dBm": 1.0,  # not UCUM: radio level over 1 mW
}

# What people write instead, as an error may tell them.
MEANT: Final[dict[str, str]] = {
    "kWh": "kW.h",
    "VA": "V.A",
    "var": "V.A",
    "°C": "Cel",
    "C": "Cel",
    "degC": "Cel",
    "ppm": "[ppm]",
    "lux": "lx",
    "µg/m³": "ug/m3",
    "µS/cm": "uS/cm",
    "rpm": "/min",
    "mbar": "hPa",
    "dBA": "dB[SPL]",
    "dBFS": "dB[FS]",
    "percent": "%",
}
