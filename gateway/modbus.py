"""Modbus RTU for driver authors: a meter is a line, a rate and a table of registers.

    class Meter(ModbusDriver):
        line = "9600 8n1"
        every_s = 1.0
        registers = (
            Register("voltage", 0x0000, "f32", kind="input"),
            Register("power", 0x000C, "f32", kind="input"),
        )
        emits = (Measure("voltage", "V", 0.1), Measure("power", "W", 1))

Sources: "MODBUS Application Protocol Specification V1.1b3" and "MODBUS over Serial Line V1.02". Addresses
are those on the wire, from 0; a manual's 30001 or 40001 is address 0 of kind "input" or "holding". PDUs are
pymodbus's (extra `modbus`). Several such sensors share one line (RS-485), each with its own `unit`.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, get_args

from annotated_types import Interval

from gateway.driver import BadFrame, Measure, ModbusRtu, Refused, SerialDriver, Settings, Talk, Value, Values

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

__all__ = ["Measure", "ModbusDriver", "ModbusSettings", "Register", "RegisterKind", "Shape"]

Shape = Literal["u16", "i16", "u32", "i32", "f32", "bit"]
RegisterKind = Literal["input", "holding", "coil", "discrete"]

READ_MAX: Final = 125  # registers in one request
READ_BITS_MAX: Final = 2000
_ADDRESSES: Final = 0x10000
_BITS: Final = ("coil", "discrete")
_FORMATS: Final = {"i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}
# Of the protocol's exceptions, V1.1b3, 7.
_MEANINGS: Final = {
    1: "it does not know this function: wrong model?",
    2: "illegal address {where}: wrong model?",
    3: "illegal value for {where}",
    4: "it failed while it did it; see whether it shows an error",
    5: "it needs long for it; ask again later",
    6: "it is busy; ask again later",
    8: "its memory is damaged",
    10: "the gateway before it is set up wrongly",
    11: "the gateway before it gets no answer from it",
}


@dataclass(frozen=True)
class ModbusSettings(Settings):
    """The number that was set on the device, by its switches or its keys."""

    unit: Annotated[int, Interval(ge=1, le=247)] = 1


@dataclass(frozen=True, slots=True)
class Register:
    """Where a measure is: `value = raw * scale + offset`.

    `shape` says how it is written: 16 or 32 bits, a float ("f32"), or "bit", number `bit` of a register, 0
    the lowest; a coil and a discrete input are bits by themselves. `swapped`: the low word of 32 bits comes
    first. `void` is the raw value that means that there is none; the measure is then left out, and so is a
    float that is no number. Raises ValueError for a place or a shape that cannot be.
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

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape) or self.kind not in get_args(RegisterKind):
            raise ValueError(f"register of {self.measure!r}: no such shape or kind")
        if not 0 <= self.address <= _ADDRESSES - self.words or not 0 <= self.bit < 16:
            raise ValueError(f"register of {self.measure!r}: addresses go from 0 to 65535, bits from 0 to 15")

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return 2 if self.shape in {"u32", "i32", "f32"} and self.kind not in _BITS else 1

    def value(self, raw: Sequence[int]) -> Value:
        """The value in these registers, or in this bit; None if there is none."""
        if self.kind in _BITS:
            return bool(raw[0])
        if self.shape == "bit":
            return bool(raw[0] >> self.bit & 1)
        number: float = raw[0]
        if self.shape != "u16":
            words = reversed(raw) if self.swapped else raw
            octets = b"".join(word.to_bytes(2, "big") for word in words)
            (number,) = struct.unpack(_FORMATS[self.shape], octets)
        if number == self.void or not math.isfinite(number):
            return None
        return number if (self.scale, self.offset) == (1.0, 0.0) else number * self.scale + self.offset


class ModbusDriver(SerialDriver):
    """Base of Modbus drivers: reads `registers` every `every_s` seconds, neighbours in one request.

    Registers that lie at most `gap` apart count as neighbours: what lies between is read and thrown away.
    """

    kind = "serial"
    framing = ModbusRtu()
    answer_s = 0.5
    quiet_s = 0.005  # for devices that are slow to listen again
    quiet_chars = 3.5
    shares = True
    settings: ModbusSettings
    registers: ClassVar[tuple[Register, ...]] = ()
    gap: ClassVar[int] = 0

    def address_for(self) -> int | None:
        """Its unit, with which every answer begins."""
        return self.settings.unit

    def poll(self) -> Talk[Values | None]:
        """All registers, in as few requests as they need. Of a driver without, nothing."""
        values: dict[str, Value] = {}
        for kind, start, count, registers in _spans(self.registers, self.gap):
            raw = yield from self.read(kind, start, count)
            for register in registers:
                at = register.address - start
                value = register.value(raw[at : at + register.words])
                if value is not None:
                    values[register.measure] = value
        return values or None

    def read(self, kind: RegisterKind, address: int, count: int) -> Talk[list[int]]:
        """`count` registers (or bits, as 0 and 1) from `address` on; use with `yield from`.

        Raises Refused with the meaning of a Modbus exception, BadFrame for an answer that does not fit, and
        NoAnswer if the device says nothing.
        """
        # Here, not above: the check of a site file without Modbus needs no pymodbus.
        from pymodbus.pdu import bit_message, register_message

        request_type = {
            "coil": bit_message.ReadCoilsRequest,
            "discrete": bit_message.ReadDiscreteInputsRequest,
            "holding": register_message.ReadHoldingRegistersRequest,
            "input": register_message.ReadInputRegistersRequest,
        }[kind]
        answer = yield from self._ask(request_type(address=address, count=count))
        # Bits come in whole bytes, the last one filled up.
        got = [int(bit) for bit in answer.bits][:count] if kind in _BITS else list(answer.registers)
        if len(got) != count:
            raise BadFrame(f"{count} were asked for from 0x{address:04x} on, {len(got)} came")
        return got

    def write(self, address: int, values: Sequence[int]) -> Talk[None]:
        """Write holding registers from `address` on, and wait for the device's word; use with `yield from`.

        One value is written by function 6, which more devices know. Raises as `read` does.
        """
        from pymodbus.pdu import register_message as messages

        single = len(values) == 1
        request_type = (
            messages.WriteSingleRegisterRequest if single else messages.WriteMultipleRegistersRequest
        )
        request = request_type(address=address, registers=list(values), count=len(values))
        answer = yield from self._ask(request)
        if answer.address != address or (
            list(answer.registers) != list(values) if single else answer.count != len(values)
        ):
            raise BadFrame(f"0x{address:04x} was written, the device speaks of 0x{answer.address:04x}")

    def write_coil(self, address: int, is_on: bool) -> Talk[None]:
        """Switch one coil, and wait for the device's word; use with `yield from`. Raises as `read` does."""
        from pymodbus.pdu.bit_message import WriteSingleCoilRequest

        answer = yield from self._ask(WriteSingleCoilRequest(address=address, bits=[is_on]))
        if answer.address != address or list(answer.bits) != [is_on]:
            raise BadFrame(f"coil 0x{address:04x} was written, the device speaks of 0x{answer.address:04x}")

    def _ask(self, request: "ModbusPDU") -> "Talk[ModbusPDU]":
        """One question, and this device's answer to it. What others on the bus say is passed over."""
        from pymodbus.pdu import DecodePDU

        head = bytes((self.settings.unit, request.function_code))
        asked = ModbusRtu().wrap(head + request.encode())
        frame = yield asked
        # The answer to a single write is the question again; else that is only heard back.
        while not _answers(frame, head) or (frame == asked and request.function_code not in (5, 6)):
            frame = yield b""
        answer = DecodePDU(False).decode(frame[1:-2])
        if answer is None:
            raise BadFrame(f"{frame.hex(' ')} is no answer to function {request.function_code}")
        if answer.isError():
            where = f"0x{request.address:04x}"
            if request.count > 1:
                where += f" to 0x{request.address + request.count - 1:04x}"
            meaning = _MEANINGS.get(answer.exception_code, f"exception {answer.exception_code}")
            raise Refused(f"unit {self.settings.unit}: {meaning.format(where=where)}")
        return answer

    @classmethod
    def polls(cls) -> bool:
        """A driver that emits nothing is only commanded."""
        return bool(cls.emits) or cls.poll is not ModbusDriver.poll

    @classmethod
    def check_declaration(cls) -> None:
        """Every register is a measure of `emits`, and every measure has one, unless `poll` is its own."""
        super().check_declaration()
        named, emitted = [register.measure for register in cls.registers], {each.name for each in cls.emits}
        if len(set(named)) != len(named):
            raise TypeError(f"{cls.__qualname__}: registers name a measure twice")
        if odd := set(named) - emitted:
            raise TypeError(f"{cls.__qualname__}: emits does not declare {', '.join(sorted(odd))}")
        if cls.poll is ModbusDriver.poll and (odd := emitted - set(named)):
            raise TypeError(f"{cls.__qualname__}: no register holds {', '.join(sorted(odd))}")
        if "unit" not in cls.settings_type().__dataclass_fields__:
            raise TypeError(
                f"{cls.__qualname__}: settings need a field `unit`; derive them from ModbusSettings"
            )


def _answers(frame: bytes, head: bytes) -> bool:
    """Whether it is from the unit that was asked, and of the function it was asked for, or its exception."""
    return frame[0] == head[0] and frame[1] & 0x7F == head[1]


_Span = tuple[RegisterKind, int, int, Sequence[Register]]


def _spans(registers: Sequence[Register], gap: int) -> Iterator[_Span]:
    """Kind, first address, count and registers of each request."""
    by_kind = sorted(registers, key=lambda each: (each.kind, each.address))
    for kind, group in groupby(by_kind, key=lambda each: each.kind):
        most = READ_BITS_MAX if kind in _BITS else READ_MAX
        inside: list[Register] = []
        start = end = 0
        for register in group:
            its_end = register.address + register.words
            if inside and (register.address > end + gap or its_end - start > most):
                yield kind, start, end - start, inside
                inside = []
            if not inside:
                start = end = register.address
            inside.append(register)
            end = max(end, its_end)
        yield kind, start, end - start, inside
