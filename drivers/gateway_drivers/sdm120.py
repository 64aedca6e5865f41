"""Eastron SDM120 and SDM230 electricity meters on RS-485: one phase, both directions.

Source: Eastron, "SDM120 Modbus Protocol Implementation" V1.3, "Input registers": floats, two registers each.
The SDM120 leaves the factory at 2400 baud, the SDM230 at 9600; all on one line must be set to the same.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Interval

from gateway.driver import Measure
from gateway.modbus import ModbusDriver, ModbusSettings, Register

_MEASURES: Final = {  # by the address of the first register
    0x0000: Measure("voltage", "V", 0.1),
    0x0006: Measure("current", "A"),
    0x000C: Measure("power", "W", 0.1),
    0x0012: Measure("apparent_power", "V.A", 0.1),
    0x001E: Measure("power_factor", "1", 0.001),
    0x0046: Measure("frequency", "Hz", 0.01),
    0x0048: Measure("energy", "kW.h", 0.01),  # drawn; a float of 100 MW.h has no finer step
    0x004A: Measure("energy_out", "kW.h", 0.01),
}


@dataclass(frozen=True)
class Sdm120Settings(ModbusSettings):
    """`unit` and `baud` as set on the meter's own display; `every_s`: how often it is asked."""

    baud: Literal[1200, 2400, 4800, 9600] = 2400
    every_s: Annotated[float, Interval(ge=0.5, le=3600)] = 5.0


class Sdm120(ModbusDriver):
    """What flows through the meter now, and what it counted."""

    every_s = 5.0
    line = "2400 8n1"
    gap = 10  # two requests instead of seven; what lies between reads as 0
    registers = tuple(
        Register(measure.name, address, "f32", kind="input") for address, measure in _MEASURES.items()
    )
    emits = tuple(_MEASURES.values())
    settings: Sdm120Settings

    def line_for(self) -> str:
        """The settings know the meter's speed."""
        return f"{self.settings.baud} 8n1"

    def every_for(self) -> float:
        """As the settings have it."""
        return self.settings.every_s
