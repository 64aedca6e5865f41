"""Modbus RTU frames in a stream of bytes: found by their function's length and their CRC.

Source: "MODBUS over Serial Line Specification and Implementation Guide V1.02", 2.5.1, and "MODBUS Application
Protocol Specification V1.1b3", 6. Requests are found as well as answers: on a bus one hears both.
"""

from collections.abc import Iterator
from typing import Final

ADU_MAX: Final = 256  # address, PDU of at most 253 bytes, CRC
UNIT_MAX: Final = 247
_CRC_BYTES: Final = 2
_ERROR: Final = 0x80
# By function: bytes of a request and of its answer, as a length, or as where a count of more bytes stands. A
# negative one: the length is that many bytes, without their sign, plus the count at the last of them.
_SHORT: Final = (8,)
_LENGTHS: Final[dict[int, tuple[int, ...]]] = {
    0x01: (8, -3),  # read coils
    0x02: (8, -3),  # read discrete inputs
    0x03: (8, -3),  # read holding registers
    0x04: (8, -3),  # read input registers
    0x05: _SHORT,  # write a coil
    0x06: _SHORT,  # write a register
    0x08: _SHORT,  # diagnostics
    0x0F: (8, -7),  # write coils
    0x10: (8, -7),  # write registers
    0x11: (4, -3),  # report server id
    0x16: (10,),  # mask a register
    0x17: (-3, -11),  # read and write registers
}


def _table() -> tuple[int, ...]:
    def of(octet: int) -> int:
        for _ in range(8):
            octet = octet >> 1 ^ 0xA001 if octet & 1 else octet >> 1
        return octet

    return tuple(of(octet) for octet in range(256))


_CRC: Final = _table()


def crc16(octets: bytes | bytearray) -> int:
    """CRC-16/MODBUS; goes over the line low byte first. That of a whole frame with its own is 0."""
    crc = 0xFFFF
    for octet in octets:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return crc


class RtuFramer:
    """Cuts a stream into frames; however it is cut up before, the same frames come out."""

    def __init__(self, silence_s: float) -> None:
        self.silence_s = silence_s
        self._rest = bytearray()
        self.skipped = 0
        self.bad = 0  # an answer that is damaged is no answer, and who asked for it says so

    @property
    def held(self) -> int:
        """Bytes that are no frame yet: at most one less than the longest."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes: every frame that they complete."""
        self._rest += chunk
        return list(self._frames(is_silent=False))

    def rest(self) -> list[bytes]:
        """Silence: no byte before it belongs to a frame after it. Frames behind noise are found now."""
        return list(self._frames(is_silent=True))

    def _frames(self, *, is_silent: bool) -> Iterator[bytes]:
        rest, at = self._rest, 0
        while at < len(rest):
            size = self._size(at, is_silent)
            if size is None:
                break
            if size:
                yield bytes(rest[at : at + size])
                at += size
            else:
                self.skipped += 1
                at += 1
        del rest[:at]

    def _size(self, at: int, is_silent: bool) -> int | None:
        """Of the frame that begins there; 0 if none does, None if that is for later bytes to show."""
        rest = self._rest
        if not 1 <= rest[at] <= UNIT_MAX:
            return 0
        left = len(rest) - at
        if left < 2:
            return 0 if is_silent else None
        function = rest[at + 1]
        lengths = (5,) if function & _ERROR else _LENGTHS.get(function, ())
        is_open = False
        for length in lengths:
            size = length
            if length < 0:
                if left < -length:
                    is_open = True
                    continue
                size = -length + rest[at - length - 1] + _CRC_BYTES
                if size > ADU_MAX:
                    continue
            if size > left:
                is_open = True
            elif crc16(rest[at : at + size]) == 0:
                return size
        return None if is_open and not is_silent else 0
