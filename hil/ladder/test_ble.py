"""BLE through BlueZ: what is on air becomes readings, and comes back after everything that can go away."""

from collections.abc import Callable
from typing import Any

import pytest
from gateway_hil.bench import Bench
from gateway_hil.box import Box
from gateway_hil.emulators.bthome import BthomeBeacon

pytestmark = [pytest.mark.needs("ble"), pytest.mark.slow]

Note = Callable[[str], None]
Plug = Callable[..., Any]


def beacon_table(beacon: BthomeBeacon, name: str = "yard", more: str = "") -> str:
    return (
        f'[sensor.{name}]\ndriver = "bthome"\nport = "{beacon.port}"\naddress = "{beacon.address}"\n'
        f'measures = ["temperature", "humidity", "battery"]\n{more}\n'
    )


def test_advertisements_become_readings(bench: Bench, plug: Plug, box: Box, note: Note) -> None:
    beacon = plug(BthomeBeacon, every_s=0.5, seed=bench.seed)
    box.start(beacon_table(beacon))
    first = box.first_reading("yard", 20)
    assert set(first.values) == {"temperature", "humidity", "battery"}
    if bench.is_emulated:
        assert first.values["temperature"] == pytest.approx(beacon.sensor.temperature, abs=1)
    seen = box.until(lambda records: len(records) >= 5, 10, "five readings", sensor="yard", kind="reading")
    note(f"{len(seen)} readings")
