"""What a sensor says, made true and kept possible: calibrated, and left out where it cannot be."""

import math
from collections.abc import Iterable
from typing import Final

from gateway.plan import Calibration
from gateway.reading import Measure, Value

# A calibration may push a possible value over the edge, by a share of the range: it is then the edge itself.
# So clean air stays at 0 ug/m3 with an offset of -0.4, and a gain of 100 by mistake still shows.
_EDGE: Final = 0.1


class Plausible:
    """One sensor's calibrations and ranges. `left_out` counts values until somebody takes the count."""

    def __init__(self, measures: Iterable[Measure], calibrations: Iterable[Calibration]) -> None:
        self._bounds = {
            measure.name: measure.bounds
            for measure in measures
            if measure.unit != "bool" and measure.bounds != (-math.inf, math.inf)
        }
        self._lines = {each.measure: (each.gain, each.offset) for each in calibrations}
        self.left_out = 0

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._bounds or self._lines)

    def judge(self, values: dict[str, Value]) -> None:
        """Calibrate in place; what cannot be becomes None and is counted."""
        raws = dict(values) if self._lines else values
        for name, (gain, offset) in self._lines.items():
            raw = values.get(name)
            if raw is not None:
                values[name] = gain * raw + offset
        for name, (low, high) in self._bounds.items():
            value = values.get(name)
            if value is None or low <= value <= high:
                continue
            values[name] = self._edge(raws[name], value, low, high) if name in self._lines else None
            self.left_out += values[name] is None

    def take_count(self) -> int:
        """How many values were left out since this was last asked."""
        count, self.left_out = self.left_out, 0
        return count

    def _edge(self, raw: Value, value: float, low: float, high: float) -> Value:
        """The edge that a calibration pushed a possible value over; None for what is too far beyond."""
        if raw is None or not low <= raw <= high:
            return None
        slack = (high - low) * _EDGE
        if low - slack <= value < low:
            return low
        return high if high < value <= high + slack else None
