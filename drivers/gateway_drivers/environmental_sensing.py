"""Any sensor with the Environmental Sensing Service: it notifies temperature, humidity, pressure.

Source: Environmental Sensing Service 1.0 and GATT Specification Supplement (bluetooth.com): temperature
(0x2A6E) sint16 in 0.01 Cel, humidity (0x2A6F) uint16 in 0.01 %, pressure (0x2A6D) uint32 in 0.1 Pa.
Temperature 0x8000 and humidity 0xFFFF stand for "not known".
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.driver import BadFrame, BleDriver, Measure, Notification, Settings, Value, Values

PRESSURE: Final = "00002a6d-0000-1000-8000-00805f9b34fb"
TEMPERATURE: Final = "00002a6e-0000-1000-8000-00805f9b34fb"
HUMIDITY: Final = "00002a6f-0000-1000-8000-00805f9b34fb"
_SIZES: Final = {PRESSURE: 4, TEMPERATURE: 2, HUMIDITY: 2}


@dataclass(frozen=True)
class EnvironmentalSettings(Settings):
    """The sensor's address."""

    address: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", self.address):
            raise ValueError(f'address {self.address!r} must be written like "A4:C1:38:00:00:01"')
        object.__setattr__(self, "address", self.address.upper())


class EnvironmentalSensing(BleDriver):
    """One reading a notification: the service notifies each of its characteristics by itself."""

    notify = (TEMPERATURE, HUMIDITY, PRESSURE)
    silent_s = 60.0
    emits = (Measure("temperature", "Cel"), Measure("humidity", "%", 0.01), Measure("pressure", "hPa"))
    settings: EnvironmentalSettings

    def decode(self, frame: object) -> Values | None:
        """The one value in a notification; None for what this service does not define."""
        if not isinstance(frame, Notification) or frame.characteristic not in _SIZES:
            return None
        size, payload = _SIZES[frame.characteristic], frame.payload
        if len(payload) != size:
            raise BadFrame(f"{len(payload)} bytes where the service has {size}")
        raw = int.from_bytes(payload, "little", signed=frame.characteristic == TEMPERATURE)
        value: Value
        if frame.characteristic == TEMPERATURE:
            name, value = "temperature", None if raw == -0x8000 else raw / 100
        elif frame.characteristic == HUMIDITY:
            name, value = "humidity", None if raw == 0xFFFF else raw / 100
        else:
            name, value = "pressure", raw / 1000  # from 0.1 Pa
        if name == "humidity" and value is not None and value > 100:
            raise BadFrame(f"a humidity of {value} %")
        if name == "temperature" and value is not None and value < -273.15:
            raise BadFrame(f"a temperature of {value} Cel")
        return {name: value}
