"""A passive infrared motion sensor (HC-SR501, AM312, EKMC): its output is high while it sees motion.

It says that something warm moved, never what or who. Most modules need up to a minute after power-on
before their output means anything.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gateway.driver import Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class PirSettings(Settings):
    """`hold_ms`: motion lasts until nothing moved for so long, so that one passer-by is one motion."""

    line: Annotated[str, MinLen(1)]
    active_low: bool = False
    bias: Literal["as-is", "disabled", "pull-up", "pull-down"] = "pull-down"
    hold_ms: Annotated[int, Interval(ge=0, le=600_000)] = 10_000


class Pir(GpioDriver):
    """Whether there is motion: at the start, when it begins, and when it was over for `hold_ms`."""

    emits = (Measure("motion", "bool"),)
    settings: PirSettings

    def decode(self, frame: Edge) -> Values:
        """The state after an edge."""
        return {"motion": frame.rising}
