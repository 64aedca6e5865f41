"""The table of measures, what a Measure takes from it, and the page that is made of it."""

import json
import math
import re
from pathlib import Path

import pytest

from gateway.catalogue import describe
from gateway.measurepage import page
from gateway.measures import known_measure, known_measures
from gateway.plugins import DRIVERS, found
from gateway.reading import NAME, Measure
from gateway.units import MEANT, RESOLUTION

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"
# The special units that are no UCUM, each said so in gateway/units.py.
BESIDE_UCUM = {"bool", "dB[FS]", "dBm"}
# Atoms, prefixes and operators of UCUM's case-sensitive codes (https://ucum.org/ucum), as far as used here.
ATOM = r"(?:%|1|\[ppm\]|B(?:\[SPL\])?|Cel|Hz|K|L|Pa|A|V|W|deg|g|h|lx|min|m|s|S)"
TERM = rf"(?:(?:da|[munkhdcM])?{ATOM}\d?)"


def test_every_line_is_whole_in_order_and_in_a_known_unit() -> None:
    rows = list(known_measures())
    names = [row.name for row in rows]
    assert names == sorted(set(names)), "one line a name, sorted"
    for row in rows:
        assert NAME.fullmatch(row.name), row.name
        assert row.unit in RESOLUTION, row.name
        assert row.low < row.high, row.name
        assert row.what, row.name
        assert row.still_s is None or row.still_s > 0
        assert row.floor is None or (row.drift is not None and row.low < row.floor < row.high)


def test_units_are_ucum() -> None:
    for unit in RESOLUTION.keys() - BESIDE_UCUM:
        assert re.fullmatch(rf"/?{TERM}(?:[./]{TERM})*", unit), unit
    assert set(MEANT.values()) <= RESOLUTION.keys()
    assert not MEANT.keys() & RESOLUTION.keys()


def test_a_measure_has_the_tables_unit_and_range() -> None:
    assert Measure("humidity", "%").bounds == (0, 105)
    assert Measure("humidity", "%", low=20).bounds == (20, 105)
    assert Measure("my_own_thing", "K").bounds == (-math.inf, math.inf)
    assert Measure("temperature_2", "Cel").bounds == Measure("temperature", "Cel").bounds
    with pytest.raises(ValueError, match=r"'pressure' has the unit 'hPa' .* not 'Pa'"):
        Measure("pressure", "Pa")
    with pytest.raises(ValueError, match="'temperature_2' has the unit"):
        Measure("temperature_2", "K")
    with pytest.raises(ValueError, match=r"write 'kW\.h'"):
        Measure("energy", "kWh")
    with pytest.raises(ValueError, match="low < high"):
        Measure("my_own_thing", "K", low=3, high=3)


def test_names_with_digits_of_their_own_are_found() -> None:
    assert known_measure("pm2_5").name == "pm2_5"  # type: ignore[union-attr]
    assert known_measure("pm2_9") is None
    assert known_measure("temperature_") is None
    assert known_measure("eratur") is None


def test_every_measure_of_our_drivers_is_in_the_table() -> None:
    drivers = [plugin for plugin in found(DRIVERS).values() if plugin.factory.startswith("gateway_drivers")]
    assert len(drivers) > 8
    missing = {
        f"{plugin.name}: {measure.name}"
        for plugin in drivers
        for measure in plugin.load().emits
        if known_measure(measure.name) is None
    }
    assert missing == set()


def test_the_page_of_measures_is_of_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m gateway.measurepage > docs/measures.md"


def test_programs_get_ranges_as_json_has_them() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    rows = [describe(found(DRIVERS)[name]) for name in ("sds011", "rain-gauge")]
    dust, rain = [json.loads(json.dumps(row), parse_constant=refuse)["measures"] for row in rows]
    assert (dust[0]["low"], dust[0]["high"]) == (0, 2000)
    assert {each["name"]: each["high"] for each in rain}["rain_total"] is None
