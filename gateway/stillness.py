"""Stuck values: a sensor that answers, and always the same.

A measure may stand exactly still for as long as the site file or `gateway.measures` says. Only time in which
readings came counts: after a pause of a tenth of that it begins anew. At an end of its range a value may stay
for ever (no wind, no light). What is known is forgotten when the worker ends.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.log import say
from gateway.reading import Health, HealthCode, Measure, Value, Values

BEGAN: Final = 1  # a health record's count
OVER: Final = 0
_PAUSE: Final = 0.1  # of the time that it may stand still
_log = logging.getLogger("sensor")


@dataclass(slots=True)
class _Still:
    """One measure: what it was last, since when, and when it was last seen."""

    may_ns: int
    low: float
    high: float
    value: Value = None
    since_ns: int = 0
    seen_ns: int = 0
    is_stuck: bool = False


class Stillness:
    """Watches one sensor's values before any stage sees them."""

    def __init__(self, sensor: str, measures: Iterable[Measure], still: Mapping[str, float]) -> None:
        self._sensor = sensor
        bounds = {measure.name: measure.bounds for measure in measures}
        self._still = {name: _Still(int(may_s * 1e9), *bounds[name]) for name, may_s in still.items()}

    def look(self, t_ns: int, values: Values) -> Iterator[Health]:
        """STUCK where a value has stood still for too long, and again where it moves."""
        for name, still in self._still.items():
            value = values.get(name)
            if value is None:
                continue
            paused = t_ns - still.seen_ns > still.may_ns * _PAUSE
            still.seen_ns = t_ns
            if value != still.value or paused or not still.low < value < still.high:
                if still.is_stuck and value != still.value:
                    yield self._told(name, still, t_ns, OVER)
                    still.is_stuck = False
                if not still.is_stuck:  # who is stuck is so until it moves, also after a pause
                    still.value, still.since_ns = value, t_ns
            elif not still.is_stuck and t_ns - still.since_ns >= still.may_ns:
                still.is_stuck = True
                yield self._told(name, still, t_ns, BEGAN)

    def _told(self, name: str, still: _Still, t_ns: int, count: int) -> Health:
        hours = (t_ns - still.since_ns) / 3.6e12
        if count == BEGAN:
            text = (
                f"sensor {self._sensor}: {name} has been {still.value} for {hours:.1f} h; look at the sensor"
            )
            say(_log, logging.WARNING, text, sensor=self._sensor, measure=name)
        else:
            text = f"sensor {self._sensor}: {name} moves again after {hours:.1f} h"
            say(_log, logging.INFO, text, sensor=self._sensor, measure=name)
        return Health(t_ns, self._sensor, HealthCode.STUCK, still.since_ns, count, name)
