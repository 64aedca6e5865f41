"""A weather station with the Environmental Sensing Service: all that the service can say of a street's air.

Source: GATT Specification Supplement 11, one section a characteristic. Each line of the table is a number:
its attribute, the bytes it is sent as (struct's letters; "T" three bytes), and how many steps make one of its
unit, and its range.
"""

from struct import pack
from typing import Any, ClassVar, Final

from gateway_hil.emulators.environmental import EnvironmentalSensor
from gateway_hil.emulators.truth import Shown

_TABLE: Final = {  # by UUID
    "2A6C": ("altitude", "T", 100, -1000.0, 9000.0),
    "2A70": ("wind", "H", 100, 0.0, 120.0),
    "2A71": ("wind_from", "H", 100, 0.0, 359.99),
    "2A74": ("gust_factor", "B", 10, 0.0, 25.5),
    "2A75": ("pollen", "T", 1, 0, 2**23 - 1),
    "2A76": ("uv_index", "B", 1, 0, 30),
    "2A77": ("irradiance", "H", 10, 0.0, 2000.0),
    "2A78": ("rainfall", "H", 1, 0, 65_535),
    "2A79": ("wind_chill", "b", 1, -128, 127),
    "2A7A": ("heat_index", "b", 1, -128, 127),
    "2A7B": ("dew_point", "b", 1, -128, 127),
    "2AA3": ("pressure_trend", "B", 1, 1, 9),
    "2AFB": ("illuminance", "T", 100, 0.0, 83_000.0),
    "2B8C": ("co2", "H", 1, 0, 65_533),
    "2BE4": ("level_spl", "B", 1, 0, 253),
}


class WeatherStation(EnvironmentalSensor):
    """Set any of its attributes, named as the measures are; `settings()` names them all."""

    shows: ClassVar = EnvironmentalSensor.shows | {
        name: Shown(name, low, high) for name, _, _, low, high in _TABLE.values()
    }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name, _, _, low, high in _TABLE.values():
            setattr(self, name, low if name == "pressure_trend" else type(low)((low + high) // 4))

    def settings(self) -> dict[str, Any]:
        """Its address, and everything."""
        return super().settings() | {"measures": [*self.shows]}

    def _payloads(self) -> dict[str, bytes]:
        return super()._payloads() | {
            uuid: _packed(shape, round(getattr(self, name) * steps))
            for uuid, (name, shape, steps, _, _) in _TABLE.items()
        }


def _packed(shape: str, raw: int) -> bytes:
    return pack("<i", raw)[:3] if shape == "T" else pack("<" + shape, raw)
