"""A worker calibrates, leaves out what cannot be, and tells what stands still, as health records."""

from dataclasses import replace
from pathlib import Path

import pytest
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan
from working import capture, working

from gateway.driver import Measure, SerialDriver, Values
from gateway.plan import Calibration, DriftPlan, FeedPlan, Plan, SensorPlan
from gateway.reading import Kind


class Thermometer(SerialDriver):
    """A number a line, in degrees."""

    emits = (Measure("temperature", "Cel"),)

    def decode(self, frame: bytes) -> Values:
        return {"temperature": float(frame)}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def plan_of(state: Path, sensor: SensorPlan, *lines: tuple[float, float]) -> Plan:
    frames = [f'{seconds:g} < "{value}\\n"' for seconds, value in lines]
    return one_port(state, capture(state, *frames), "serial", sensor)


@in_loop
async def test_what_is_made_of_a_sensors_values_on_the_way_to_core(state: Path) -> None:
    sensor = replace(
        sensor_plan(1, "air", Thermometer),
        calibrations=(Calibration("temperature", 2.0, 1.0, "lab", "2026-03-01"),),
        still={"temperature": 10.0},
    )
    course = [(0, 10.0), (1, -127.0), *((t, 7.5) for t in range(2, 15)), (15, 8.0)]
    core = Core(plan := plan_of(state, sensor, *course))
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == len(course))
    core.close()
    values = [record["values"]["temperature"] for record in core.of(Kind.READING)]
    assert values == [21.0, None, *[16.0] * 13, 17.0]
    health = [(each["code"], each.get("measure"), each["count"]) for each in core.of(Kind.HEALTH)]
    assert health == [("stuck", "temperature", 1), ("stuck", "temperature", 0), ("implausible", None, 1)]


@in_loop
async def test_a_reference_reaches_its_sensor_from_another_port(state: Path) -> None:
    air = replace(sensor_plan(1, "air", Thermometer), drift=(DriftPlan("temperature", 2.0, reference=2),))
    roof = sensor_plan(2, "roof", Thermometer)
    first = plan_of(state, air, (0, 15.0))
    (state / "roof").mkdir()
    (other,) = plan_of(state / "roof", roof, *((second, 10.0) for second in range(200))).ports
    url = other.url.replace("speed=max", "speed=10")
    other = replace(other, number=1, url=url, feeds=(FeedPlan(2, "temperature", 0, 1),))
    plan = replace(first, ports=(*first.ports, other))
    core = Core(plan)
    async with working(plan) as worker, working(replace(plan, ports=plan.ports[::-1])):
        (drift,) = worker._sensors[0]._watches
        (course,) = drift._courses
        await until(lambda: course.truth is not None)
    core.close()
    assert course.truth[1] == 10.0
