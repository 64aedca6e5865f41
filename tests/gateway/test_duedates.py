"""A calibration that is past its date: told once a day, while the clock is known."""

import datetime as dt
from pathlib import Path

from gateway.clock import ClockSource, ClockState
from gateway.duedates import DueDates, overdue
from gateway.plan import Calibration, SensorPlan
from gateway.reading import HealthCode, Measure

H = 3600 * 10**9
NOON = int(dt.datetime(2027, 2, 28, 12, tzinfo=dt.UTC).timestamp() * 1e9)
CALIBRATIONS = (
    Calibration("pm10", 1, 0, "lab-18", "2026-03-01", "2028-03-01"),
    Calibration("pm2_5", 1, 0, "lab-17", "2026-03-01", "2027-03-01"),
)
AIR = SensorPlan(
    1, "air", "x", "x:Y", {}, (Measure("pm2_5", "ug/m3"), Measure("pm10", "ug/m3")), (), (), (), CALIBRATIONS
)


class Clock:
    """Says what the test says."""

    def __init__(self) -> None:
        self.hours = 0.0
        self.source = ClockSource.NTP

    def mono_ns(self) -> int:
        return int(self.hours * H)

    def state(self) -> ClockState:
        return ClockState(b"", self.mono_ns(), NOON + self.mono_ns(), self.source, 0)


def told(dates: DueDates, clock: Clock, hours: float, every: float = 0.5) -> list[float]:
    found = []
    for _ in range(int(hours / every)):
        for health in dates.look(clock.mono_ns(), {}):
            assert (health.code, health.measure, health.sensor) == (
                HealthCode.CALIBRATION_DUE,
                "pm2_5",
                "air",
            )
            found.append(clock.hours)
        clock.hours += every
    return found


def test_once_a_day_from_the_day_on(tmp_path: Path) -> None:
    clock = Clock()
    assert told(DueDates(AIR, tmp_path, clock), clock, 72) == [12, 36, 60]


def test_a_restart_says_it_no_more_often(tmp_path: Path) -> None:
    clock = Clock()
    assert told(DueDates(AIR, tmp_path, clock), clock, 14) == [12]
    assert told(DueDates(AIR, tmp_path, clock), clock, 24) == [36]


def test_never_while_the_clock_is_not_known(tmp_path: Path) -> None:
    clock = Clock()
    clock.source = ClockSource.NONE
    dates = DueDates(AIR, tmp_path, clock)
    assert told(dates, clock, 72) == []
    clock.source = ClockSource.GPS
    assert told(dates, clock, 2) == [72]


def test_which_are_overdue() -> None:
    day = dt.date(2027, 2, 28)
    assert overdue(CALIBRATIONS, day) == []
    assert [each.id for each in overdue(CALIBRATIONS, day + dt.timedelta(1))] == ["lab-17"]
    assert overdue([Calibration("x", 1, 0, "a", "2020-01-01")], day) == [], "it holds for ever"
