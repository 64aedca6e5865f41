"""The average position of a fixed antenna."""

import math
import random

import pytest

from gateway_drivers.survey import METRES_PER_DEGREE, Survey


def test_the_mean_of_many_wandering_fixes_is_near_the_truth() -> None:
    chance, survey = random.Random(7), Survey()
    for _ in range(20_000):
        north, east = chance.gauss(0, 2), chance.gauss(0, 2)
        lon = -79.9959 + east / METRES_PER_DEGREE / math.cos(math.radians(40.4406))
        survey.add(40.4406 + north / METRES_PER_DEGREE, lon, chance.gauss(312, 3))
    lat, lon, altitude = survey.position()
    assert math.hypot(lat - 40.4406, lon + 79.9959) * METRES_PER_DEGREE < 0.1
    assert altitude == pytest.approx(312, abs=0.1)
    assert survey.spread_m() == pytest.approx(2 * math.sqrt(2), rel=0.02)


def test_across_the_date_line() -> None:
    survey = Survey()
    for lon in (179.9999, -179.9997, 179.9998, -179.9996):
        survey.add(0.0, lon, 0.0)
    assert survey.position()[1] == pytest.approx(-179.9999, abs=1e-9)


def test_one_fix_has_no_spread() -> None:
    survey = Survey()
    assert survey.spread_m() == 0.0
    survey.add(10.0, 20.0, 30.0)
    assert survey.position() == (10.0, 20.0, 30.0)
    assert survey.spread_m() == 0.0
