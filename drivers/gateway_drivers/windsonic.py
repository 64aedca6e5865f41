"""Gill WindSonic, an ultrasonic wind sensor without moving parts, in its default format: polar, continuous.

Source: Gill Instruments, "WindSonic User Manual", doc. 1405-PS-0019 issue 28 (November 2019), chapters 9.1
(message), 10 (commands K and H: direction left out when it is calm, message at power up) and 11.5 (status):
STX, node letter, direction in degrees, speed, unit, status, ETX, and in hex the exclusive or of what is
between STX and ETX. WindObserver and the WindSonics that Campbell and others resell say the same.
"""

import re
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Annotated, Final

from annotated_types import Interval

from gateway.driver import BadFrame, Lines, Measure, SerialDriver, Settings, Values

_MESSAGE: Final = re.compile(
    rb"\x02(([A-Z]),(\d{3})?,(\d{1,5}\.\d{1,3})?,([MNPKF]),(\d\d),)\x03([0-9A-F]{2})"
)
_IN_M_S: Final = {b"M": 1.0, b"N": 1852 / 3600, b"P": 0.44704, b"K": 1 / 3.6, b"F": 0.00508}
_AT_POWER_UP: Final = re.compile(rb"WINDSONIC .*|[\d-]+|RS\d{3}.*|CHECKSUM .*")
_BLIND: Final = (1, 2, 4)  # of the status: too few samples on one axis, or on both


@dataclass(frozen=True)
class WindSonicSettings(Settings):
    """`node`: the letter it is configured to. `north`: where its mark points, clockwise from north."""

    node: str = "Q"
    north: Annotated[int, Interval(ge=0, lt=360)] = 0

    def __post_init__(self) -> None:
        """The manual allows one letter."""
        if not re.fullmatch("[A-Z]", self.node):
            raise ValueError(f"node must be one letter from A to Z, not {self.node!r}")


class WindSonic(SerialDriver):
    """Speed of the wind and where it comes from; `fault` is the sensor's own status, 0 when all is well."""

    line = "9600 8n1"
    framing = Lines(limit=64)
    emits = (Measure("wind", "m/s", 0.01), Measure("wind_from", "deg", 1), Measure("fault", "1"))
    settings: WindSonicSettings

    def decode(self, frame: bytes) -> Values | None:
        """The wind of one line; None for the lines it prints at power up."""
        if _AT_POWER_UP.fullmatch(frame):
            return None
        found = _MESSAGE.fullmatch(frame, max(0, frame.rfind(b"\x02")))  # noise may be stuck to its beginning
        if found is None:
            raise BadFrame(f"{frame!r} is no polar message; is another format set, or another speed?")
        body, node, degrees, speed, unit, status, check = found.groups()
        if int(check, 16) != reduce(xor, body):
            raise BadFrame(f"{frame!r}: its checksum does not fit")
        if node != self.settings.node.encode():
            raise BadFrame(f"{frame!r} is from another sensor; this one is {self.settings.node}")
        if int(status) in _BLIND:
            return {"fault": int(status)}
        if speed is None:
            raise BadFrame(f"{frame!r}: a wind without a speed, though all is well")
        wind: Values = {"wind": float(speed) * _IN_M_S[unit], "fault": int(status)}
        if degrees is None:  # calm
            return wind
        if int(degrees) > 360:
            raise BadFrame(f"{frame!r}: there is no such direction")
        return {**wind, "wind_from": (int(degrees) + self.settings.north) % 360}
