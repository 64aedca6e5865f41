"""Calibrated values, and values that cannot be: left out of a reading, which goes on without them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import Lines, Measure, SerialDriver, Values
from gateway.plan import Calibration, SensorPlan
from gateway.plausible import Plausible
from gateway.reading import Reading
from gateway.sensor import Sensor

DUST = (
    Measure("pm2_5", "ug/m3"),
    Measure("temperature", "Cel"),
    Measure("count", "1"),
    Measure("wet", "bool"),
)


class Said(SerialDriver):
    """Its lines are the values of pm2_5 and temperature."""

    framing = Lines()
    emits = (Measure("pm2_5", "ug/m3"), Measure("temperature", "Cel"))

    def decode(self, frame: bytes) -> Values:
        dust, celsius = frame.split()
        return {"pm2_5": float(dust), "temperature": float(celsius)}


def calibration(measure: str, gain: float, offset: float = 0.0) -> Calibration:
    return Calibration(measure, gain, offset, "lab-17", "2026-03-01")


def plan(*calibrations: Calibration) -> SensorPlan:
    factory = f"{__name__}:Said"
    return SensorPlan(1, "air", "said", factory, {}, Said.emits, (), (), (), calibrations)


def judged(value: float, *calibrations: Calibration, name: str = "pm2_5") -> tuple[object, int]:
    plausible = Plausible(DUST, calibrations)
    values = {name: value}
    plausible.judge(values)
    return values[name], plausible.take_count()


def test_a_value_that_cannot_be_is_left_out_and_the_reading_goes_on() -> None:
    sensor = Sensor(plan())
    assert list(sensor.take(5, b"7.5 21")) == [Reading(5, "air", {"pm2_5": 7.5, "temperature": 21.0})]
    assert list(sensor.take(6, b"7.5 -127")) == [Reading(6, "air", {"pm2_5": 7.5, "temperature": None})]
    assert list(sensor.take(7, b"nan inf")) == [Reading(7, "air", {"pm2_5": None, "temperature": None})]
    assert sensor.plausible is not None
    assert sensor.plausible.take_count() == 3
    assert sensor.plausible.take_count() == 0


def test_calibrated_before_it_is_judged_and_before_the_stages() -> None:
    sensor = Sensor(plan(calibration("pm2_5", 1.08, -0.4)))
    (reading,) = sensor.take(5, b"10 21")
    assert reading.values == {"pm2_5": 1.08 * 10 - 0.4, "temperature": 21.0}


def test_what_a_calibration_pushes_over_the_edge_is_the_edge() -> None:
    assert judged(0.1, calibration("pm2_5", 1.08, -0.4)) == (0, 0), "clean air"
    assert judged(-0.5, calibration("pm2_5", 1.08, -0.4)) == (None, 1), "the sensor itself was wrong"
    assert judged(20.0, calibration("temperature", 100), name="temperature") == (None, 1), "so is the gain"
    assert judged(84.0, calibration("temperature", 1.02), name="temperature") == (85, 0)


def test_what_has_no_range_costs_nothing() -> None:
    assert not Plausible(DUST[2:], ())
    assert judged(-1e30, name="count") == (-1e30, 0)
    assert judged(True, name="wet") == (True, 0)


@given(st.floats(), st.floats(0.5, 2), st.floats(-5, 5))
def test_nothing_impossible_gets_through(raw: float, gain: float, offset: float) -> None:
    value, left_out = judged(raw, calibration("pm2_5", gain, offset))
    assert left_out == (value is None)
    if value is not None:
        assert isinstance(value, float | int)
        assert 0 <= value <= 2000
    else:
        true = gain * raw + offset
        assert not 0 <= raw <= 2000 or not 0 <= true <= 2000 or math.isnan(raw)
