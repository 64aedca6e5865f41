"""The latest values on the demo's screen: as fine as they were measured, with their units."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError
from gateway.plan import load_plan
from gateway.reading import Measure, Value, Values

_DECIMALS_MAX: Final = 5  # of a degree: a metre
_SIGNS: Final = {"1": "", "bool": "", "deg": "°", "Cel": "°C", "ug/m3": "µg/m³", "m3": "m³"}


class Readings:
    """Knows the measures of the box's plan once there is one."""

    def __init__(self, plan: Path) -> None:
        self._plan = plan
        self._measures: dict[str, dict[str, Measure]] = {}

    def texts(self, sensor: str, values: Values) -> list[str]:
        """The values that are known, in the driver's order, each with its name and unit."""
        measures = self._of_plan().get(sensor, {})
        return [
            f"{name} {value_text(value, measures.get(name))}"
            for name, value in values.items()
            if value is not None and name != "utc"  # every line has a time already
        ]

    def _of_plan(self) -> Mapping[str, Mapping[str, Measure]]:
        if not self._measures:
            try:
                sensors = load_plan(self._plan).sensors
            except GatewayError:  # not there yet
                return {}
            self._measures = {s.name: {m.name: m for m in s.measures} for s in sensors}
        return self._measures


def value_text(value: Value, measure: Measure | None) -> str:
    """A value with as many decimals as its resolution has, within reason, and its unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if measure is None or value is None:
        return str(value)
    decimals = min(_DECIMALS_MAX, max(0, math.ceil(-math.log10(measure.resolution) - 1e-9)))
    sign = _SIGNS.get(measure.unit, measure.unit)
    space = "" if sign in {"", "°"} else " "
    return f"{value:.{decimals}f}{space}{sign}"
