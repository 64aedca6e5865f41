"""Drift: a sensor that moves away from the truth so slowly that no single value shows it.

Every ten minutes of work a measure is compared once, with its reference's reading of then (if that is no
older than ten minutes), or kept for its floor. 144 comparisons make a day, however often the box was off in
between. The day is off if the median of the differences, or the lowest tenth of the values against the
floor, lies beyond the limit. REFERENCE_DAYS such days in a row are a drift, FLOOR_DAYS against a floor, which
bad air may lift for days; one good day ends it.

What is known survives a restart: drift/NAME.json in the state folder, written six hours after the start and
then once a day. A calibration, or another reference, begins anew.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.log import say
from gateway.plan import DriftPlan, SensorPlan
from gateway.reading import Health, HealthCode, Value, Values
from gateway.stillness import BEGAN, OVER

EVERY_NS: Final = 600 * 10**9
DAY: Final = 144  # comparisons
REFERENCE_DAYS: Final = 3
FLOOR_DAYS: Final = 7
_FIRST_WRITE_NS: Final = 6 * 3600 * 10**9
_WRITE_EVERY_NS: Final = 24 * 3600 * 10**9
_FILE_MAX: Final = 1 << 20
_log = logging.getLogger("sensor")


@dataclass(slots=True)
class _Course:
    """One measure against one thing: the open day's samples, and how many days in a row were off."""

    plan: DriftPlan
    by_floor: bool
    samples: list[float] = field(default_factory=list)
    off_days: int = 0
    is_drifting: bool = False
    next_ns: int = 0
    truth: tuple[int, float] | None = None  # the reference's last reading

    @property
    def key(self) -> str:
        return f"{self.plan.measure} against {'its floor' if self.by_floor else self.plan.reference}"

    def take(self, t_ns: int, value: float) -> bool:
        """Note one value; True if that ended a day."""
        if self.by_floor:
            sample = value
        elif self.truth is not None and abs(t_ns - self.truth[0]) <= EVERY_NS:
            sample = value - self.truth[1]
        else:
            return False
        self.next_ns = t_ns + EVERY_NS
        self.samples.append(round(sample, 6))
        return len(self.samples) >= DAY

    def end_day(self) -> float:
        """Judge the day and begin a new one; by how much it was off."""
        ranked = sorted(self.samples)
        self.samples = []
        if self.by_floor:
            assert self.plan.floor is not None
            off = ranked[len(ranked) // 10] - self.plan.floor
        else:
            off = ranked[len(ranked) // 2]
        self.off_days = self.off_days + 1 if abs(off) > self.plan.limit else 0
        return off

    @property
    def has_turned(self) -> bool:
        """Whether its days now say otherwise than was told."""
        enough = FLOOR_DAYS if self.by_floor else REFERENCE_DAYS
        return self.off_days == 0 if self.is_drifting else self.off_days >= enough


class Drift:
    """Holds one sensor's measures against a reference and their floors."""

    def __init__(self, sensor: SensorPlan, state: Path) -> None:
        self._sensor = sensor
        self._path = state / "drift" / f"{sensor.name}.json"
        self._courses = list(_courses(sensor.drift))
        self._ids = sorted(f"{each.measure} {each.id} {each.date}" for each in sensor.calibrations)
        self._write_ns: int | None = None
        self._load()

    def on_feed(self, t_ns: int, source: int, measure: str, value: Value) -> None:
        """The reference measured something."""
        for course in self._courses:
            if (course.plan.reference, course.plan.measure) == (source, measure) and not course.by_floor:
                course.truth = None if value is None else (t_ns, float(value))

    def look(self, t_ns: int, values: Values) -> Iterator[Health]:
        """DRIFT where a measure has begun to drift, and where it ended."""
        for course in self._courses:
            if t_ns < course.next_ns:
                continue
            value = values.get(course.plan.measure)
            if value is not None and course.take(t_ns, value):
                off = course.end_day()
                if course.has_turned:
                    course.is_drifting = not course.is_drifting
                    yield self._told(course, t_ns, off)
        if self._write_ns is None:
            self._write_ns = t_ns + _FIRST_WRITE_NS
        elif t_ns >= self._write_ns:
            self._write_ns = t_ns + _WRITE_EVERY_NS
            self._save()

    def _told(self, course: _Course, t_ns: int, off: float) -> Health:
        name, measure = self._sensor.name, course.plan.measure
        if course.is_drifting:
            against = "its floor" if course.by_floor else "its reference"
            text = f"sensor {name}: {measure} drifts, by {off:+.4g} from {against} for {course.off_days} days"
            say(_log, logging.WARNING, f"{text}; clean or calibrate it", sensor=name, measure=measure)
        else:
            say(_log, logging.INFO, f"sensor {name}: {measure} drifts no more", sensor=name, measure=measure)
        count = BEGAN if course.is_drifting else OVER
        return Health(t_ns, name, HealthCode.DRIFT, count=count, measure=measure)

    def _load(self) -> None:
        """Go on where the worker before left off; a file that does not fit is none."""
        try:
            with self._path.open("rb") as file:
                plain = json.loads(file.read(_FILE_MAX))
            if plain["calibrations"] != self._ids:
                return
            for course in self._courses:
                if (kept := plain["courses"].get(course.key)) is not None:
                    course.off_days, course.is_drifting = int(kept["off_days"]), bool(kept["is_drifting"])
                    course.samples = [float(sample) for sample in kept["samples"][: DAY - 1]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def _save(self) -> None:
        courses: dict[str, Any] = {
            c.key: {"off_days": c.off_days, "is_drifting": c.is_drifting, "samples": c.samples}
            for c in self._courses
        }
        try:
            self._path.parent.mkdir(exist_ok=True)
            beside = self._path.with_suffix(".new")
            beside.write_text(json.dumps({"calibrations": self._ids, "courses": courses}), encoding="utf-8")
            os.replace(beside, self._path)
        except OSError as error:  # the days begin anew after a restart
            say(_log, logging.WARNING, f"{self._path} cannot be written ({error.strerror})")


def _courses(plans: Iterable[DriftPlan]) -> Iterator[_Course]:
    for plan in plans:
        if plan.reference:
            yield _Course(plan, by_floor=False)
        if plan.floor is not None:
            yield _Course(plan, by_floor=True)
