"""Stuck values: told once when found and once when over; no weather of a year is taken for one."""

import math
import random
from collections.abc import Iterator

import pytest

from gateway.measures import known_measure
from gateway.reading import Health, HealthCode, Measure
from gateway.stillness import Stillness

H = 3600 * 10**9
MEASURES = {name: known_measure(name) for name in ("temperature", "humidity", "illuminance", "wind")}


def watch(name: str, still_s: float) -> Stillness:
    unit = known_measure(name).unit  # type: ignore[union-attr]
    return Stillness("air", [Measure(name, unit)], {name: still_s})


def told(stillness: Stillness, name: str, *course: tuple[float, float | None]) -> list[tuple[float, int]]:
    """Hour and count of what was told, for values at hours."""
    found: list[Health] = []
    for hour, value in course:
        found += stillness.look(int(hour * H), {name: value})
    assert all(each.code is HealthCode.STUCK and each.measure == name for each in found)
    return [(each.t_ns / H, each.count) for each in found]


def steps(
    value: float | None, first: float, last: float, every: float = 0.5
) -> Iterator[tuple[float, float | None]]:
    count = int((last - first) / every)
    return ((first + n * every, value) for n in range(count + 1))


def test_told_once_when_it_stood_too_long_and_once_when_it_moves() -> None:
    temperature = watch("temperature", 24 * 3600)
    course = [(0, 14.1), *steps(14.2, 0.5, 60), (60.5, 14.3), *steps(14.3, 61, 80)]
    assert told(temperature, "temperature", *course) == [(24.5, 1), (60.5, 0)]


def test_since_when_it_stood_still() -> None:
    temperature = watch("temperature", 24 * 3600)
    (found,) = [h for t, v in steps(14.2, 3, 30) for h in temperature.look(int(t * H), {"temperature": v})]
    assert found.since_ns == 3 * H


def test_time_without_readings_does_not_count() -> None:
    temperature = watch("temperature", 24 * 3600)
    course = [*steps(14.2, 0, 20), *steps(14.2, 50, 70)]
    assert told(temperature, "temperature", *course) == []
    course = [*steps(14.2, 100, 110), *steps(None, 110.5, 140), *steps(14.2, 140.5, 160)]
    assert told(temperature, "temperature", *course) == []


def test_who_is_stuck_is_so_until_it_moves() -> None:
    temperature = watch("temperature", 24 * 3600)
    assert told(temperature, "temperature", *steps(14.2, 0, 30), *steps(14.2, 90, 140)) == [(24, 1)]
    assert told(temperature, "temperature", (141, 14.3)) == [(141, 0)]


def test_at_an_end_of_its_range_a_value_may_stay() -> None:
    assert told(watch("wind", 6 * 3600), "wind", *steps(0.0, 0, 900)) == []
    assert told(watch("illuminance", 72 * 3600), "illuminance", *steps(0, 0, 1500)) == []
    assert told(watch("wind", 6 * 3600), "wind", *steps(0.1, 0, 7)) == [(6, 1)]


def weather(seed: int, days: int = 365, a_day: int = 48) -> Iterator[tuple[int, dict[str, float]]]:
    """A year far in the north: polar night, days of fog, calms; coarse sensors (0.1 Cel, 1 %)."""
    chance = random.Random(seed)
    slow, fog = 0.0, 0
    for day in range(days):
        fog = max(0, fog - 1) or (chance.randint(1, 4) if chance.random() < 0.03 else 0)
        calm = chance.random() < 0.1
        noon = max(0.0, math.sin(2 * math.pi * (day - 80) / 365) + 0.4)
        for part in range(a_day):
            slow = 0.99 * slow + chance.gauss(0, 0.25)
            sun = max(0.0, math.sin(2 * math.pi * part / a_day)) * noon
            swing = 0.3 if fog else 1.0
            yield (
                (day * a_day + part) * 24 * H // a_day,
                {
                    "temperature": round(
                        5 + 12 * math.sin(2 * math.pi * (day - 110) / 365) + swing * 6 * sun + slow, 1
                    ),
                    "humidity": 100 if fog else round(min(100, max(10, 75 - 30 * sun + 4 * slow))),
                    "illuminance": round(60_000 * sun * chance.uniform(0.1, 1), 2),
                    "wind": 0.0 if calm else round(abs(chance.gauss(3, 2)), 2),
                },
            )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_year_of_weather_is_never_stuck(seed: int) -> None:
    rows = {name: row for name, row in MEASURES.items() if row is not None}
    still = {name: row.still_s for name, row in rows.items() if row.still_s is not None}
    assert still.keys() == rows.keys()
    stillness = Stillness("air", [Measure(name, row.unit) for name, row in rows.items()], still)
    assert [told for t_ns, values in weather(seed) for told in stillness.look(t_ns, values)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MEASURES))
def test_a_sensor_that_freezes_is_found_within_its_time(name: str) -> None:
    row = known_measure(name)
    assert row is not None
    assert row.still_s is not None
    stillness = watch(name, row.still_s)
    frozen_at, found = 200 * 24 * H, []
    last = 1.0
    for t_ns, values in weather(1, days=215):
        last = values[name] if t_ns < frozen_at and row.low < values[name] < row.high else last
        value = values[name] if t_ns < frozen_at else last
        found += stillness.look(t_ns, {name: value})
    (health,) = found
    assert 0 < health.t_ns - frozen_at <= row.still_s * 1e9 + H
