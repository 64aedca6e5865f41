"""Every folder tests/drivers/<driver>/<case> is a test: a driver makes expected.json of capture.txt.

Adding a test is adding a folder. expected.json holds
    "readings"  [[seconds, {measure: value}], ...]  all of them, at the time of the frame that made each
    "bad"       frames the driver refused, and packets whose check failed        (0 if left out)
    "skipped"   bytes that were part of no frame                                  (0 if left out)
    "settings"  the sensor's settings                                             (none if left out)
A value counts as equal if it would travel as the same multiple of its measure's resolution.
"""

import json
from pathlib import Path

import pytest

from gateway.capture import Received, read_capture, read_header
from gateway.driver import Advertisement, BadFrame, Driver, Edge, SerialDriver
from gateway.plugins import DRIVERS, find
from gateway.records import quantum

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


def run(driver: Driver, capture: Path) -> tuple[list[tuple[float, dict]], int, int]:
    """All readings with their times in seconds, frames refused, bytes skipped."""
    framer = driver.framing.framer() if isinstance(driver, SerialDriver) else None
    readings, bad = [], 0
    with capture.open(encoding="ascii") as lines:
        for entry in read_capture(lines, capture.name):
            for frame in frames(driver, framer, entry.what):
                try:
                    values = driver.decode(frame)
                except BadFrame:
                    bad += 1
                else:
                    if values is not None:
                        readings.append((entry.at_ns / 1e9, dict(values)))
    return readings, bad + (framer.bad if framer else 0), framer.skipped if framer else 0


def frames(driver, framer, what):
    """What a port would hand to this driver of one entry of a capture."""
    match what:
        case Received(octets):
            yield from framer.feed(octets)
        case Advertisement(address=address) if address == driver.settings.address:
            yield what
        case Edge(line=line) if line == driver.settings.line:
            yield what


def in_steps(values: dict, steps: dict[str, float]) -> dict[str, int | None]:
    """Raises KeyError for a measure that the driver did not declare: a bug in the driver."""
    return {name: quantum(value, steps[name]) for name, value in values.items()}


def test_every_serial_and_ble_driver_has_a_capture() -> None:
    covered = {case.parent.name for case in CASES}
    assert covered == {"bthome", "gps-nmea", "gy39", "relay-lamp", "sds011"}
