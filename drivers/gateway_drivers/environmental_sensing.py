"""Any sensor with the Environmental Sensing Service (0x181A): connected to, it notifies, or is read.

Source: Environmental Sensing Service 1.0.1 and GATT Specification Supplement 11 (bluetooth.com), which say of
each characteristic how many bytes it has, what a step is worth, and which values stand for "not known".
"""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

from annotated_types import Interval

from gateway.driver import BadFrame, BleDriver, Measure, Notification, Settings, Value, Values
from gateway_drivers.bthome_packets import checked_address

_BASE: Final = "0000{:04x}-0000-1000-8000-00805f9b34fb"


class Characteristic(NamedTuple):
    """One number: bytes, the worth of a step in the measure's unit, what is possible, what is not known.

    `step` 0: an IEEE 11073 float of 16 bits, in kg/m3, of which it can say no less than 1e-8.
    """

    uuid: int
    measure: Measure
    size: int
    step: float
    low: float = float("-inf")
    high: float = float("inf")
    signed: bool = False
    unknown: tuple[int, ...] = ()


CHARACTERISTICS: Final = (
    Characteristic(0x2A6E, Measure("temperature", "Cel"), 2, 0.01, -273.15, 327.67, True, (-0x8000,)),
    Characteristic(0x2A6F, Measure("humidity", "%", 0.01), 2, 0.01, 0, 100, unknown=(0xFFFF,)),
    Characteristic(0x2A6D, Measure("pressure", "hPa"), 4, 0.001),  # from 0.1 Pa
    Characteristic(0x2A6C, Measure("altitude", "m"), 3, 0.01, signed=True),
    Characteristic(0x2A70, Measure("wind", "m/s"), 2, 0.01),
    Characteristic(0x2A71, Measure("wind_from", "deg", 0.01), 2, 0.01, 0, 359.99),
    Characteristic(0x2A74, Measure("gust_factor", "1", 0.1), 1, 0.1),
    Characteristic(0x2A75, Measure("pollen", "/m3"), 3, 1),
    Characteristic(0x2A76, Measure("uv_index", "1", 1), 1, 1),
    Characteristic(0x2A77, Measure("irradiance", "W/m2"), 2, 0.1),
    Characteristic(0x2A78, Measure("rainfall", "mm", 1), 2, 1),
    Characteristic(0x2A79, Measure("wind_chill", "Cel", 1), 1, 1, signed=True),
    Characteristic(0x2A7A, Measure("heat_index", "Cel", 1), 1, 1, signed=True),
    Characteristic(0x2A7B, Measure("dew_point", "Cel", 1), 1, 1, signed=True),
    Characteristic(
        0x2AA3, Measure("pressure_trend", "1"), 1, 1, 1, 9, unknown=(0,)
    ),  # 1 falls on, 9 is steady
    Characteristic(0x2AFB, Measure("illuminance", "lx"), 3, 0.01, unknown=(0xFFFFFF,)),
    Characteristic(0x2B8C, Measure("co2", "[ppm]"), 2, 1, 0, 65_534, unknown=(0xFFFF,)),  # 65534: or more
    Characteristic(0x2BD5, Measure("pm1", "ug/m3", 10), 2, 0, 0, 1e6),
    Characteristic(0x2BD6, Measure("pm2_5", "ug/m3", 10), 2, 0, 0, 1e6),
    Characteristic(0x2BD7, Measure("pm10", "ug/m3", 10), 2, 0, 0, 1e6),
    Characteristic(0x2BE4, Measure("level_spl", "dB[SPL]", 1), 1, 1, 0, 254, unknown=(0xFF,)),  # 254: or more
)
_BY_UUID: Final = {_BASE.format(one.uuid): one for one in CHARACTERISTICS}
_BY_NAME: Final = {one.measure.name: uuid for uuid, one in _BY_UUID.items()}
_NO_NUMBER: Final = (0x07FE, 0x07FF, 0x0800, 0x0801, 0x0802)  # +INF, NaN, NRes, reserved, -INF


@dataclass(frozen=True)
class EnvironmentalSettings(Settings):
    """The sensor's address, and what it measures: it is asked for just that, as few sensors have it all.

    `read_s`: read it every so many seconds, for a sensor that does not notify; 0 waits for its notifications.
    """

    address: str
    measures: tuple[str, ...] = ("temperature", "humidity", "pressure")
    read_s: Annotated[float, Interval(ge=0, le=86_400)] = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", checked_address(self.address))
        odd = [name for name in self.measures if name not in _BY_NAME]
        if odd or not self.measures:
            raise ValueError(
                f"{odd[0] if odd else 'nothing'!r} is not measured; there are {', '.join(_BY_NAME)}"
            )


class EnvironmentalSensing(BleDriver):
    """One reading a value: the service has each in a characteristic of its own, which changes by itself."""

    notify = tuple(_BY_UUID)
    silent_s = 60.0
    emits = tuple(one.measure for one in CHARACTERISTICS)
    settings: EnvironmentalSettings

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """What the settings name."""
        named = settings.measures if isinstance(settings, EnvironmentalSettings) else _BY_NAME
        return tuple(_BY_UUID[_BY_NAME[name]].measure for name in named)

    def wants(self) -> tuple[tuple[str, ...], tuple[str, ...], float]:
        """Its characteristics: to be told of, or to be read every so often."""
        uuids = tuple(_BY_NAME[name] for name in self.settings.measures)
        return ((), uuids, self.settings.read_s) if self.settings.read_s else (uuids, (), 0.0)

    def decode(self, frame: object) -> Values | None:
        """The one value in a notification; None for what is not asked of this sensor."""
        one = _BY_UUID.get(frame.characteristic) if isinstance(frame, Notification) else None
        if (
            one is None
            or not isinstance(frame, Notification)
            or one.measure.name not in self.settings.measures
        ):
            return None
        if len(frame.payload) != one.size:
            raise BadFrame(f"{len(frame.payload)} bytes where the service has {one.size}")
        raw = int.from_bytes(frame.payload, "little", signed=one.signed)
        value = _medfloat(raw) if one.step == 0 else None if raw in one.unknown else round(raw * one.step, 3)
        if value is not None and not one.low <= value <= one.high:
            raise BadFrame(f"a {one.measure.name} of {value} {one.measure.unit}")
        return {one.measure.name: value}


def _medfloat(raw: int) -> Value:
    """IEEE 11073-20601 SFLOAT, four bits of exponent and twelve of mantissa, from kg/m3 to ug/m3."""
    if raw & 0x0FFF in _NO_NUMBER:
        return None
    exponent = (raw >> 12) - (16 if raw >> 15 else 0)
    mantissa = (raw & 0x0FFF) - (0x1000 if raw & 0x0800 else 0)
    return mantissa * 10.0 ** (exponent + 9)
