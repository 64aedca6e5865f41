"""The lines that every reader gets: a wind sensor's, a number in each, decoded by its shipped driver."""

from typing import Final

from gateway.driver import BadFrame
from gateway_drivers.windsonic import WindSonic

LAST: Final = 5999  # the largest number: a wind of 59.99 m/s
_DRIVER: Final = WindSonic()


def line(number: int) -> bytes:
    """Line `number`, as the sensor sends it."""
    body = b"Q,229,%06.2f,M,00," % (number / 100)
    check = 0
    for octet in body:
        check ^= octet
    return b"\x02%s\x03%02X\r\n" % (body, check)


def number_in(frame: bytes) -> int | None:
    """The number of the line that a reader takes for one; None if it is none."""
    try:
        values = _DRIVER.decode(frame)
    except BadFrame:
        return None
    wind = values.get("wind") if values else None
    return None if wind is None else round(wind * 100)
