"""Measure tables as boxes send them, checked before they are kept: later code computes with them.

Their size bounds how much they name (gateway.wire.TABLE_MAX). What they name is shown to people at a
terminal, so it is held to the same patterns as what a site file may say.
"""

import re
from typing import Any, Final

from gateway.errors import WireError
from gateway.plan import CALIBRATION_ID
from gateway.reading import NAME, RESOLUTION_MAX, RESOLUTION_MIN, SENSOR_NAME

_DEPTH_MAX: Final = 8  # a table as of today has 5 levels
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_UNIT: Final = re.compile(r"[!-~]{1,32}")  # UCUM codes are printable ASCII; a newer box may know more of them


def check_table(table: dict[str, Any]) -> None:
    """Raise WireError("bad_table") unless the table has the shape that `gateway.plan.Plan.table` gives it."""
    _check_depth(table)
    try:
        sensors = table["sensors"]
        if type(sensors) is not list:
            raise WireError("bad_table", "sensors is no list")
        for sensor in sensors:
            _check_sensor(sensor)
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("bad_table", f"{error}"[:100]) from error


def _check_depth(table: dict[str, Any]) -> None:
    """Level by level: whoever recursed into it later could be led as deep as its bytes reach."""
    level: list[Any] = [table]
    for _ in range(_DEPTH_MAX):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    if level:
        raise WireError("bad_table", f"it is nested over {_DEPTH_MAX} levels deep")


def _check_sensor(sensor: dict[str, Any]) -> None:
    number = sensor["number"]
    if type(number) is not int or not 1 <= number <= 65535 or not SENSOR_NAME.fullmatch(sensor["name"]):
        raise WireError("bad_table", "a sensor has no number or no name")
    for names in (sensor["labels"], sensor["commands"]):
        if type(names) is not list or not all(NAME.fullmatch(name) for name in names):
            raise WireError("bad_table", "labels and commands are lists of snake_case names")
    _check_calibrations(sensor.get("calibrations", []))
    measures = sensor["measures"]
    if type(measures) is not list:
        raise WireError("bad_table", "measures is no list")
    for name, unit, resolution in measures:
        if not NAME.fullmatch(name) or not _UNIT.fullmatch(unit):
            raise WireError("bad_table", "a measure has no name or no unit")
        # Compared exactly, however large: neither NaN nor a number of 4000 digits gets through.
        if type(resolution) not in (int, float) or not RESOLUTION_MIN <= resolution <= RESOLUTION_MAX:
            raise WireError("bad_table", "a resolution is out of range")


def _check_calibrations(calibrations: Any) -> None:
    if type(calibrations) is not list:
        raise WireError("bad_table", "calibrations is no list")
    for measure, gain, offset, name, date, due, *_ in calibrations:
        if not NAME.fullmatch(measure) or not CALIBRATION_ID.fullmatch(name):
            raise WireError("bad_table", "a calibration has no measure or no id")
        if not _DAY.fullmatch(date) or not (due == "" or _DAY.fullmatch(due)):
            raise WireError("bad_table", "a calibration has no date")
        if type(gain) not in (int, float) or type(offset) not in (int, float):
            raise WireError("bad_table", "a calibration is no gain and offset")
