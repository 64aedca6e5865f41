"""BLE through BlueZ: what is on air becomes readings, and comes back after everything that can go away."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_hil.bench import Bench
from gateway_hil.box import Box, Seen
from gateway_hil.emulators.bthome import BthomeBeacon
from gateway_hil.emulators.environmental import EnvironmentalSensor

pytestmark = [pytest.mark.needs("ble"), pytest.mark.slow]

Note = Callable[[str], None]
Plug = Callable[..., Any]
KEY = "231d39c1d7cc1ab1aee224cd096db932"


@pytest.fixture
def bluetooth(bench: Bench) -> Iterator[Any]:
    """The guest's D-Bus, bluetoothd and adapter, whole again afterwards."""
    if not bench.is_emulated:
        pytest.skip("this test takes away the adapter or bluetoothd, which a rig cannot")
    from gateway_hil.guest.bluetooth import shared

    yield shared()
    shared().adapter.replug()


def beacon_table(beacon: BthomeBeacon, name: str = "yard", more: str = "", port: str = "") -> str:
    return (
        f'[sensor.{name}]\ndriver = "bthome"\nport = "{port or beacon.port}"\naddress = "{beacon.address}"\n'
        f'measures = ["temperature", "humidity", "battery"]\n{more}\n'
    )


def sensor_table(sensor: EnvironmentalSensor, name: str = "mast") -> str:
    driver = "environmental-sensing"
    return f'[sensor.{name}]\ndriver = "{driver}"\nport = "{sensor.port}"\naddress = "{sensor.address}"\n'


def all_three(records: list[Seen]) -> bool:
    return {name for record in records for name in record.values} == {"temperature", "humidity", "pressure"}


def said(box: Box, words: str) -> bool:
    return any(words in line["text"] for line in box.said())


def test_advertisements_become_readings(bench: Bench, plug: Plug, box: Box, note: Note) -> None:
    beacon = plug(BthomeBeacon, every_s=0.5, seed=bench.seed)
    stranger = plug(BthomeBeacon, every_s=0.5, address="A4:C1:38:00:00:99") if bench.is_emulated else None
    box.start(beacon_table(beacon))
    first = box.first_reading("yard", 20)
    assert set(first.values) == {"temperature", "humidity", "battery"}
    box.until(lambda records: len(records) >= 5, 10, "five readings", sensor="yard", kind="reading")
    note(memory(box))
    beacon.garbage(2)
    box.health("yard", "bad_frames", 10)
    box.first_reading("yard", 10, since_ns=time.monotonic_ns())
    if stranger is not None:
        assert first.values["temperature"] == pytest.approx(beacon.sensor.temperature, abs=1)
        box.stop()
        assert stranger.address not in box.log_path.read_text("utf-8").upper().replace("_", ":")
        strangers = [line["counters"]["strangers"] for line in box.said() if "counters" in line]
        assert strangers
        assert strangers[0] > 0


def memory(box: Box) -> str:
    """What the one worker takes: its proportional share, or its own where the kernel has no shares."""
    (pid,) = box.pids().values()
    shares = Path(f"/proc/{pid}/smaps_rollup")
    file, key = (shares, "Pss:") if shares.exists() else (Path(f"/proc/{pid}/status"), "RssAnon:")
    (kib,) = [line.split()[1] for line in file.read_text("ascii").splitlines() if line.startswith(key)]
    return f"a BLE worker takes {int(kib) / 1024:.1f} MiB ({key.rstrip(':')})"


def test_encrypted_ones_too_and_what_is_played_back_is_refused(
    bench: Bench, plug: Plug, box: Box, tmp_path: Path
) -> None:
    key = tmp_path / "bindkey"
    key.write_text(KEY, "ascii")
    beacon = plug(BthomeBeacon, every_s=0.5, bindkey=KEY, counter=1000, seed=bench.seed)
    box.start(beacon_table(beacon, more=f'bindkey = "file:{key}"'))
    box.first_reading("yard", 20)
    recorded = beacon.last
    box.until(lambda records: len(records) >= 4, 10, "four readings", sensor="yard", kind="reading")
    beacon.unplug()
    count = len(box.records("yard", "reading"))
    for _ in range(3):
        beacon.say(recorded)
    box.health("yard", "bad_frames", 10)
    assert len(box.records("yard", "reading")) == count
    since_ns = time.monotonic_ns()
    beacon.replug()
    box.first_reading("yard", 10, since_ns=since_ns)


def test_a_sensor_that_notifies_and_what_becomes_of_it(
    bench: Bench, plug: Plug, box: Box, note: Note
) -> None:
    sensor = plug(EnvironmentalSensor, every_s=0.5, seed=bench.seed)
    beacon = plug(BthomeBeacon, every_s=0.5, seed=bench.seed)
    box.start(sensor_table(sensor) + beacon_table(beacon))
    box.until(all_three, 40, "all three measures", sensor="mast", kind="reading")
    sensor.garbage()
    box.health("mast", "bad_frames", 10)

    lost_ns = time.monotonic_ns()
    sensor.unplug()
    gone = box.health("mast", "port_gone", 5, since_ns=lost_ns)
    seen_s = (gone.came_ns - lost_ns) / 1e9
    note(f"peer drop seen after {seen_s * 1000:.0f} ms")
    assert seen_s <= 1.0 * bench.slowness
    # It is away, which is nobody else's affair.
    box.until(lambda records: len(records) >= 4, 10, "the other's", sensor="yard", since_ns=gone.came_ns)
    assert not [r for r in box.records("yard", "health") if r.body["code"] == "port_gone"]

    back_ns = time.monotonic_ns()
    sensor.replug()
    first = box.first_reading("mast", 30, since_ns=back_ns)
    note(f"first reading {(first.came_ns - back_ns) / 1e9:.1f} s after it is on air again")
    box.health("mast", "deaf", 10, since_ns=back_ns)


def test_an_adapter_comes_back_under_another_name(
    bench: Bench, bluetooth: Any, plug: Plug, box: Box, note: Note
) -> None:
    from gateway_hil.air import AirThread
    from gateway_hil.guest.bluetooth import OTHER_ADDRESS, VirtualAdapter

    beacon = plug(BthomeBeacon, every_s=0.5, seed=bench.seed)
    sensor = plug(EnvironmentalSensor, every_s=0.5, seed=bench.seed)
    name = bluetooth.adapter.name
    port = f"ble:{name}"  # by the name it has now: its address is remembered
    box.start(beacon_table(beacon, port=port) + sensor_table(sensor).replace(sensor.port, port))
    box.first_reading("yard", 20)
    box.first_reading("mast", 40)

    gone_ns = time.monotonic_ns()
    bluetooth.adapter.unplug()
    gone = box.health("yard", "port_gone", 5, since_ns=gone_ns)
    note(f"adapter unplugged: seen after {(gone.came_ns - gone_ns) / 1e6:.0f} ms")
    # Another takes the free name, and hears nobody: who is content with the name stays deaf.
    with AirThread() as elsewhere, VirtualAdapter(elsewhere.air, OTHER_ADDRESS):
        back_ns = time.monotonic_ns()
        bluetooth.adapter.replug()
        first = box.first_reading("yard", 20, since_ns=back_ns)
        note(f"replugged: first reading after {(first.came_ns - back_ns) / 1e9:.1f} s")
        box.first_reading("mast", 40, since_ns=back_ns)
        assert bluetooth.adapter.name != name
        note(f"{name} came back as {bluetooth.adapter.name}")


def test_bluetoothd_is_killed_and_started_again(
    bench: Bench, bluetooth: Any, plug: Plug, box: Box, note: Note
) -> None:
    beacon = plug(BthomeBeacon, every_s=0.5, seed=bench.seed)
    sensor = plug(EnvironmentalSensor, every_s=0.5, seed=bench.seed)
    box.start(beacon_table(beacon) + sensor_table(sensor))
    box.first_reading("yard", 20)
    box.first_reading("mast", 40)
    gone_ns = time.monotonic_ns()
    bluetooth.kill_bluetoothd()
    try:
        gone = box.health("yard", "port_gone", 5, since_ns=gone_ns)
    finally:
        back_ns = time.monotonic_ns()
        bluetooth.start_bluetoothd()
    note(f"bluetoothd killed: seen after {(gone.came_ns - gone_ns) / 1e6:.0f} ms")
    first = box.first_reading("yard", 30, since_ns=back_ns)
    note(f"started: first reading after {(first.came_ns - back_ns) / 1e9:.1f} s")
    box.first_reading("mast", 60, since_ns=back_ns)


def test_a_killed_worker_leaves_no_sensor_connected_to_nobody(bench: Bench, plug: Plug, box: Box) -> None:
    sensor = plug(EnvironmentalSensor, every_s=0.5, seed=bench.seed)
    box.start(sensor_table(sensor))
    box.first_reading("mast", 40)
    killed_ns = time.monotonic_ns()
    box.kill()
    # BlueZ keeps the connection, and who is connected does not advertise.
    box.until(
        lambda seen: any(r.t_ns > killed_ns for r in seen), 40, "a reading", sensor="mast", kind="reading"
    )
    box.health("mast", "deaf", 10, since_ns=killed_ns)


@pytest.mark.time_travel
def test_a_receiver_that_hangs_is_helped_up_the_ladder(
    bench: Bench, bluetooth: Any, plug: Plug, box: Box, note: Note
) -> None:
    beacon = plug(BthomeBeacon, every_s=2.0, seed=bench.seed)
    box.start(beacon_table(beacon))
    box.first_reading("yard", 20)
    deaf_ns = time.monotonic_ns()
    bluetooth.adapter.deaf()
    first = box.first_reading("yard", 300, since_ns=deaf_ns + 20 * 10**9)
    note(f"heard again {(first.came_ns - deaf_ns) / 1e9:.0f} s after the receiver hung")
    assert said(box, "scanning anew")
    assert said(box, "switching it off and on")


@pytest.mark.time_travel
def test_an_adapter_that_hears_nothing_more_is_told_as_gone_and_heals(
    bench: Bench, plug: Plug, box: Box, note: Note
) -> None:
    beacon = plug(BthomeBeacon, every_s=2.0, seed=bench.seed)
    box.start(beacon_table(beacon))
    box.first_reading("yard", 20)
    silent_ns = time.monotonic_ns()
    beacon.unplug()
    gone = box.health("yard", "port_gone", 400, since_ns=silent_ns)
    note(f"told as gone {(gone.came_ns - silent_ns) / 1e9:.0f} s after the last advertisement")
    back_ns = time.monotonic_ns()
    beacon.replug()
    box.first_reading("yard", 60, since_ns=back_ns)


@pytest.mark.time_travel
def test_a_sensor_that_is_connected_but_silent_is_connected_to_anew(
    bench: Bench, plug: Plug, box: Box
) -> None:
    sensor = plug(EnvironmentalSensor, every_s=2.0, seed=bench.seed)
    box.start(sensor_table(sensor))
    box.first_reading("mast", 40)
    stalled_ns = time.monotonic_ns()
    sensor.stall()
    box.health("mast", "port_gone", 120, since_ns=stalled_ns)
    sensor.stall(False)
    box.health("mast", "deaf", 60, since_ns=stalled_ns)
    assert sensor.connections >= 2
