"""Modbus slaves on one line, emulated by hand from the protocol's documents; no code is shared with drivers.

Source: MODBUS Application Protocol Specification V1.1b3, chapters 6 and 7, and MODBUS over Serial Line
V1.02, chapter 2 (modbus.org): address, function, data, CRC-16 with its low byte first; a slave answers
nobody else's questions, none that came to it broken, and none to address 0.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import pack, unpack_from
from typing import Any, ClassVar, Final

from gateway.driver import Value, Values
from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

READ_COILS, READ_HOLDING, READ_INPUT = 0x01, 0x03, 0x04
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 0x05, 0x06, 0x10
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
_ON: Final = 0xFF00
_FRAME_MAX: Final = 256
_SILENCE_S: Final = 0.05  # a frame is over; far above 3.5 characters, as a USB adapter's pauses are


def crc(octets: bytes) -> int:
    """CRC-16/MODBUS, a bit at a time as the specification draws it."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


def sealed(octets: bytes) -> bytes:
    """A frame: the octets and their CRC."""
    return octets + pack("<H", crc(octets))


class Refused(Exception):
    """A slave's exception answer, with its code."""


class Slave:
    """One device on the line. A subclass fills the tables, or overrides `refresh` and the writes.

    `holding` and `inputs` are registers by address, `coils` bits; an address that is not there is refused.
    """

    functions: ClassVar[frozenset[int]] = frozenset(
        (READ_COILS, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS)
    )
    at_once: ClassVar[int] = 125  # registers in one request
    shows: ClassVar[Mapping[str, Shown]] = {}  # its attributes by the driver's measures

    def __init__(self) -> None:
        self.holding: dict[int, int] = {}
        self.inputs: dict[int, int] = {}
        self.coils: dict[int, bool] = {}

    def refresh(self) -> None:
        """Bring the tables up to date; called before every request."""

    def write_register(self, address: int, value: int) -> None:
        """Take one register. Raises Refused for a value that the device does not have."""
        self.holding[address] = value

    def write_coil(self, address: int, value: bool) -> None:
        """Take one coil."""
        self.coils[address] = value

    def answer(self, pdu: bytes) -> bytes:
        """The answer to a function code and its data; an exception where the device refuses."""
        self.refresh()
        try:
            if pdu[0] not in self.functions:
                raise Refused(ILLEGAL_FUNCTION)
            return pdu[:1] + self._carried_out(pdu)
        except Refused as refused:
            return bytes((pdu[0] | 0x80, refused.args[0]))

    def _carried_out(self, pdu: bytes) -> bytes:
        function, address, number = unpack_from(">BHH", pdu)
        if function == READ_COILS:
            bits = [self.coils.get(n) for n in range(address, address + number)]
            self._check(number <= 2000 and number > 0, ILLEGAL_VALUE)
            self._check(None not in bits, ILLEGAL_ADDRESS)
            octets = sum(bool(bit) << n for n, bit in enumerate(bits)).to_bytes((number + 7) // 8, "little")
            return bytes((len(octets),)) + octets
        if function in (READ_HOLDING, READ_INPUT):
            self._check(0 < number <= self.at_once, ILLEGAL_VALUE)
            words = self.read(self.holding if function == READ_HOLDING else self.inputs, address, number)
            return bytes((2 * number,)) + pack(f">{number}H", *words)
        if function == WRITE_COIL:
            self._check(number in (0, _ON), ILLEGAL_VALUE)
            self._check(address in self.coils, ILLEGAL_ADDRESS)
            self.write_coil(address, number == _ON)
            return pdu[1:5]
        if function == WRITE_REGISTER:
            self._check(address in self.holding, ILLEGAL_ADDRESS)
            self.write_register(address, number)
            return pdu[1:5]
        self._check(0 < number <= 123 and pdu[5] == 2 * number, ILLEGAL_VALUE)
        self._check(all(n in self.holding for n in range(address, address + number)), ILLEGAL_ADDRESS)
        for n, word in enumerate(unpack_from(f">{number}H", pdu, 6)):
            self.write_register(address + n, word)
        return pdu[1:5]

    def read(self, table: Mapping[int, int], address: int, number: int) -> list[int]:
        """Registers from one address on. Raises Refused where there are none."""
        words = [table.get(n) for n in range(address, address + number)]
        self._check(None not in words, ILLEGAL_ADDRESS)
        return [word for word in words if word is not None]

    @staticmethod
    def _check(holds: bool, code: int) -> None:
        if not holds:
            raise Refused(code)


class ModbusEmulator(SerialEmulator):
    """All the slaves on one RS-485 line, by unit; one of them may be the device that a driver is for.

    `heard_requests` counts what came to each unit. A subclass with `device` shows that slave's values.
    """

    default_every_s: ClassVar[float | None] = None
    device: ClassVar[type[Slave] | None] = None

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        every_s: float | None = None,
        seed: int = 0,
        unit: int = 1,
        units: Mapping[int, Slave] | None = None,
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.unit = unit
        self.units: dict[int, Slave] = dict(units or {})
        if self.device is not None and unit not in self.units:
            self.units[unit] = self.device()
        self.heard_requests: dict[int, int] = dict.fromkeys(self.units, 0)
        self._requests = bytearray()
        self._heard_s = 0.0
        self._late_s = 0.0
        self._as_other = False

    # fault verbs

    def late(self, seconds: float = 0.5) -> None:
        """Answer only after so long; 0 ends it."""
        self._late_s = seconds

    def wrong_unit(self, wrong: bool = True) -> None:
        """Answer under another unit's address, as a device set wrongly does, until `wrong_unit(False)`."""
        self._as_other = wrong

    def lamp_out(self, out: bool = True) -> None:
        """Every lamp on the line burns out, until `lamp_out(False)`: told to be on, it draws nothing."""
        for slave in self.units.values():
            if hasattr(slave, "burnt_out"):
                slave.burnt_out = out

    # what the kit asks

    def settings(self) -> dict[str, Any]:
        """Which unit the device is."""
        return {"unit": self.unit}

    def truth(self) -> Values:
        """What the device shows."""
        slave = self.units[self.unit]
        return {measure: getattr(slave, shown.attribute) for measure, shown in self.shows.items()}

    def become(self, values: Mapping[str, Value]) -> None:
        """Make this the truth."""
        for measure, value in values.items():
            setattr(self.units[self.unit], self.shows[measure].attribute, value)

    def heard(self, chunk: bytes) -> bytes:
        """Answer every whole request; what is not one is forgotten at the next silence."""
        now_s = time.monotonic()
        if now_s - self._heard_s > _SILENCE_S:
            self._requests.clear()
        self._heard_s = now_s
        self._requests += chunk
        answers = b"".join(self._answers())
        if answers and self._late_s:
            threading.Timer(self._late_s, self._say, (answers,)).start()
            return b""
        return answers

    def _answers(self) -> Sequence[bytes]:
        answers = []
        while self._requests:
            size = _request_size(self._requests)
            if size is None:
                break
            request = bytes(self._requests[:size])
            if size == 0 or crc(request):  # the CRC of a whole frame, its own CRC included, is 0
                del self._requests[:1]
                continue
            del self._requests[:size]
            unit = request[0]
            if unit == 0:  # a broadcast is carried out by all, and answered by none
                for slave in self.units.values():
                    slave.answer(request[1:-2])
            elif unit in self.units:
                self.heard_requests[unit] += 1
                said = (unit % 247 + 1) if self._as_other else unit
                answers.append(sealed(bytes((said,)) + self.units[unit].answer(request[1:-2])))
        return answers

    def _say(self, octets: bytes) -> None:
        with self._lock:
            if self.wire.fd >= 0 and not self._stalled:
                self._waiting += self._sent_of(octets)
        if not self._stopping:
            self._wake()


def _request_size(octets: bytearray) -> int | None:
    """Bytes of the request that begins here; None if that is not known yet, 0 if none can."""
    if len(octets) < 2:
        return None
    if octets[1] in (READ_COILS, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_REGISTER):
        size = 8
    elif octets[1] == WRITE_REGISTERS:
        if len(octets) < 7:
            return None
        size = 9 + octets[6]
    else:
        return 0
    if size > _FRAME_MAX:
        return 0
    return size if len(octets) >= size else None
