"""A door or lid contact: a reed switch or micro switch between a GPIO line and ground."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gateway.driver import Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class DoorContactSettings(Settings):
    """With the pull-up a contact that the closed door holds shut reads high when the door is open.

    `active_low = true` for a contact that the closed door holds apart.
    """

    line: Annotated[str, MinLen(1)]
    active_low: bool = False
    bias: Literal["as-is", "disabled", "pull-up", "pull-down"] = "pull-up"
    debounce_ms: Annotated[int, Interval(ge=0, le=10_000)] = 50


class DoorContact(GpioDriver):
    """Whether the door is open: at the start, and at each change that lasted `debounce_ms`."""

    emits = (Measure("open", "bool"),)
    settings: DoorContactSettings

    def decode(self, frame: Edge) -> Values:
        """The state after an edge. Lost edges change nothing: the last level is the state."""
        return {"open": frame.rising}
