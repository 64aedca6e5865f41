"""Whether the mains is there: a relay across it, or an optocoupler, between a GPIO line and ground.

While there is mains the contact pulls the line low. An optocoupler without a capacitor does so only in every
half wave: a line that was pulled within the last `hold_ms` counts as pulled, so neither the pulses nor a dip
shorter than that are a failure. How fast a failure is told is therefore `hold_ms`, and nothing else.

An alarm is a rule of the site file: `when = "power.mains = 0"`, with a `hold` for outages not worth one.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gateway.driver import Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class MainsFailSettings(Settings):
    """`hold_ms`: 100 ms are five waves at 50 Hz. `active_low = false`: a contact that mains holds open."""

    line: Annotated[str, MinLen(1)]
    active_low: bool = True
    bias: Literal["as-is", "disabled", "pull-up", "pull-down"] = "pull-up"
    debounce_ms: Annotated[int, Interval(ge=0, le=1_000)] = 0
    hold_ms: Annotated[int, Interval(ge=20, le=60_000)] = 100


class MainsFail(GpioDriver):
    """Whether there is mains: at the start, when it fails and when it is back."""

    emits = (Measure("mains", "bool"),)
    settings: MainsFailSettings

    def decode(self, frame: Edge) -> Values:
        """The state after an edge; lost edges change nothing, as the last level is the state."""
        return {"mains": frame.rising}
