"""MaxBotix HRXL-MaxSonar-WR looking down on water: MB7389 and MB7369, or another of the series.

Source: MaxBotix, "HRXL-MaxSonar-WR/WRC Series" data sheet PD11500, pin 5 (serial output) and "Sensor
Minimum Distance": R, four digits of millimetres, CR, about seven times a second. What is nearer than
300 mm (5 m models) or 500 mm (10 m models) reads just that; 5000 or 9999 mean that no echo came back.
There is no checksum: a digit that noise has changed is left to the plausibility of the water level.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Interval

from gateway.driver import BadFrame, Lines, Measure, SerialDriver, Settings, Values

_RANGE: Final = re.compile(rb"R(\d{4})")
_AT_POWER_UP: Final = (b"HRXL", b"PN:", b"Copyright", b"MaxBotix", b"RoHS", b"Temp")
_LIMITS_MM: Final = {5: (300, 5000), 10: (500, 9999)}


@dataclass(frozen=True)
class MaxSonarSettings(Settings):
    """`mounted_m`: how high its face is above the water level's zero. `reach_m`: 5 or 10, by the model."""

    mounted_m: Annotated[float, Interval(gt=0, le=100)]
    reach_m: Literal[5, 10] = 5


class MaxSonar(SerialDriver):
    """How high the water stands. `too_near`: it is so near that the level is at least what is reported."""

    line = "9600 8n1"
    framing = Lines(limit=64, end=b"\r")
    emits = (Measure("water_level", "m", 0.001), Measure("distance", "m", 0.001), Measure("too_near", "bool"))
    settings: MaxSonarSettings

    def decode(self, frame: bytes) -> Values | None:
        """The level of one range; None without an echo, and for what it prints at power up."""
        found = _RANGE.fullmatch(frame)
        if found is None:
            if frame.startswith(_AT_POWER_UP):
                return None
            raise BadFrame(f"{frame!r} is no range in millimetres, like R1234")
        nearest, nothing = _LIMITS_MM[self.settings.reach_m]
        millimetres = int(found[1])
        if millimetres >= nothing:
            return None
        if millimetres < nearest:
            raise BadFrame(f"{frame!r} is nearer than this model reports; is `reach_m` right?")
        distance = millimetres / 1000
        level = self.settings.mounted_m - distance
        return {"water_level": level, "distance": distance, "too_near": millimetres == nearest}
