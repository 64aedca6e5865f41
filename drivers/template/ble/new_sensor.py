"""MAKER MODEL, what it measures: what it puts into its advertisements, in one line.

Source: the document that says so, with its version. Here: service data of the 16-bit UUID FFF0, made of
temperature, sint16 in 0.01 Cel, and battery, uint8 in %; little-endian.
"""

from dataclasses import dataclass
from struct import error, unpack
from typing import Annotated

from annotated_types import MinLen

from gateway.driver import Advertisement, BadFrame, BleDriver, Measure, Settings, Values


@dataclass(frozen=True)
class NewSensorSettings(Settings):
    """The sensor's address, like "A4:C1:38:00:00:01"."""

    address: Annotated[str, MinLen(17)]


class NewSensor(BleDriver):
    """What it measures, and anything odd about it."""

    service = "0000fff0-0000-1000-8000-00805f9b34fb"
    emits = (Measure("temperature", "Cel", 0.01), Measure("battery", "%"))
    settings: NewSensorSettings

    def decode(self, frame: object) -> Values | None:
        """The values of one advertisement; None for one without this service."""
        if not isinstance(frame, Advertisement) or self.service not in frame.service_data:
            return None
        try:
            hundredths, percent = unpack("<hB", frame.service_data[self.service])
        except error as wrong:
            raise BadFrame(f"service data is 3 bytes: {wrong}") from wrong
        if percent > 100 or not -4000 <= hundredths <= 8500:
            raise BadFrame(f"{hundredths / 100} Cel and a battery of {percent} %")
        return {"temperature": hundredths / 100, "battery": percent}
