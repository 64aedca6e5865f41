"""A tipping-bucket rain gauge (Davis, Froggit, Hydreon in pulse mode): one closed contact for each bucket.

The bucket's magnet closes a reed for about 100 ms as it tips; between line and ground, with a pull-up,
that is a low pulse. How much rain one tip is stands on the gauge: 0.2 mm or 0.254 mm (0.01 in) as a rule.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gateway.driver import Edge, GpioDriver, Measure, Settings, Values


@dataclass(frozen=True)
class RainGaugeSettings(Settings):
    """`tip_mm` is the rain of one tip. `active_low = false` for a gauge whose pulse is high."""

    line: Annotated[str, MinLen(1)]
    tip_mm: Annotated[float, Interval(ge=0.01, le=10)] = 0.2
    active_low: bool = True
    bias: Literal["as-is", "disabled", "pull-up", "pull-down"] = "pull-up"
    debounce_ms: Annotated[int, Interval(ge=0, le=1_000)] = 5


class RainGauge(GpioDriver):
    """Rain of one tip, and of all since the port was opened; with the edges that are known to be lost.

    `rain_total` only grows, so that it stays right behind a throttle; a smaller one than before means that
    the port was opened again. Lost edges are counted, and never turned into rain: a tip is two edges, and
    nobody knows which of them were bounces.
    """

    emits = (
        Measure("rain", "mm", 0.001),
        Measure("rain_total", "mm", 0.001),
        Measure("tips", "1"),
        Measure("edges_lost", "1"),
    )
    settings: RainGaugeSettings

    def reset(self) -> None:
        """No rain yet."""
        self._tips = self._lost = 0

    def decode(self, frame: Edge) -> Values | None:
        """A tip is the beginning of a pulse. The first reading says that counting began."""
        self._lost += frame.lost
        is_tip = frame.rising and not frame.found
        if not (is_tip or frame.found or frame.lost):
            return None
        self._tips += is_tip
        return {
            "rain": self.settings.tip_mm if is_tip else 0.0,
            "rain_total": self._tips * self.settings.tip_mm,
            "tips": self._tips,
            "edges_lost": self._lost,
        }
