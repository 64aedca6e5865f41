"""`gateway doctor`: what it says about machines that lack something, and the line that mends it."""

import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.clock import NOT_KNOWN_US, ClockSource, ClockState
from gateway.doctor.asked import Asked, asked, missing
from gateway.doctor.bluetooth import ble_ports
from gateway.doctor.finding import Finding
from gateway.doctor.machine import clock, python_version, runtime
from gateway.doctor.ports import alsa_ports, gpio_ports, other_buses, rtsp_ports, v4l2_ports
from gateway.doctor.rights import device_rights
from gateway.doctor.running import hub, spool
from gateway.doctor.state import enrolment, room, state_folder
from gateway.plan import Plan, PortPlan, SensorPlan, SpoolPlan
from gateway.ports import cameras, gpiochip


@pytest.mark.slow
def test_doctor_names_the_port_that_is_not_there(tmp_path, capsys):
    site = tmp_path / "site.toml"
    site.write_text(
        'box = "elm"\nstate = "state"\n'
        '[sensor.lamp]\ndriver = "relay-lamp"\nport = "serial:/dev/nothing-here"\n'
    )
    assert main(["doctor", str(site), "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    wrong = [row for row in rows if row["state"] == "wrong" and row["check"] == "serial"]
    assert [row["text"].partition(";")[0] for row in wrong] == ["lamp: /dev/nothing-here is not there"]
    assert wrong[0]["mend"] == "plug it in, or correct serial:/dev/nothing-here"
    assert {"python", "models", "drivers", "site file", "clock", "state", "hub"} <= {
        row["check"] for row in rows
    }


@pytest.mark.parametrize(
    ("version", "largest", "state"),
    [((3, 11), 2**63, "ok"), ((3, 13), 2**63, "ok"), ((3, 10), 2**63, "wrong"), ((3, 11), 2**31, "wrong")],
)
def test_doctor_on_pythons(version, largest, state):
    assert python_version(version, largest).state == state


def test_doctor_on_clocks():
    def said(source: ClockSource, error_us: int) -> tuple[str, str]:
        finding = clock(ClockState(b"12345678", 0, 0, source, error_us))
        return finding.state, finding.text

    assert said(ClockSource.NTP, 1500) == ("ok", "kept right by NTP (error under 0.0015 s)")
    assert said(ClockSource.RTC, 60_000_000) == ("note", "nothing keeps it right now (error under 60 s)")
    assert said(ClockSource.NONE, NOT_KNOWN_US)[0] == "wrong"


def test_doctor_on_a_device_this_user_may_open(tmp_path):
    device = tmp_path / "ttyX"
    device.touch(mode=0o600)
    assert device_rights("serial", device, "test").state == "ok"


def test_doctor_on_a_device_that_only_the_kernel_has(tmp_path):
    finding = device_rights("alsa", tmp_path / "pcmC0D0c", "test")
    assert (finding.state, finding.mend.partition(":")[0]) == ("wrong", "in a container, hand it in (docker")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "group", "mend"),
    [
        ("serial", "dialout", "sudo usermod -aG dialout nobody, then log out and in again"),
        ("alsa", "audio", "sudo usermod -aG audio nobody, then log out and in again"),
        ("v4l2", "root", "sudo chgrp video {device}; sudo chmod 660 {device}"),
        (
            "gpio",
            "root",
            """sudo groupadd -f gpio; echo 'SUBSYSTEM=="gpio", GROUP="gpio", """
            """MODE="0660"' | sudo tee /etc/udev/rules.d/60-gpio.rules; """
            "sudo udevadm trigger --subsystem-match=gpio",
        ),
    ],
)
def test_doctor_tells_an_ordinary_user_what_opens_a_device(check, group, mend):
    """As `nobody`, in a child: a device of another group is out of reach, and the line says so."""
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "ttyX"
        said = as_nobody(
            device,
            group,
            "from gateway.doctor.rights import device_rights",
            f"print(device_rights({check!r}, pathlib.Path({str(device)!r}), 'test').mend)",
        )
    assert said == mend.format(device=device)


def as_nobody(device: Path, group: str, *code: str) -> str:
    """What this code prints for a user who may not open a device of this group."""
    if os.getuid() != 0:
        pytest.skip("only root can pose as another user")
    device.touch()
    os.chown(device, 0, grp.getgrnam(group).gr_gid)
    device.chmod(0o660)
    device.parent.chmod(0o755)
    nobody = pwd.getpwnam("nobody").pw_uid
    lines = ["import os, pathlib", f"os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})"]
    # Imported before the change: the project may lie where nobody may look.
    program = "\n".join([lines[0], code[0], lines[1], *code[1:]])
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")


def test_doctor_on_other_buses(tmp_path):
    for name in ("hci0", "hci0:64"):  # the second is a connection
        (tmp_path / "sys/class/bluetooth" / name).mkdir(parents=True)
    findings = {finding.check: finding for finding in other_buses(tmp_path)}
    assert (findings["ble"].state, findings["ble"].text) == ("ok", "hci0")
    assert findings["gpio"].text == "no GPIO chip is here"


# the ports of a plan


def port(url: str, kind: str, factory: str = "", **settings: object) -> Asked:
    """A port with one sensor, `it`."""
    return asked(PortPlan(0, url, kind, (SensorPlan(1, "it", "", factory, settings, (), (), (), ()),)))


def only(findings: Iterable[Finding]) -> tuple[str, str, str]:
    (finding,) = findings
    return finding.state, finding.text, finding.mend


def test_doctor_names_the_package_that_a_port_needs():
    assert missing("gpio", "gpio", ["json"]) == []
    assert missing("gpio", "gpio", ["json", "no_such_package"]) == [
        Finding(
            "gpio",
            "wrong",
            "a gpio port needs no_such_package, which is not installed",
            "pip install 'pole-gateway[gpio]'",
        )
    ]


def test_doctor_on_a_chip_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(gpiochip, "DEV", tmp_path)
    state, text, mend = only(gpio_ports([port("gpio:street", "gpio")]))
    assert (state, mend) == ("wrong", "plug it in, or correct gpio:street")
    assert text.startswith("it: no GPIO chip is labelled 'street' (there are: none)")


@pytest.mark.slow
def test_doctor_on_a_chip_that_may_be_one_that_this_user_may_not_open():
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "gpiochip4"
        said = as_nobody(
            device,
            "dialout",
            "from gateway.doctor.ports import gpio_ports; from gateway.doctor.asked import asked\n"
            "from gateway.plan import PortPlan; from gateway.ports import gpiochip, gpiolines",
            f"gpiochip.DEV = pathlib.Path({folder!r})",
            "(it,) = gpio_ports([asked(PortPlan(0, 'gpio:street', 'gpio', ()))])",
            "print(it.text, it.mend, sep=' | ')",
        )
    assert said == (
        f"{device} (perhaps the port of ) may not be opened by nobody | "
        "sudo usermod -aG dialout nobody, then log out and in again"
    )


def test_doctor_on_a_camera_and_a_card_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(cameras, "SYSFS", tmp_path)
    state, text, mend = only(v4l2_ports([port("v4l2:usb-046d:0825", "v4l2")]))
    assert (state, mend) == ("wrong", "plug it in, or correct v4l2:usb-046d:0825")
    assert text.startswith("it: no camera usb-046d:0825 is there")
    last = list(alsa_ports([port("alsa:card/no_such", "alsa")]))[-1]
    assert last.mend == "plug it in, or correct alsa:card/no_such"
    assert last.text.startswith("it: no sound card card/no_such is plugged in")


def test_doctor_on_a_camera_on_a_network():
    with socket.create_server(("127.0.0.1", 0)) as camera:
        number = camera.getsockname()[1]
        ports = [port(f"rtsp://127.0.0.1:{number}/stream", "v4l2")]
        assert only(rtsp_ports(ports)) == ("ok", f"127.0.0.1 port {number} (port of it) answers", "")
    assert only(rtsp_ports(ports)) == (
        "wrong",
        f"it: nobody answers at 127.0.0.1 port {number} (Connection refused)",
        "check the camera's power and cable, then: ping 127.0.0.1",
    )


def test_doctor_on_a_machine_without_bluetooth(tmp_path):
    state, text, mend = only(ble_ports([port("ble:hci0", "ble")], tmp_path))
    assert (state, text) == ("wrong", "it: no Bluetooth adapter is here")
    assert mend.startswith("plug one in")


def test_doctor_on_a_blocked_adapter_and_no_d_bus(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    for name, hard, soft in (("hci0", "0", "1"), ("hci1", "1", "0"), ("hci2", "0", "0")):
        switch = tmp_path / "sys/class/bluetooth" / name / "rfkill0"
        switch.mkdir(parents=True)
        (switch / "hard").write_text(f"{hard}\n")
        (switch / "soft").write_text(f"{soft}\n")
    soft, hard, bus = ble_ports([port("ble:hci0", "ble")], tmp_path)
    assert (soft.text, soft.mend) == ("hci0 is blocked", "sudo rfkill unblock bluetooth")
    assert (hard.text, hard.mend) == ("hci1 is blocked by a switch or key of this computer", "switch it on")
    assert bus.state == "wrong"
    assert bus.text.startswith("D-Bus cannot be reached")
    assert bus.mend == "is dbus installed and running? BLE needs it and bluez"


# models, state, hub


def test_doctor_on_a_runtime_that_is_missing():
    missing = runtime(("no_such_runtime.interpreter",))
    assert (missing.state, missing.mend) == ("note", "pip install 'pole-gateway[inference]'")


@pytest.mark.slow
def test_doctor_survives_a_runtime_that_crashes(tmp_path, monkeypatch):
    (tmp_path / "acme_runtime.py").write_text("import os\nos.abort()")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert runtime(("acme_runtime",)).text == "acme_runtime is installed but cannot be imported"


def test_doctor_on_the_state_folder(tmp_path):
    def states(plan: Plan) -> list[str]:
        return [finding.state for finding in state_folder(plan)]

    assert "wrong" not in states(Plan("elm", tmp_path / "not" / "yet", (), SpoolPlan((1, 1, 1, 1))))
    assert states(Plan("elm", tmp_path, (), SpoolPlan((1 << 30, 1, 1, 1))))[-1] == "wrong"
    shm = Path("/dev/shm")
    assert states(Plan("elm", shm / "gateway", (), SpoolPlan((1, 1, 1, 1))))[0] == "note"


def test_doctor_on_room_for_the_spool():
    plan = Plan("elm", Path("state"), (), SpoolPlan(quota_mib=(8, 8, 64, 16), reserve_mib=100))  # 96 MiB

    def said(free_mib: int, used_mib: int) -> list[str]:
        return [f"{f.state}: {f.text}; {f.mend}" for f in room(plan, 1000, free_mib, used_mib)]

    assert said(196, 0) == said(136, 60) == []
    text = "free, the spool may grow by 36 MiB and leaves 100 MiB free; free some space, or lower quota_mib"
    assert said(135, 60) == [f"wrong: 135 MiB are {text} under [spool]"]
    assert said(95, 0) == [
        "wrong: 95 MiB are free; the spool's floors alone take 96 MiB more; "
        "free some space, or lower floor_mib under [spool]"
    ]


def test_doctor_on_what_core_says_of_its_spool():
    def lane(**other: object) -> dict[str, object]:
        return {
            "held": 0,
            "oldest_s": None,
            "commit_ms": [None, None],
            "refuses": None,
            "counters": {},
        } | other

    quiet = {name: lane() for name in ("alert", "state", "telemetry", "bulk")}
    wear = {"written_bytes": 1_234_567, "bytes_a_day": None}
    (finding,) = spool({"lanes": quiet, "wear": wear})
    assert finding == Finding(
        "spool", "ok", "records that wait for the hub: 0; 1.23 MB were written since core started"
    )
    troubled = quiet | {
        "alert": lane(refuses="/x/0: the disk refuses to write (I/O error); replace it; records wait"),
        "telemetry": lane(
            held=12,
            oldest_s=200_000.0,
            commit_ms=[4.2, 90.0],
            counters={"records_evicted": 7, "records_corrupt": 3},
        ),
    }
    refused, evicted, damaged, sums = spool({"lanes": troubled, "wear": wear | {"bytes_a_day": 36e7}})
    assert refused == Finding(
        "spool", "wrong", "alert: /x/0: the disk refuses to write (I/O error)", "replace it; records wait"
    )
    assert evicted.text == "telemetry: 7 records were given up for newer ones since core started"
    assert damaged.text == "telemetry: 3 records and 0 files were found damaged since core started"
    assert sums.text == (
        "records that wait for the hub: 12, the oldest for 2 days; a commit takes 4.2 ms, "
        "one in a hundred 90 ms; the disk is written 0.36 GB a day"
    )


def test_doctor_on_a_hub_that_is_not_reached():
    up, closed = {"state": "up"}, {"state": "closed"}
    assert not list(hub({"uplink": {"U": closed}, "hub_trouble": "not enrolled"}, enrolled=False))
    (well,) = hub({"uplink": {"U": up, "B": up}, "hub_trouble": ""}, enrolled=True)
    (young,) = hub({"uplink": {"U": up, "B": closed}, "hub_trouble": ""}, enrolled=True)
    (refused,) = hub({"uplink": {"U": closed, "B": up}, "hub_trouble": "refused_bad_table"}, enrolled=True)
    assert [each.state for each in (well, young, refused)] == ["ok", "note", "wrong"]
    assert "refused_bad_table" in refused.text


def test_doctor_on_enrolment(tmp_path):
    assert enrolment(tmp_path).state == "note"
    (tmp_path / "enrolment.json").write_text("{}")
    assert enrolment(tmp_path).state == "ok"
