"""Calibrations, stillness, drift and references in the site file; numbers that stay from plan to plan."""

from pathlib import Path

import pytest

from gateway.config import SENSOR_KEYS, read_site
from gateway.errors import ConfigError
from gateway.hub.tables import check_table
from gateway.measureconfig import KEYS
from gateway.numbering import keeps_numbers, numbered
from gateway.plan import Calibration, DriftPlan, FeedPlan, Plan, load_plan
from gateway.plugins import DRIVERS, found
from gateway.schema import site_schema

HEAD = 'box = "elm"\nstate = "state"\n'
AIR = '[sensor.air]\ndriver = "gy39"\nport = "serial:/dev/serial0"\n'
ROOF = '[sensor.roof]\ndriver = "gy39"\nport = "serial:/dev/serial1"\n'
DUST = '[sensor.dust]\ndriver = "sds011"\nport = "serial:/dev/serial2"\n'
LAB = """
[[sensor.air.calibration]]
measure = "temperature"
gain = 1.02
offset = -0.4
date = 2026-03-01
id = "lab-17"
due = 2027-03-01
"""


def read(folder: Path, *parts: str) -> Plan:
    (folder / "site.toml").write_text(HEAD + "".join(parts), encoding="utf-8")
    return read_site(folder / "site.toml")


def errors(folder: Path, *parts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, *parts)
    return [line.partition("site.toml:")[2] for line in str(caught.value).splitlines()]


def test_a_calibration_goes_into_plan_and_table(tmp_path: Path) -> None:
    plan = read(tmp_path, AIR, LAB, ROOF)
    air, roof = plan.sensors
    lab = Calibration("temperature", 1.02, -0.4, "lab-17", "2026-03-01", "2027-03-01")
    assert air.calibrations == (lab,)
    in_table, without = plan.table()["sensors"]
    assert in_table["calibrations"] == [["temperature", 1.02, -0.4, "lab-17", "2026-03-01", "2027-03-01"]]
    assert "calibrations" not in without, "the tables of boxes without stay as they are"
    check_table(plan.table())
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    assert roof.calibrations == ()


def test_the_newest_calibration_of_a_measure_counts(tmp_path: Path) -> None:
    older = LAB.replace("2026-03-01", "2025-03-01").replace("lab-17", "lab-9").replace("due = 2027-03-01", "")
    other = LAB.replace("temperature", "humidity").replace("gain = 1.02\n", "")
    for parts in ((LAB, older, other), (other, older, LAB)):
        (air,) = read(tmp_path, AIR, *parts).sensors
        assert [(c.measure, c.id, c.gain) for c in air.calibrations] == [
            ("humidity", "lab-17", 1.0),
            ("temperature", "lab-17", 1.02),
        ]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            '"temperature"',
            '"temprature"',
            "8:11: this sensor measures no \"temprature\"; did you mean 'temperature'?",
        ),
        ("gain = 1.02", "gain = 0", "9:8: a gain of 0 makes every value the same; leave it out for 1"),
        ("gain = 1.02", "gain = nan", "9:8: gain must be a number up to 1e+09, not NaN"),
        ("offset = -0.4", 'offset = "1"', '10:10: offset must be a number up to 1e+09, not "1"'),
        ("2027-03-01", "2026-03-01", "13:7: due must lie after date, and 2026-03-01 is not after 2026-03-01"),
        (
            "date = 2026-03-01\n",
            "",
            "7:14: a calibration needs the key 'date': say when, like date = 2026-03-01",
        ),
        (
            "date = 2026-03-01",
            'date = "2026-03-01"',
            '11:8: date must be a day without quotes, like 2026-03-01, not "2026-03-01"',
        ),
        ('"lab-17"', '"lab 17"', '12:6: id must be 1 to 32 letters, digits and . _ / -, not "lab 17"'),
        ("offset", "ofset", "10:1: a calibration has no key 'ofset'; did you mean 'offset'?"),
        (
            "[[sensor.air.calibration]]",
            "[sensor.air.calibration]",
            "7:13: write [[sensor.air.calibration]] above each calibration's keys, with two brackets",
        ),
    ],
)
def test_errors_of_calibrations(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert errors(tmp_path, AIR, LAB.replace(old, new)) == [error]


def test_two_calibrations_of_one_day(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, AIR, LAB, LAB)
    assert found == "19:8: temperature has two calibrations of 2026-03-01; keep the one that counts"


def test_how_long_a_value_may_stand_still(tmp_path: Path) -> None:
    (air,) = read(tmp_path, AIR).sensors
    day = 86400.0
    assert air.still == {"illuminance": 3 * day, "temperature": day, "humidity": 7 * day, "pressure": day}
    more = 'still = { temperature = "12 h", humidity = "off" }\n'
    (air,) = read(tmp_path, AIR, more).sensors
    assert air.still == {"illuminance": 3 * day, "temperature": day / 2, "pressure": day}
    found = errors(tmp_path, AIR, 'still = { temperature = 3, wind = "1 h" }\n')
    assert found == [
        '6:25: temperature must be a time of 1 s or more, like "12 h", or "off", not 3',
        "6:28: this sensor measures no 'wind'; choose from humidity, illuminance, pressure, temperature",
    ]


def test_a_reference_brings_its_readings(tmp_path: Path) -> None:
    plan = read(tmp_path, AIR, 'reference = "roof"\ndrift = { temperature = 1.5, humidity = "off" }\n', ROOF)
    air, roof = plan.sensors
    assert air.drift == (DriftPlan("pressure", 2.0, roof.number), DriftPlan("temperature", 1.5, roof.number))
    assert roof.drift == (), "nothing says what is true for the reference"
    port_of_roof = next(port for port in plan.ports if roof in port.sensors)
    port_of_air = next(port for port in plan.ports if air in port.sensors)
    assert port_of_roof.feeds == (
        FeedPlan(roof.number, "pressure", port_of_air.number, air.number),
        FeedPlan(roof.number, "temperature", port_of_air.number, air.number),
    )
    assert port_of_air.feeds == ()


def test_errors_of_references(tmp_path: Path) -> None:
    assert errors(tmp_path, AIR, 'reference = "rof"\n', ROOF) == [
        "6:13: 'rof' is no other sensor of this box; did you mean 'roof'?"
    ]
    assert errors(tmp_path, AIR, 'reference = "air"\n') == [
        "6:13: 'air' is no other sensor of this box; name another sensor of this file"
    ]
    assert errors(tmp_path, AIR, 'reference = "dust"\n', DUST) == [
        "6:13: 'dust' and this sensor share no measure that has a limit for its drift; write drift = "
        "{ MEASURE = LIMIT }"
    ]
    assert errors(tmp_path, AIR, "reference = 3\n") == [
        "6:13: reference must be the name of another sensor in quotes, not 3"
    ]


# --- numbers that stay ------------------------------------------------------------------------------


def test_ports_and_sensors_keep_their_numbers(tmp_path: Path) -> None:
    first = read(tmp_path, AIR, ROOF, DUST)
    assert [(s.name, s.number) for s in first.sensors] == [("air", 1), ("roof", 2), ("dust", 3)]
    (tmp_path / "state").mkdir()
    first.save(tmp_path / "state" / "plan.json")
    assert read(tmp_path, DUST, ROOF, AIR) == first, "in another order"
    doors = [
        f'[sensor.door-{n}]\ndriver = "door-contact"\nport = "gpio:street"\nline = "{n}"\n' for n in "ab"
    ]
    both = read(tmp_path, *doors)
    both.save(tmp_path / "state" / "plan.json")
    assert read(tmp_path, *doors[::-1]) == both, "on one port, too"
    first.save(tmp_path / "state" / "plan.json")
    fewer = read(tmp_path, DUST, ROOF)
    assert fewer.ports == first.ports[1:]
    new = AIR.replace("air", "wind").replace("serial0", "serial9")
    more = read(tmp_path, new, DUST, ROOF)
    assert [(s.name, s.number) for s in more.sensors] == [("roof", 2), ("dust", 3), ("wind", 4)]
    assert [port.number for port in more.ports] == [1, 2, 3], "0 is the old port's until it is gone"
    assert keeps_numbers(first, more)
    assert keeps_numbers(first, fewer)
    moved = read(tmp_path, AIR.replace("serial0", "serial9"), ROOF, DUST)
    assert [(s.name, s.number) for s in moved.sensors] == [("air", 1), ("roof", 2), ("dust", 3)]
    assert [port.number for port in moved.ports] == [1, 2, 3]


def test_a_plan_before_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "plan.json").write_bytes(b'{"version": 1}')
    assert [s.number for s in read(tmp_path, ROOF, AIR).sensors] == [1, 2]


def test_numbers_of_others_are_given_away_last() -> None:
    assert numbered("ab", {}, 0, 9) == {"a": 0, "b": 1}
    assert numbered("bc", {"a": 0, "b": 1}, 0, 9) == {"b": 1, "c": 2}
    assert numbered("bcd", {"a": 0, "b": 1}, 0, 3) == {"b": 1, "c": 2, "d": 0}
    assert numbered("bcde", {"a": 0, "b": 1}, 0, 3) == {"b": 1, "c": 2, "d": 0, "e": 3}, (
        "too many: said elsewhere"
    )


def test_other_plans_do_not_keep_numbers(tmp_path: Path) -> None:
    first, other = read(tmp_path, AIR, ROOF), read(tmp_path, ROOF, AIR)
    assert not keeps_numbers(first, other)


def test_only_the_port_of_a_changed_rule_or_calibration_changes(tmp_path: Path) -> None:
    rule = '[rule.cold]\nwhen = "roof.temperature < {}"\nback = 5\nraise = "cold"\n'
    first = read(tmp_path, AIR, ROOF, DUST, rule.format(3))
    (tmp_path / "state").mkdir()
    first.save(tmp_path / "state" / "plan.json")
    second = read(tmp_path, AIR, ROOF, DUST, rule.format(2))
    assert [port.number for port in second.ports if port not in first.ports] == [1]
    third = read(tmp_path, AIR, LAB, ROOF, DUST, rule.format(3))
    assert [port.number for port in third.ports if port not in first.ports] == [0]


def test_editors_know_these_keys_of_every_sensor() -> None:
    schema = site_schema([found(DRIVERS)["sds011"]], [])
    (sensor,) = schema["properties"]["sensor"]["additionalProperties"]["oneOf"]
    assert sensor["properties"].keys() == set(SENSOR_KEYS)
    assert {sensor["properties"][key]["$ref"] for key in KEYS} <= {
        f"#/$defs/{key}" for key in schema["$defs"]
    }
    calibration = schema["$defs"]["calibration"]["items"]
    assert calibration["properties"].keys() == {"measure", "gain", "offset", "date", "id", "due"}
    assert calibration["required"] == ["measure", "date", "id"]
