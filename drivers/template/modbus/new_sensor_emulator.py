"""MAKER MODEL, emulated from its data sheet: input register 0 holds 0.1 Cel, register 1 holds 0.1 %.

Write it from the document, not from the driver, so that a mistake in one shows in the other.
"""

from collections.abc import Mapping
from typing import ClassVar

from gateway_hil.emulators.modbus import ModbusEmulator, Slave
from gateway_hil.emulators.truth import Shown


class Registers(Slave):
    """`celsius` and `percent` are the truth."""

    celsius, percent = 21.5, 61.0

    def refresh(self) -> None:
        """The values as the registers have them."""
        self.inputs = {0: round(self.celsius * 10) & 0xFFFF, 1: round(self.percent * 10)}


class NewSensor(ModbusEmulator):
    """The device as unit 1 of a line."""

    device: ClassVar[type[Slave]] = Registers
    shows: ClassVar[Mapping[str, Shown]] = {
        "temperature": Shown("celsius", -40.0, 85.0),
        "humidity": Shown("percent", 0.0, 100.0),
    }
