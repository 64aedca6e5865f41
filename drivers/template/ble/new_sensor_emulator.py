"""MAKER MODEL, emulated from its document: service data of FFF0, temperature in 0.01 Cel and battery in %.

Write it from the document, not from the driver, so that a mistake in one shows in the other.
"""

from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any, ClassVar

from gateway.driver import Advertisement
from gateway_hil.emulators.truth import Shown, Truthful

SERVICE = "0000fff0-0000-1000-8000-00805f9b34fb"


class NewSensor(Truthful):
    """`celsius` and `percent` are the truth."""

    shows: ClassVar[Mapping[str, Shown]] = {
        "temperature": Shown("celsius", -40.0, 85.0),
        "battery": Shown("percent", 0, 100),
    }
    address = "A4:C1:38:00:00:01"
    celsius, percent = 21.5, 87

    def settings(self) -> dict[str, Any]:
        """Its address."""
        return {"address": self.address}

    def frames(self) -> Sequence[Any]:
        """One advertisement."""
        payload = pack("<hB", round(self.celsius * 100), self.percent)
        return (Advertisement(self.address, -61, {SERVICE: payload}, {}),)
