"""A relay or contactor on a GPIO line, with a second contact that shows whether it really switched.

The feedback line is an auxiliary contact, a current sensor or an optocoupler behind the relay. Without one,
the output is read back, which shows a line that is shorted or driven by something else, not a stuck relay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gateway.driver import Command, Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class GpioRelaySettings(Settings):
    """`safe = true` switches on where nobody commands: at the start, and when the worker stops.

    `active_low` is for relay boards that switch on with a low level; `bias` and `debounce_ms` are for the
    feedback line, which has `settle_ms` to follow. Between a crash and the worker's next start, the chip and
    the resistor at the line decide (see gateway/ports/gpio.py).
    """

    line: Annotated[str, MinLen(1)]
    active_low: bool = False
    safe: bool = False
    feedback: str = ""
    feedback_active_low: bool = False
    bias: Literal["as-is", "disabled", "pull-up", "pull-down"] = "as-is"
    debounce_ms: Annotated[int, Interval(ge=0, le=1_000)] = 5
    settle_ms: Annotated[int, Interval(ge=1, le=1_000)] = 100

    def __post_init__(self) -> None:
        if self.feedback == self.line:
            raise ValueError("feedback must be another line; without one the output itself is read back")


class GpioRelay(GpioDriver):
    """Commands `on` and `off`; `on` is what the read-back says, `follows` whether that is what was asked."""

    direction = "out"
    emits = (Measure("on", "bool"), Measure("follows", "bool"))
    accepts = (Command("on"), Command("off"))
    lamp = "switch"
    settings: GpioRelaySettings

    def decode(self, frame: Edge) -> Values:
        """What became of a command, or a change that nobody asked for."""
        return {"on": frame.rising, "follows": frame.asked is None or frame.asked == frame.rising}

    def encode(self, command: str, arguments: Mapping[str, float]) -> bool:
        """The level of the line."""
        return command == "on"
