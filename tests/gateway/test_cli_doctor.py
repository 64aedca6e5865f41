"""`gateway doctor`: what it says about machines that lack something, and the line that mends it."""

import grp
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.clock import NOT_KNOWN_US, ClockSource, ClockState
from gateway.doctor import (
    clock,
    device_rights,
    enrolment,
    other_buses,
    python_version,
    runtime,
    state_folder,
)
from gateway.plan import Plan, SpoolPlan


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
    assert device_rights(device, "test").state == "ok"


@pytest.mark.slow
def test_doctor_tells_an_ordinary_user_which_group_opens_a_device():
    """As `nobody`, in a child: a device of group dialout is out of reach, and the line says so."""
    if os.getuid() != 0:
        pytest.skip("only root can pose as another user")
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "ttyX"
        device.touch()
        os.chown(device, 0, grp.getgrnam("dialout").gr_gid)
        device.chmod(0o660)
        Path(folder).chmod(0o755)
        code = (
            "import os, pathlib; from gateway.doctor import device_rights;"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
            f"print(device_rights(pathlib.Path({str(device)!r}), 'test').mend)"
        )
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "sudo usermod -aG dialout nobody, then log out and in again\n"


def test_doctor_on_other_buses(tmp_path):
    (tmp_path / "sys/class/bluetooth/hci0").mkdir(parents=True)
    findings = {finding.check: finding for finding in other_buses(tmp_path)}
    assert (findings["ble"].state, findings["ble"].text) == ("ok", "hci0")
    assert findings["gpio"].text == "no GPIO chip is here"


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


def test_doctor_on_enrolment(tmp_path):
    assert enrolment(tmp_path).state == "note"
    (tmp_path / "enrolment.json").write_text("{}")
    assert enrolment(tmp_path).state == "ok"
