"""`gateway scan` and `gateway doctor` on a kernel with one of each: what they say of it, or of its loss."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gateway_hil.bench import Bench
from gateway_hil.emulators import Gnss
from gateway_hil.emulators.bthome import BthomeBeacon
from gateway_hil.emulators.camera import VividCamera
from gateway_hil.emulators.contact import DoorContact
from gateway_hil.emulators.microphone import Microphone

pytestmark = pytest.mark.slow

Plug = Callable[..., Any]
Note = Callable[[str], None]
Row = dict[str, Any]
THERE_WITHIN_S: Final = 10.0
DRIVERS: Final = {
    "serial": "gps-nmea",
    "gpio": "door-contact",
    "alsa": "microphone",
    "v4l2": "camera",
    "ble": "bthome",
}


def gateway(*words: str) -> "subprocess.CompletedProcess[str]":
    """What a person types."""
    command = [sys.executable, "-P", "-m", "gateway", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(*words: str) -> list[Row]:
    """What it prints for programs."""
    return [json.loads(line) for line in gateway(*words, "--json").stdout.splitlines()]


def filled_in(text: str, **blanks: str) -> str:
    """The tables of `gateway scan`, with a driver for each kind, and what else was left blank."""

    def driver(match: re.Match[str]) -> str:
        return f'{match[1]}driver = "{DRIVERS[match[2]]}"'

    text = re.sub(r'(\[sensor\.(\w+)-\d+\]\n)driver = ""', driver, text)
    for key, value in blanks.items():
        text = text.replace(f'{key} = ""', f'{key} = "{value}"')
    return text


def write_site(folder: Path, tables: str) -> str:
    """A site file."""
    site = folder / "site.toml"
    site.write_text(f'box = "bench"\nstate = "{folder}/state"\n\n{tables}', encoding="utf-8")
    return str(site)


def of(found: list[Row], check: str) -> list[tuple[str, str]]:
    """State and advice of each finding on one kind of port, from the ports themselves, not the extras."""
    return [
        (row["state"], row["mend"])
        for row in found
        if row["check"] == check and not row["text"].endswith("is installed")
    ]


def found_within(seconds: float, *kinds: str) -> list[Row]:
    """What is scanned, once there is something of each kind: a gadget's tty takes a moment."""
    deadline = time.monotonic() + seconds
    while True:
        found = rows("scan")
        if {row["kind"] for row in found} >= set(kinds) or time.monotonic() > deadline:
            return found


@pytest.mark.needs("usb-serial", "gpio", "alsa", "v4l2")
def test_each_thing_that_is_plugged_in_becomes_a_line_that_check_accepts(
    bench: Bench, plug: Plug, tmp_path: Path, note: Note
) -> None:
    if not bench.is_emulated:
        pytest.skip("what hangs on a rig is not known")
    gps, mic, camera, door = plug(Gnss, every_s=1), plug(Microphone), plug(VividCamera), plug(DoorContact)
    kinds = ("serial", "gpio", "alsa", "v4l2")
    found = found_within(THERE_WITHIN_S * bench.slowness, *kinds)
    by_port = {row["port"]: row for row in found}
    serial = gps.port.rpartition("-")[0]  # the only adapter: its ids say which
    assert by_port[serial]["kind"] == "serial"
    assert by_port[door.port]["lines"] == [door.line]
    assert by_port[mic.port.partition(",")[0]]["captures"] == [0, 1]
    assert by_port[camera.port]["kind"] == "v4l2"
    began_s = time.monotonic()
    printed = gateway("scan")
    note(f"gateway scan took {time.monotonic() - began_s:.1f} s and found {len(found)} ports")
    assert (printed.returncode, printed.stderr) == (0, "")
    site = write_site(tmp_path, filled_in(printed.stdout, address="A4:C1:38:00:00:01"))
    checked = gateway("check", site)
    assert checked.returncode == 0, checked.stderr
    assert set(by_port) == set(re.findall(r"^  port \d+: (.*)$", checked.stdout, re.MULTILINE))
    for kind in kinds:
        assert {state for state, _ in of(rows("doctor", site), kind)} == {"ok"}


@pytest.mark.needs("usb-serial")
def test_what_talks_on_an_adapter_is_known_by_what_it_says(
    bench: Bench, plug: Plug, tmp_path: Path, note: Note
) -> None:
    if not bench.is_emulated:
        pytest.skip("what hangs on a rig is not known")
    plug(Gnss, every_s=0.5)
    found_within(THERE_WITHIN_S * bench.slowness, "serial")
    began_s = time.monotonic()
    printed = gateway("scan", "--listen", f"{2 * bench.slowness:.0f}").stdout
    note(f"gateway scan --listen took {time.monotonic() - began_s:.1f} s")
    (table,) = [table for table in printed.split("\n\n") if "looks like gps-nmea at " in table]
    site = write_site(tmp_path, table)
    assert gateway("check", site).returncode == 0


@pytest.mark.needs("usb-serial", "gpio", "alsa", "v4l2")
def test_doctor_names_what_is_unplugged_or_miswritten(bench: Bench, plug: Plug, tmp_path: Path) -> None:
    if not bench.is_emulated:
        pytest.skip("this test pulls plugs")
    door, lid = plug(DoorContact), plug(DoorContact)
    tables = (
        f'[sensor.door]\ndriver = "door-contact"\nport = "{door.port}"\nline = "{door.line}"\n'
        f'[sensor.lid]\ndriver = "door-contact"\nport = "{lid.port}"\nline = "NO-SUCH-LINE"\n'
        '[sensor.gps]\ndriver = "gps-nmea"\nport = "serial:usb-1546:01a7-AWAY"\n'
        '[sensor.mic]\ndriver = "microphone"\nport = "alsa:card/Loopback,7"\n'
        '[sensor.eye]\ndriver = "camera"\nport = "v4l2:bus/platform:none-0"\n'
    )
    site = write_site(tmp_path, tables)
    door.unplug()
    found = rows("doctor", site)
    said = {row["text"].partition(":")[0]: row for row in found if row["state"] == "wrong"}
    assert said["door"]["mend"] == f"plug it in, or correct {door.port}"
    assert said["lid"]["mend"] == "correct the line in the site file"
    assert said["gps"]["mend"] == "plug it in, or correct serial:usb-1546:01a7-AWAY"
    assert "records from 0, 1, not 7" in said["mic"]["text"]
    assert said["eye"]["mend"] == "plug it in, or correct v4l2:bus/platform:none-0"


@pytest.mark.needs("ble")
def test_a_bluetooth_adapter_is_proposed_by_its_address_and_examined(
    bench: Bench, plug: Plug, tmp_path: Path
) -> None:
    if not bench.is_emulated:
        pytest.skip("this test takes away bluetoothd, which a rig cannot")
    from gateway_hil.guest.bluetooth import shared

    beacon = plug(BthomeBeacon)
    (adapter,) = [row for row in rows("scan") if row["kind"] == "ble"]
    address = shared().adapter.address
    assert (adapter["port"], adapter["address"]) == (f"ble:{address}", address)
    tables = [t for t in gateway("scan").stdout.split("\n\n") if "[sensor.ble-1]" in t]
    site = write_site(tmp_path, filled_in(tables[0], address=beacon.address))
    assert gateway("check", site).returncode == 0
    assert {state for state, _ in of(rows("doctor", site), "ble")} == {"ok"}
    near = gateway("scan", "--ble-seconds", f"{5 * bench.slowness:.0f}").stdout
    (table,) = [table for table in near.split("\n\n") if f'address = "{beacon.address}"' in table]
    assert 'driver = ""  # choose one: ble-button, bthome\n' in table
    site = write_site(tmp_path, table.replace('driver = ""', 'driver = "bthome"'))
    assert gateway("check", site).returncode == 0
    shared().kill_bluetoothd()
    try:
        assert ("wrong", "install bluez and start it: systemctl start bluetooth") in of(
            rows("doctor", site), "ble"
        )
        assert "ble:hci" in gateway("scan").stdout, "without BlueZ it has a name only"
    finally:
        shared().start_bluetoothd()
