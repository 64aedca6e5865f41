"""Every folder tests/drivers/<driver>/<case> is a test: a driver makes expected.json of capture.txt.

Adding a test is adding a folder. expected.json holds
    "readings"  [[seconds, {measure: value}], ...]  all of them, at the time of the frame that made each
    "bad"       frames the driver refused, and packets whose check failed        (0 if left out)
    "skipped"   bytes that were part of no frame                                  (0 if left out)
    "settings"  the sensor's settings                                             (none if left out)
A value counts as equal if it would travel as the same multiple of its measure's resolution.
"""

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from case_runner import in_steps, run

from gateway.capture import read_header
from gateway.plugins import DRIVERS, find

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/capture.txt"))


@pytest.mark.parametrize("case", CASES, ids=[str(case.relative_to(HERE)) for case in CASES])
def test_capture(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text("utf-8"))
    kind = find(DRIVERS, case.parent.name, "driver").load()
    driver = kind(kind.settings_type()(**expected.get("settings", {})))
    assert header_of(case)["driver"] == case.parent.name

    readings, bad, skipped = run(driver, case / "capture.txt")

    steps = {measure.name: measure.resolution for measure in kind.measures(driver.settings)}
    assert [(at, in_steps(values, steps)) for at, values in readings] == [
        (at, in_steps(values, steps)) for at, values in expected["readings"]
    ]
    assert (bad, skipped) == (expected.get("bad", 0), expected.get("skipped", 0))


def header_of(case: Path) -> dict[str, str]:
    with (case / "capture.txt").open(encoding="ascii") as lines:
        return read_header(lines, case.name)


def test_every_serial_ble_and_gpio_driver_has_a_capture() -> None:
    covered = {case.parent.name for case in CASES}
    ours = [point for point in entry_points(group=DRIVERS) if point.value.startswith("gateway_drivers.")]
    assert covered == {point.name for point in ours if point.load().kind in {"serial", "ble", "gpio"}}
