"""Drift against a reference and a floor: found within days, survives restarts, and no weather is one."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import DAY, EVERY_NS, Drift
from gateway.plan import Calibration, DriftPlan, SensorPlan
from gateway.reading import HealthCode, Measure

REFERENCE = 7
LIMIT = 2.0


def plan(*drift: DriftPlan, calibrations: tuple[Calibration, ...] = ()) -> SensorPlan:
    measures = (Measure("temperature", "Cel"), Measure("co2", "[ppm]"))
    return SensorPlan(1, "air", "x", "x:Y", {}, measures, (), (), (), calibrations, {}, drift)


AGAINST = plan(DriftPlan("temperature", LIMIT, REFERENCE))
FLOOR = plan(DriftPlan("co2", 75, floor=420))


class Street:
    """A sensor and its reference in the same air; time goes on from one Drift to the next."""

    def __init__(self, folder: Path, sensor: SensorPlan = AGAINST, seed: int = 1) -> None:
        self.folder, self.sensor = folder, sensor
        self.chance = random.Random(seed)
        self.step = 0
        self.slow = 0.0
        self.drift = Drift(sensor, folder)
        self.told: list[tuple[float, int]] = []

    def go(self, days: float, off: float = 0.0, a_day_more: float = 0.0) -> list[tuple[float, int]]:
        """Day and count of what was told in these days, `off` by so much and `a_day_more` each day."""
        self.told = []
        for n in range(int(days * DAY)):
            self.step += 1
            t_ns = self.step * EVERY_NS
            self.slow = 0.99 * self.slow + self.chance.gauss(0, 0.3)
            noon = max(0.0, math.sin(2 * math.pi * self.step / DAY))
            true = 10 + 8 * math.sin(2 * math.pi * self.step / DAY / 365) + 5 * noon + self.slow
            self.drift.on_feed(t_ns - 10**9, REFERENCE, "temperature", true + self.chance.gauss(0, 0.3))
            sun = 4 * noon * self.chance.random()  # on this one's roof
            found = self.drift.look(t_ns, {"temperature": true + 0.5 + sun + off + a_day_more * n / DAY})
            for health in found:
                assert (health.code, health.measure) == (HealthCode.DRIFT, "temperature")
                self.told.append((n / DAY, health.count))
        return self.told

    def restart(self) -> None:
        """Another worker, after a clock that began anew."""
        self.step = 0
        self.drift = Drift(self.sensor, self.folder)


def test_found_in_three_days_told_once_and_over_after_one(tmp_path: Path) -> None:
    street = Street(tmp_path)
    assert street.go(5) == []
    ((day, count),) = street.go(10, off=3)
    assert (count, 2 < day <= 4) == (1, True)
    ((day, count),) = street.go(10)
    assert (count, 0 < day <= 2) == (0, True)


def test_slow_drift_is_found_soon_after_it_left_the_limit(tmp_path: Path) -> None:
    street = Street(tmp_path)
    ((day, count),) = street.go(200, a_day_more=0.02)
    assert count == 1
    assert 1.0 < 0.02 * day < LIMIT + 1, "it is half a degree off from the start, and sun comes on top"


def test_an_evening_by_the_fire_is_no_drift(tmp_path: Path) -> None:
    street = Street(tmp_path)
    for _ in range(20):
        assert street.go(0.4, off=15) == []
        assert street.go(0.6) == []


def test_without_its_reference_nothing_is_said(tmp_path: Path) -> None:
    drift = Drift(AGAINST, tmp_path)
    drift.on_feed(0, REFERENCE, "temperature", 10.0)
    drift.on_feed(0, REFERENCE + 1, "temperature", 50.0)
    for n in range(2 * DAY, 9 * DAY):
        drift.on_feed(n * EVERY_NS, REFERENCE, "temperature", None)
        assert list(drift.look(n * EVERY_NS, {"temperature": 90.0, "co2": None})) == []


def test_a_reference_that_died_says_nothing_any_more(tmp_path: Path) -> None:
    drift = Drift(AGAINST, tmp_path)
    drift.on_feed(DAY * EVERY_NS, REFERENCE, "temperature", 10.0)
    told = [drift.look(n * EVERY_NS, {"temperature": 30.0}) for n in range(DAY, 9 * DAY)]
    assert [health for found in told for health in found] == []


def test_it_survives_restarts_and_writes_once_a_day(tmp_path: Path) -> None:
    street = Street(tmp_path)
    file = tmp_path / "drift" / "air.json"
    written = set()
    told = []
    for _ in range(12):  # a lamp's circuit: on for ten hours a night, and cut off
        told += street.go(10 / 24, off=3)
        written.add(file.stat().st_mtime_ns)
        street.restart()
    assert [count for _, count in told] == [1]
    assert len(written) == 12, "once a night"
    street = Street(tmp_path / "other")
    (tmp_path / "other").mkdir()
    writes = 0
    before = None
    for _ in range(5 * 24):
        street.go(1 / 24)
        other = tmp_path / "other" / "drift" / "air.json"
        now = other.read_bytes() if other.exists() else None
        writes += now != before
        before = now
    assert writes == 5


def test_a_calibration_begins_anew(tmp_path: Path) -> None:
    street = Street(tmp_path)
    street.go(2.5, off=3)
    kept = json.loads((tmp_path / "drift" / "air.json").read_text())
    assert kept["courses"][f"temperature against {REFERENCE}"]["off_days"] == 2
    calibrated = plan(*AGAINST.drift, calibrations=(Calibration("temperature", 1, -3, "a", "2026-03-01"),))
    street.sensor = calibrated
    street.restart()
    assert street.go(2.9, off=3) == []
    assert street.go(1, off=3)[0][1] == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"calibrations": [], "courses": 7}', b"\xff"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "drift").mkdir()
    (tmp_path / "drift" / "air.json").write_bytes(damage)
    assert Street(tmp_path).go(4, off=3)[0][1] == 1


def test_a_floor_is_left_by_the_sensor_not_by_a_bad_week(tmp_path: Path) -> None:
    drift, chance = Drift(FLOOR, tmp_path), random.Random(1)
    told = []
    for day in range(60):
        bad = 20 <= day < 25  # no wind for days
        off = 90 if day >= 40 else 0
        for part in range(DAY):
            traffic = 150 * abs(math.sin(math.pi * part / DAY)) * chance.random()
            t_ns = (day * DAY + part) * EVERY_NS
            value = 425 + traffic + (200 if bad else 0) + off
            told += [(day, health.count) for health in drift.look(t_ns, {"co2": value})]
    assert told == [(46, 1)]


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_year_of_weather_is_no_drift(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    street = Street(tmp_path_factory.mktemp("year"), seed=seed)
    assert street.go(365) == []
    ((day, count),) = street.go(6, off=3)
    assert (count, day <= 4) == (1, True)
