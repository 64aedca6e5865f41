"""Each command of the box, run as a person runs it."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgpack
import pytest

from gateway.capture import Received, read_capture
from gateway.cli import main
from gateway.commands.init import starter
from gateway.config import read_site
from gateway.plan import SpoolPlan

SITE = """\
box = "elm"
state = "state"
[sensor.lamp]
driver = "relay-lamp"
port = "serial:/dev/nothing-here"
"""
PACKET = bytes.fromhex("aac0d4043a0aa1601dab")  # SDS011: PM2.5 123.6, PM10 261.8 ug/m3


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_SITE", raising=False)
    return tmp_path


# init, check, run


def test_init_writes_a_site_that_is_right(folder, capsys):
    assert main(["init", "here", "--box", "elm-7"]) == 0
    plan = read_site(folder / "here" / "site.toml")
    assert (plan.box, plan.state, plan.ports) == ("elm-7", folder / "here" / "state", ())
    assert stat.S_IMODE(plan.state.stat().st_mode) == 0o700
    assert main(["init", "here"]) == 1
    assert capsys.readouterr().err == "here/site.toml is already there; edit it, or name another folder\n"


def test_every_line_a_starter_proposes_is_right_once_it_is_wanted(folder):
    (folder / "street.flac").touch()
    wanted = []
    for line in starter("elm").split("\n"):
        text = line.removeprefix("# ")
        wanted.append(text if text.startswith(("[", "driver", "port", "stages", "quota")) else line)
    (folder / "site.toml").write_text("\n".join(wanted))
    plan = read_site(folder / "site.toml")
    assert [s.name for s in plan.sensors] == ["air", "gps", "mic-north"]
    # throttle takes readings: behind a model it would look as if it limited events.
    assert [s.factory.partition(":")[2] for s in plan.sensors[2].stages] == [
        "Throttle",
        "Onset",
        "Model",
    ]
    assert plan.spool == SpoolPlan()


def test_init_refuses_a_name_no_hub_would_take(folder, capsys):
    assert main(["init", "--box", "Elm Street"]) == 1
    assert "must be 1 to 32 of a-z" in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_init_where_nothing_can_be_written_or_run_names_what_to_do(folder, capsys):
    assert main(["init", "/proc/1"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cannot write in /proc/1 (")
    assert err.endswith("); name a folder of yours, like: gateway init ~/pole\n")
    assert main(["init", "d" * 100]) == 1
    assert "is too long for a socket" in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_check_says_what_a_site_means(folder, capsys):
    (folder / "site.toml").write_text(SITE)
    assert main(["check"]) == 0
    assert capsys.readouterr().out.split("\n")[:4] == [
        f"site.toml is right: box elm, 1 sensor on 1 port, state in {folder}/state",
        "  port 0: serial:/dev/nothing-here",
        "    sensor 1: lamp (relay-lamp): lamp_on bool, lamp_told %, lamp_source 1",
        "      commands: on, off, dim, flash, auto",
    ]
    assert sorted(p.name for p in folder.iterdir()) == ["site.toml"]  # nothing was kept


@pytest.mark.slow
def test_check_and_run_stop_at_the_same_errors(folder, capsys):
    (folder / "site.toml").write_text(SITE.replace("relay-lamp", "relay-lam"))
    for command in ("check", "run"):
        assert main([command]) == 1
        assert (
            capsys.readouterr().err
            == "site.toml:4:10: there is no driver 'relay-lam'; did you mean 'relay-lamp'?\n"
        )


@pytest.mark.slow
def test_the_schema_is_json_and_fits_the_starter(folder, capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["required"] == ["box", "state"]
    assert schema["additionalProperties"] is False


@pytest.mark.slow
def test_drivers_lists_measures_with_units(capsys):
    assert main(["drivers"]) == 0
    out = capsys.readouterr().out
    assert "sds011  (pole-gateway" in out
    assert "    measures: pm2_5 ug/m3, pm10 ug/m3\n" in out
    assert main(["drivers", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["kind"] for row in rows} >= {"serial", "ble", "alsa"}


# decode


def test_decode_shows_values_with_their_time(folder, capsys):
    noise = b"\xaa\xc0\x00" + PACKET
    lines = ["# capture: 1", f"0.5 < {PACKET[:4].hex()}", f"1.25 < {PACKET[4:].hex()}", f"2 < {noise.hex()}"]
    (folder / "a.capture").write_text("\n".join(lines))
    assert main(["decode", "sds011", "a.capture", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows == [
        {"time_s": 1.25, "pm2_5": 123.6, "pm10": 261.8},
        {"time_s": 2.0, "pm2_5": 123.6, "pm10": 261.8},
    ]
    assert err == "2 frames: 2 with values, 0 without, 0 bad; 3 bytes were no part of a frame\n"
    assert main(["decode", "sds011", "a.capture"]) == 0
    assert capsys.readouterr().out.split("\n")[0] == "    1.250000 s  pm2_5 123.6 ug/m3  pm10 261.8 ug/m3"


def test_decode_reads_raw_nmea_and_gives_positions(folder, capsys):
    good = "$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n"
    (folder / "log.nmea").write_text(good + good.replace("5321", "5421"), encoding="ascii")
    assert main(["decode", "gps-nmea", "log.nmea", "--json"]) == 0
    out, err = capsys.readouterr()
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert (row["lat"], row["lon"]) == pytest.approx((53.361336667, -6.50562), abs=1e-7)
    assert "time_s" not in row
    assert err.startswith("frame 2 is bad: ")


def test_decode_of_the_wrong_driver_fails(folder, capsys):
    (folder / "log").write_bytes(b"\x00\x01\x02" * 50)
    assert main(["decode", "sds011", "log"]) == 1
    assert "0 frames" in capsys.readouterr().err


def test_decode_takes_advertisements_of_every_address(folder, capsys):
    lines = [
        "# capture: 1",
        "0 adv A4:C1:38:00:00:01 -61 fcd2=40016102ca09",
        "1 adv A4:C1:38:00:00:02 -70 fcd2=40016002cb09",
    ]
    (folder / "a.capture").write_text("\n".join(lines))
    assert main(["decode", "bthome", "a.capture", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["address"] for row in rows] == ["A4:C1:38:00:00:01", "A4:C1:38:00:00:02"]
    assert [row["temperature"] for row in rows] == [25.06, 25.07]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sds011", "none"], "there is no file none\n"),
        (["sds01", "site.toml"], "there is no driver 'sds01'; did you mean 'sds011'?\n"),
        (
            ["gps-nmea", "site.toml", "--set", "survey=maybe"],
            'survey must be true or false, not "maybe" (--set KEY=VALUE)\n',
        ),
        (["gps-nmea", "site.toml", "--set", "survey"], "--set 'survey': write KEY=VALUE\n"),
        (["bthome", "site.toml"], "site.toml is no capture; ble ports replay captures"),
    ],
)
def test_decode_s_errors(folder, capsys, words, text):
    (folder / "site.toml").write_text(SITE)
    assert main(["decode", *words]) == 1
    assert text in capsys.readouterr().err


def test_every_recorded_nmea_log_can_be_decoded(data_folder, capsys):
    log = data_folder / "nmea" / "bu353s4.log"
    assert main(["decode", "gps-nmea", str(log), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any({"lat", "lon"} <= row.keys() for row in rows)


# record, replay


@pytest.mark.slow
def test_what_is_recorded_is_what_was_sent(folder):
    master, slave = pty.openpty()
    command = [
        sys.executable,
        "-P",
        "-m",
        "gateway.cli",
        "record",
        f"serial:{os.ttyname(slave)}",
        "a.capture",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as recorder:
        assert recorder.stderr is not None
        assert "recording" in recorder.stderr.readline()
        capture = folder / "a.capture"
        # The recorder flushes what came before it opened, so send until it has heard something.
        while len(capture.read_text().splitlines()) < 6:
            os.write(master, PACKET)
            select_briefly(recorder)
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(10) == 0
        assert "bytes in" in recorder.stderr.read()
    os.close(master)
    os.close(slave)
    with capture.open() as file:
        entries = list(read_capture(file, "a.capture"))
    received = b"".join(e.what.octets for e in entries if isinstance(e.what, Received))
    assert received == PACKET * (len(received) // len(PACKET))
    assert [e.at_ns for e in entries] == sorted(e.at_ns for e in entries)


def select_briefly(process: subprocess.Popen[str]) -> None:
    """Wait for the process to do something, for at most a twentieth of a second."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError("it ended by itself")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("serial:/dev/nothing-here", "/dev/nothing-here is not there; check the plug"),
        ("serial:/dev/ttyUSB0", "this name goes to whichever adapter was found first"),
        ("ble:hci0", "ble:hci0 needs --driver"),
        ("alsa:usb-0d8c:0014", "is not recorded: captures are of serial, BLE and GPIO, never sound"),
    ],
)
def test_record_s_errors_leave_no_file(folder, capsys, source, text):
    assert main(["record", source, "a.capture"]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert "recording" not in err  # it never began
    assert not list(folder.iterdir())


def test_record_never_overwrites(folder, capsys):
    (folder / "a.capture").write_text("precious")
    assert main(["record", "serial:/dev/nothing-here", "a.capture"]) == 1
    assert capsys.readouterr().err == "a.capture is already there; name another file\n"
    assert (folder / "a.capture").read_text() == "precious"


def test_replay_shows_a_capture_in_its_own_words(folder, capsys):
    text = '# capture: 1\n# driver: sds011\n0.000000 < "hello\\r\\n"\n0.750000 < "x"\n0.800000 > "y"\n'
    (folder / "a.capture").write_text(text)
    assert main(["replay", "a.capture", "--speed", "max"]) == 0
    out, err = capsys.readouterr()
    assert out == text
    assert err == "a.capture: 3 entries in 0.800 s; longest pause 0.750 s, at 0.000 s\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("hello\n", "a.capture:1: the first line of a capture is '# capture: 1', this is 'hello'\n"),
        ("# capture: 1\n", "a.capture is a capture without a single entry\n"),
    ],
)
def test_replay_s_errors(folder, capsys, text, error):
    (folder / "a.capture").write_text(text)
    assert main(["replay", "a.capture"]) == 1
    assert capsys.readouterr().err == error


def test_replay_s_speed_is_a_factor(capsys):
    with pytest.raises(SystemExit):
        main(["replay", "a.capture", "--speed", "banana"])
    assert "'banana' is no factor; write one like 1 or 10, or \"max\"" in capsys.readouterr().err


# command


@pytest.fixture
def box(folder) -> Path:
    """A state folder with a plan in it; the socket of the lamp's worker is returned."""
    (folder / "site.toml").write_text(SITE)
    plan = read_site(folder / "site.toml")
    (plan.state / "run").mkdir(parents=True)
    plan.save(plan.state / "plan.json")
    return plan.state / "run" / "port-0.sock"


def answering(path: Path, answer: bytes) -> tuple[threading.Thread, list[object]]:
    """A worker that takes one request and answers it."""
    heard: list[object] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client:
            heard.append(msgpack.unpackb(client.recv(4096)))
            if answer:
                client.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, heard


@pytest.mark.parametrize(
    ("answer", "status", "out", "err"),
    [
        (msgpack.packb([True, "lamp is on"]), 0, "lamp is on\n", ""),
        (msgpack.packb([False, "the lamp does not answer"]), 1, "the lamp does not answer\n", ""),
        (b"", 1, "", "the worker of 'lamp' stopped while it was asked; see its log\n"),
    ],
)
def test_a_command_goes_to_the_worker_and_its_answer_comes_back(box, capsys, answer, status, out, err):
    thread, heard = answering(box, answer)
    assert main(["command", "lamp", "on", "level=0.5"]) == status
    thread.join(5)
    assert heard == [[1, "on", {"level": 0.5}]]
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["lampe", "on"], "there is no sensor 'lampe'; did you mean 'lamp'?"),
        (["lamp", "of"], "sensor 'lamp' has no command 'of'; did you mean 'off'?"),
        (["lamp", "on", "level"], "'level' is no KEY=NUMBER; write it like level=0.5"),
        (["lamp", "on", "level=high"], "'level=high' is no KEY=NUMBER; write it like level=0.5"),
        (["lamp", "on"], "nothing serves 'lamp' at the moment"),
    ],
)
def test_command_s_errors(box, capsys, words, text):
    assert main(["command", *words]) == 1
    assert capsys.readouterr().err.startswith(text)


def test_a_command_before_the_box_ever_ran(folder, capsys):
    (folder / "site.toml").write_text(SITE)
    assert main(["command", "lamp", "on"]) == 1
    assert (
        capsys.readouterr().err == f"there is no plan at {folder}/state/plan.json; run `gateway run SITE`\n"
    )
