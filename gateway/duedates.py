"""Calibrations that are past their date: told once a day while the clock is known, across restarts."""

import datetime as dt
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gateway.clock import Clock, ClockSource, SystemClock
from gateway.log import say
from gateway.plan import Calibration, SensorPlan
from gateway.reading import Health, HealthCode, Values

_LOOK_EVERY_NS: Final = 600 * 10**9
_log = logging.getLogger("sensor")


def overdue(calibrations: Iterable[Calibration], today: dt.date) -> list[Calibration]:
    """Those that were due on this day or before."""
    return [each for each in calibrations if each.due and each.due <= str(today)]


def today_of(clock: Clock) -> dt.date | None:
    """The day in UTC; None if nothing says what time it is."""
    now = clock.state()
    if now.source is ClockSource.NONE:
        return None
    return dt.datetime.fromtimestamp(now.wall_ns / 1e9, dt.UTC).date()


class DueDates:
    """Looks at one sensor's calibrations while readings come. The day of the last word is kept in a file."""

    def __init__(self, sensor: SensorPlan, state: Path, clock: Clock | None = None) -> None:
        self._sensor = sensor
        self._clock = clock or SystemClock()
        self._path = state / "drift" / f"{sensor.name}.due"
        self._next_ns = 0
        self._told = ""  # the day, and which calibrations

    def look(self, t_ns: int, values: Values) -> Iterator[Health]:
        """CALIBRATION_DUE of every measure whose calibration is past its date."""
        del values
        if t_ns < self._next_ns:
            return
        self._next_ns = t_ns + _LOOK_EVERY_NS
        today = today_of(self._clock)
        late = overdue(self._sensor.calibrations, today) if today is not None else []
        told = f"{today} {' '.join(each.id for each in late)}"
        if not late or told == (self._told or self._kept()):
            return
        self._told = told
        self._keep(told)
        for each in late:
            text = (
                f"sensor {self._sensor.name}: the calibration {each.id} of {each.measure} was due {each.due}"
            )
            say(_log, logging.WARNING, text, sensor=self._sensor.name, measure=each.measure)
            code = HealthCode.CALIBRATION_DUE
            yield Health(t_ns, self._sensor.name, code, count=1, measure=each.measure)

    def _kept(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _keep(self, told: str) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_text(told, encoding="utf-8")
        except OSError as error:  # it is told again after a restart
            say(_log, logging.WARNING, f"{self._path} cannot be written ({error.strerror})")
