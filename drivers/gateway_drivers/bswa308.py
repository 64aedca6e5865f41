"""BSWA 308 and 309 sound level meters (sold as Roga, PCE-430 and Sauter SW, too), over their RS-232 socket.

Source: BSWA Technology, "BSWA 308/309 Sound Level Meter User Manual", BSWA-III-C021-04-P0274 v3.16
(December 2020), chapter 5, "RS-232 Communication Protocol": STX, device id, attribute (C command, A answer),
text, ETX, the exclusive or of all that, CR LF. Command DMA asks for what the main screen shows: filter,
detector, mode, level and whether the input is overloaded.

What the screen shows is chosen with the meter's keys. A screen that is not the one the settings name is
refused, so that a level never means something else from one day to the next.
"""

import re
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Annotated, Final, Literal

from annotated_types import Interval

from gateway.driver import BadFrame, Fixed, Measure, SerialDriver, Settings, Talk, Values

_SCREEN: Final = re.compile(rb"\x02(.)A([0-3]),([0-2]),([0-4]),(\d{3}\.\d),([0-4])\x03.\r\n", re.DOTALL)
_NAMES: Final = {"A": "level_a", "C": "level_c", "Z": "level_spl"}
_FILTERS, _DETECTORS, _MODES = "ABCZ", ("fast", "slow", "impulse"), ("spl", "peak", "leq", "max", "min")


def _sum(block: bytes) -> int:
    """The check character of a block: all from STX to ETX, exclusive or."""
    return reduce(xor, block, 0)


@dataclass(frozen=True)
class Bswa308Settings(Settings):
    """`number` is its id; the others: what its main screen shows, `leq` over the integral period."""

    number: Annotated[int, Interval(ge=1, le=255)] = 1
    weighting: Literal["A", "C", "Z"] = "A"
    detector: Literal["fast", "slow", "impulse"] = "fast"
    mode: Literal["spl", "leq"] = "spl"


class Bswa308(SerialDriver):
    """The sound level once a second; none while the input is overloaded, or it is too quiet to measure."""

    line = "9600 8n1"
    framing = Fixed(20, head=b"\x02", tail=b"\r\n", check=lambda block: _sum(block[:-3]) == block[-3])
    every_s = 1.0
    shares = True
    emits = (
        *(Measure(name, "dB[SPL]") for name in _NAMES.values()),
        Measure("overloaded", "bool"),
        Measure("too_quiet", "bool"),
    )
    settings: Bswa308Settings

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """One level, by the weighting."""
        chosen = _NAMES[getattr(settings, "weighting", "A")]
        return (Measure(chosen, "dB[SPL]"), *cls.emits[-2:])

    def poll(self) -> Talk[Values]:
        """Ask for the main screen, once."""
        block = b"\x02%cCDMA1 ?\x03" % self.settings.number
        answer = yield block + b"%c\r\n" % _sum(block)
        found = _SCREEN.fullmatch(answer)
        if found is None or found[1] != bytes((self.settings.number,)):
            raise BadFrame(f"{answer!r} is no main screen of meter {self.settings.number}")
        weighting, detector, mode = _FILTERS[int(found[2])], _DETECTORS[int(found[3])], _MODES[int(found[4])]
        wanted = (self.settings.weighting, self.settings.detector, self.settings.mode)
        if (weighting, detector, mode) != wanted:
            raise BadFrame(
                f"the meter shows {weighting}, {detector}, {mode}, not {', '.join(wanted)}: set it"
            )
        now = int(found[6])  # 3 and 4 were before now, within the integral period
        flags: Values = {"overloaded": now == 1, "too_quiet": now == 2}
        return flags if now in (1, 2) else {_NAMES[weighting]: float(found[5]), **flags}
