"""Measure tables as boxes send them, checked before they are kept: later code computes with them."""

import math
from typing import Any, Final

from gateway.errors import WireError
from gateway.reading import NAME, SENSOR_NAME

_SENSORS_MAX: Final = 256
_NAMES_MAX: Final = 64


def check_table(table: dict[str, Any]) -> None:
    """Raise WireError("bad_table") unless the table has the shape that `gateway.plan.Plan.table` gives it."""
    try:
        sensors = table["sensors"]
        if type(sensors) is not list or len(sensors) > _SENSORS_MAX:
            raise WireError("bad_table", f"sensors must be a list of at most {_SENSORS_MAX}")
        for sensor in sensors:
            _check_sensor(sensor)
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("bad_table", f"{error}"[:100]) from error


def _check_sensor(sensor: dict[str, Any]) -> None:
    number = sensor["number"]
    if type(number) is not int or not 1 <= number <= 65535 or not SENSOR_NAME.fullmatch(sensor["name"]):
        raise WireError("bad_table", "a sensor has no number or no name")
    for names in (sensor["labels"], sensor["commands"]):
        if type(names) is not list or len(names) > _NAMES_MAX:
            raise WireError("bad_table", f"labels and commands are lists of at most {_NAMES_MAX}")
        if any(type(name) is not str or not 1 <= len(name) <= 64 for name in names):
            raise WireError("bad_table", "a label or command is no short text")
    measures = sensor["measures"]
    if type(measures) is not list or len(measures) > _NAMES_MAX:
        raise WireError("bad_table", f"measures must be a list of at most {_NAMES_MAX}")
    for name, unit, resolution in measures:
        if not NAME.fullmatch(name) or type(unit) is not str or len(unit) > 32:
            raise WireError("bad_table", "a measure has no name or no unit")
        if type(resolution) not in (int, float) or not math.isfinite(resolution):
            raise WireError("bad_table", "a resolution is no number")
        if not 1e-12 <= resolution <= 1e9:
            raise WireError("bad_table", "a resolution is out of range")
