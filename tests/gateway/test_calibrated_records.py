"""What a hub, `gateway check` and `gateway doctor` learn of calibrations, stuck and drifting values."""

import datetime as dt
from pathlib import Path

import msgpack
import pytest

from gateway.cli import main
from gateway.clock import ClockSource, ClockState
from gateway.doctor.calibrations import calibrations
from gateway.errors import WireError
from gateway.hub.tables import check_table
from gateway.plan import Calibration, Plan, PortPlan, SensorPlan
from gateway.reading import Health, HealthCode, Measure, Reading
from gateway.records import pack_record, unpack_record

LAB = Calibration("pm10", 1.1, -0.5, "lab-17", "2026-03-01", "2027-03-01")
AIR = SensorPlan(
    4, "air", "x", "x:Y", {}, (Measure("pm2_5", "ug/m3"), Measure("pm10", "ug/m3")), (), (), (), (LAB,)
)


def plan(state: Path, sensor: SensorPlan = AIR) -> Plan:
    return Plan("elm", state, (PortPlan(0, "replay:x", "serial", (sensor,)),))


class Clock:
    """The clocks on one day."""

    def __init__(self, day: str, source: ClockSource = ClockSource.NTP) -> None:
        moment = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
        self._state = ClockState(b"", 0, int(moment.timestamp() * 1e9), source, 0)

    def mono_ns(self) -> int:
        return 0

    def state(self) -> ClockState:
        return self._state


def told(record: Reading | Health, tmp_path: Path) -> dict[str, object]:
    return unpack_record(msgpack.unpackb(pack_record(record, AIR)), plan(tmp_path).table())


def test_readings_name_the_calibrations_they_went_through(tmp_path: Path) -> None:
    reading = told(Reading(1, "air", {"pm2_5": 1.5, "pm10": 2.0}), tmp_path)
    assert reading["calibrations"] == {"pm10": "lab-17"}
    table = plan(tmp_path).table()
    del table["sensors"][0]["calibrations"]
    packed = msgpack.unpackb(pack_record(Reading(1, "air", {"pm2_5": 1.5}), AIR))
    assert unpack_record(packed, table)["values"] == {"pm2_5": 1.5, "pm10": None}
    assert "calibrations" not in unpack_record(packed, table)


def test_a_health_record_says_which_measure(tmp_path: Path) -> None:
    health = Health(9_000_000_000, "air", HealthCode.STUCK, 1_000_000_000, 1, "pm10")
    assert told(health, tmp_path) == {
        "kind": "health",
        "sensor": "air",
        "code": "stuck",
        "for_s": 8.0,
        "count": 1,
        "measure": "pm10",
    }
    assert "measure" not in told(Health(9, "air", HealthCode.DEAF, 1), tmp_path)
    fields = msgpack.unpackb(pack_record(health, AIR))
    fields[5] = 7
    with pytest.raises(WireError):
        unpack_record(fields, plan(tmp_path).table())


@pytest.mark.parametrize(
    "wrong",
    [
        "lab-17",
        [["pm10", 1.1, -0.5, "lab-17", "2026-03-01"]],
        [["pm10", 1.1, -0.5, "\x1b[2J", "2026-03-01", ""]],
        [["PM 10", 1.1, -0.5, "a", "2026-03-01", ""]],
        [["pm10", "1", -0.5, "a", "2026-03-01", ""]],
        [["pm10", 1, -0.5, "a", "\x1b", ""]],
        [["pm10", 1, -0.5, "a", "2026-03-01", "\n"]],
        [7],
    ],
)
def test_a_table_with_calibrations_that_are_none_is_refused(tmp_path: Path, wrong: object) -> None:
    table = plan(tmp_path).table()
    check_table(table)
    table["sensors"][0]["calibrations"] = wrong
    with pytest.raises(WireError):
        check_table(table)


def test_doctor_says_what_is_due(tmp_path: Path) -> None:
    (fine,) = calibrations(plan(tmp_path), Clock("2027-02-28"))
    (late,) = calibrations(plan(tmp_path), Clock("2027-03-01"))
    (unknown,) = calibrations(plan(tmp_path), Clock("2027-03-01", ClockSource.NONE))
    assert (fine.state, late.state, unknown.state) == ("ok", "note", "note")
    assert late.text == "air: the calibration lab-17 of pm10 was due 2027-03-01"
    assert late.mend == "calibrate it anew, and add a [[sensor.air.calibration]] to the site file"


def test_check_shows_the_calibrations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        'box = "elm"\nstate = "state"\n[sensor.air]\ndriver = "sds011"\nport = "serial:/dev/serial0"\n'
        '[[sensor.air.calibration]]\nmeasure = "pm10"\ngain = 1.1\noffset = -0.5\ndate = 2020-03-01\n'
        'id = "lab-9"\ndue = 9999-01-01\n'
    )
    assert main(["check", str(site)]) == 0
    said = capsys.readouterr().out
    assert "      pm10 is calibrated: 1.1 x + -0.5 (lab-9 of 2020-03-01, due 9999-01-01)\n" in said
