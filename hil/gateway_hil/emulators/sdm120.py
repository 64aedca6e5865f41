"""Eastron SDM120 electricity meter, emulated from the maker's "Modbus Protocol Implementation" V1.3.

Values are IEEE 754 floats in pairs of input registers, the high word first. A request begins at the first
register of a pair, takes whole pairs, and at most 40 of them. Pairs between those in use read as 0.
"""

from collections.abc import Callable
from struct import pack, unpack
from typing import ClassVar, Final

from gateway_hil.emulators.modbus import (
    ILLEGAL_ADDRESS,
    READ_HOLDING,
    READ_INPUT,
    WRITE_REGISTERS,
    ModbusEmulator,
    Refused,
    Slave,
)
from gateway_hil.emulators.truth import Shown

_PAIRS: Final = {  # attribute: first input register
    "volts": 0x0000,
    "amperes": 0x0006,
    "watts": 0x000C,
    "volt_amperes": 0x0012,
    "power_factor": 0x001E,
    "hertz": 0x0046,
    "imported_kwh": 0x0048,
    "exported_kwh": 0x004A,
}
_LAST: Final = 0x015E


class Sdm120Slave(Slave):
    """A meter with a steady load; set its attributes at will, or give it a `load` that says watts."""

    functions = frozenset((READ_HOLDING, READ_INPUT, WRITE_REGISTERS))
    at_once = 80

    def __init__(self, load: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.load = load
        self.volts, self.amperes, self.watts, self.volt_amperes = 231.4, 0.352, 74.1, 81.5
        self.power_factor, self.hertz = 0.91, 49.98
        self.imported_kwh, self.exported_kwh = 1234.5, 0.25
        self.holding = {0x0012: 0, 0x0013: 0, 0x0014: 0x3F80, 0x0015: 0, 0x001C: 0x4000, 0x001D: 0}

    def refresh(self) -> None:
        """The registers of this moment."""
        if self.load is not None:
            self.watts = self.load()
            self.amperes = self.watts / self.volts / self.power_factor
            self.volt_amperes = self.watts / self.power_factor
        self.inputs = dict.fromkeys(range(_LAST), 0)
        for attribute, address in _PAIRS.items():
            high, low = unpack(">HH", pack(">f", getattr(self, attribute)))
            self.inputs[address], self.inputs[address + 1] = high, low

    def read(self, table: dict[int, int], address: int, number: int) -> list[int]:  # type: ignore[override]
        """Whole pairs only."""
        if address % 2 or number % 2:
            raise Refused(ILLEGAL_ADDRESS)
        return super().read(table, address, number)


class Sdm120(ModbusEmulator):
    """A meter alone on its line."""

    baud = 2400
    device = Sdm120Slave
    shows: ClassVar = {
        "voltage": Shown("volts", 0.0, 276.0),
        "current": Shown("amperes", 0.0, 45.0),
        "power": Shown("watts", -10_350.0, 10_350.0),
        "apparent_power": Shown("volt_amperes", 0.0, 12_420.0),
        "power_factor": Shown("power_factor", -1.0, 1.0),
        "frequency": Shown("hertz", 45.0, 65.0),
        "energy": Shown("imported_kwh", 0.0, 99_999.0),
        "energy_out": Shown("exported_kwh", 0.0, 99_999.0),
    }
