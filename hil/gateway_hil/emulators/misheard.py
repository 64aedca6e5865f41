"""What a UART makes of bytes that were sent at another speed, bit by bit."""

from typing import Final

_BITS: Final = 10  # start, eight of data with the lowest first, stop


def misheard(octets: bytes, sent_baud: int, heard_baud: int) -> bytes:
    """The bytes that a receiver at `heard_baud` reads while a sender at `sent_baud` sends without a pause.

    It waits for a falling edge and samples each bit in its middle; where the stop bit is missing the byte
    is handed on all the same, as Linux does unless it is told to check. The line rests before and after.
    """
    # One tick is 1 / (sent_baud * heard_baud) s: a sent bit lasts heard_baud ticks, a heard one sent_baud.
    line = [bit for octet in octets for bit in (0, *(octet >> n & 1 for n in range(8)), 1)]
    heard = bytearray()
    at = 0
    while (start := _falling(line, at // heard_baud, at % heard_baud > 0)) is not None:
        begin = start * heard_baud
        octet = 0
        for n in range(8):
            middle = begin + sent_baud * (2 * n + 3) // 2
            octet |= _level(line, middle // heard_baud) << n
        heard.append(octet)
        at = begin + sent_baud * (2 * _BITS - 1) // 2  # the stop bit's middle
    return bytes(heard)


def _falling(line: list[int], index: int, inside: bool) -> int | None:
    """The first bit, from `index` on, that is low after a high one; None if the line rests from there on."""
    before = _level(line, index) if inside else _level(line, index - 1)
    for n in range(index + inside, len(line)):
        if before and not line[n]:
            return n
        before = line[n]
    return None


def _level(line: list[int], index: int) -> int:
    return line[index] if 0 <= index < len(line) else 1
