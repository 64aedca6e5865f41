"""Modbus RTU for driver authors: a meter is a line, a rate and a table of registers.

    class Meter(ModbusDriver):
        line = "9600 8n1"
        every_s = 1.0
        registers = (Register("voltage", 0x0000, "f32", kind="input"), Register("power", 0x000C, "f32", kind="input"))
        emits = (Measure("voltage", "V", 0.1), Measure("power", "W", 1))

Sources: "MODBUS Application Protocol Specification V1.1b3" and "MODBUS over Serial Line V1.02". Addresses
are those on the wire, from 0; a manual's 30001 or 40001 is address 0 of kind "input" or "holding". PDUs are
pymodbus's (extra `modbus`). Several such sensors share one line (RS-485), each with its own `unit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Interval

from gateway.driver import BadFrame, ModbusRtu, NoAnswer, SerialDriver, Settings, Talk, Values

Shape = Literal["u16", "i16", "u32", "i32", "f32", "bit"]
RegisterKind = Literal["input", "holding", "coil", "discrete"]


@dataclass(frozen=True)
class ModbusSettings(Settings):
    """The number that was set on the device, by its switches or its keys."""

    unit: Annotated[int, Interval(ge=1, le=247)] = 1


@dataclass(frozen=True, slots=True)
class Register:
    """Where a measure is: `value = raw * scale + offset`.

    `shape` says how it is written: 16 or 32 bits, float ("f32"), or "bit": bit number `bit` of a register; of
    a coil or a discrete input it is always a bit. `swapped`: the low word of 32 bits comes first. `void` is the
    raw value that means "there is none"; the measure is then left out (a float that is no number always is).
    """

    measure: str
    address: int
    shape: Shape = "u16"
    kind: RegisterKind = "holding"
    scale: float = 1.0
    offset: float = 0.0
    swapped: bool = False
    bit: int = 0
    void: int | None = None


class ModbusDriver(SerialDriver):
    """Base of Modbus drivers: reads `registers` every `every_s` seconds, neighbours in one request."""

    kind = "serial"
    framing = ModbusRtu()
    shares = True
    settings: ModbusSettings
    registers: ClassVar[tuple[Register, ...]] = ()

    def poll(self) -> Talk[Values | None]:
        """All registers, in as few requests as they need."""
        raise NotImplementedError
        yield b""

    def read(self, kind: RegisterKind, address: int, count: int) -> Talk[list[int]]:
        """`count` registers (or bits, as 0 and 1) from `address` on; use with `yield from`.

        Raises BadFrame with the meaning of a Modbus exception, NoAnswer if the device says nothing.
        """
        raise NotImplementedError
        yield b""

    def write(self, address: int, values: Sequence[int]) -> Talk[None]:
        """Write holding registers from `address` on, and wait for the device's word; use with `yield from`."""
        raise NotImplementedError
        yield b""

    def write_coil(self, address: int, is_on: bool) -> Talk[None]:
        """Switch one coil, and wait for the device's word."""
        raise NotImplementedError
        yield b""
