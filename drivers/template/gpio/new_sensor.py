"""MAKER MODEL, what it tells: how it is wired, in one line.

Source: the document that says so, with its version. Here: a contact to ground, open while nothing happens.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval, MinLen

from gateway.driver import Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class NewSensorSettings(Settings):
    """The line's name or number on its chip, and how long its contact bounces."""

    line: Annotated[str, MinLen(1)]
    debounce_ms: Annotated[int, Interval(ge=0, le=10_000)] = 20


class NewSensor(GpioDriver):
    """Whether the contact is closed, at the start and at each change."""

    active_low = True
    bias = "pull-up"
    emits = (Measure("closed", "bool"),)
    settings: NewSensorSettings

    def decode(self, frame: Edge) -> Values:
        """The state after an edge."""
        return {"closed": frame.rising}
