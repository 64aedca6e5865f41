"""record and replay: every kind of entry, the header, what is left out; a capture that plays a device."""

import asyncio
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import virtualtime
from ble_stand import BEACON, STRANGER, Address, Beacon, stand

from gateway.capture import Received, Sent, read_capture, read_header
from gateway.cli import main
from gateway.commands.ptyplay import PtyPlay
from gateway.commands.recording import Recording
from gateway.commands.scrub import Scrubber
from gateway.driver import Advertisement, Edge
from gateway.ports.replay import ReplayPort
from gateway.ports.url import parse_port
from gateway_drivers.rain_gauge import RainGauge, RainGaugeSettings
from gateway_hil.emulators.bthome import BthomeBeacon

GGA = b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries_of(path: Path) -> list:
    with path.open(encoding="ascii") as lines:
        return list(read_capture(lines, path.name))


def header_of(path: Path) -> dict[str, str]:
    with path.open(encoding="ascii") as lines:
        return read_header(lines, path.name)


def capture(path: Path, text: str) -> Path:
    path.write_text("# capture: 1\n" + text, encoding="ascii")
    return path


@pytest.mark.parametrize("scrub", [False, True])
def test_of_ble_only_the_sensor_is_recorded(folder, scrub) -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            with BthomeBeacon(it.air, address=STRANGER), BthomeBeacon(it.air):
                recording = Recording(folder / "a", {"driver": "bthome"}, Scrubber() if scrub else None)
                await recording.run(it.port, 5, "recording")
                recording.close()

    virtualtime.run(scene())
    frames = [entry.what for entry in entries_of(folder / "a")]
    assert len(frames) >= 5
    assert {type(frame) for frame in frames} == {Advertisement}
    assert {frame.address for frame in frames} == {"02:00:00:00:00:01" if scrub else BEACON}
    assert STRANGER not in (folder / "a").read_text()


def test_edges_are_recorded_as_they_came(folder) -> None:
    text = "0.000000 level RAIN 1\n0.010000 edge RAIN 0 lost 2\n0.020000 edge RAIN 1\n"
    source = capture(folder / "rain", "# driver: rain-gauge\n" + text)
    driver = RainGauge(RainGaugeSettings("RAIN"))
    recording = Recording(folder / "new/folder/a", {}, None)
    asyncio.run(recording.run(ReplayPort(parse_port(f"replay:{source}"), "gpio", driver), 0.2, "recording"))
    recording.close()
    assert [e.what for e in entries_of(folder / "new/folder/a")] == [e.what for e in entries_of(source)]
    assert isinstance(entries_of(source)[1].what, Edge)


def test_a_copy_is_scrubbed_and_says_so(folder, capsys) -> None:
    sample = GGA.decode().replace("\r\n", "\\r\\n")
    header = "# driver: gps-nmea\n# by: jo on laptop-7\n# where: here\n# serial: 12\n"
    capture(folder / "old", f'{header}0.5 > b56201\n1.25 < "{sample[:40]}"\n1.5 < "{sample[40:]}"\n')
    assert main(["record", "replay:old", "new", "--scrub", "--where", "a mast", "--device", "BU-353"]) == 0
    assert capsys.readouterr().err == f"{len(GGA)} bytes in 3 entries\n"
    found = header_of(folder / "new")
    assert found.pop("when")
    assert found == {
        "driver": "gps-nmea",
        "device": "BU-353",
        "where": "a mast",
        "serial": "12",
        "scrubbed": "coordinates in NMEA and UBX cut to 0.1 degree",
    }
    assert [entry.at_ns for entry in entries_of(folder / "new")] == [5 * 10**8, 125 * 10**7, 15 * 10**8]
    assert "5321" not in (folder / "new").read_text()
    assert "5318.0000,N,00630.0000,W" in (folder / "new").read_text().replace('"\n1.500000 < "', "")


def test_a_copy_without_scrub_is_the_same(folder) -> None:
    capture(folder / "old", "# driver: x\n# when: then\n0.500000 adv A4:C1:38:00:00:01 -61 fcd2=40\n")
    assert main(["record", "replay:old", "new"]) == 0
    assert (folder / "new").read_text() == (folder / "old").read_text()


def test_neither_user_nor_host_is_in_the_header(folder, monkeypatch) -> None:
    monkeypatch.setenv("USER", "surely-not-there")
    capture(folder / "old", "0.5 < 00\n")
    assert main(["record", "replay:old", "new", "--by", "A. Tech"]) == 0
    assert header_of(folder / "new").keys() == {"when", "by"}


@pytest.mark.slow
def test_on_a_terminal_it_asks_for_what_is_missing_only(folder) -> None:
    capture(folder / "old", "# device: known\n0.5 < 00\n")
    master, slave = pty.openpty()
    command = [sys.executable, "-P", "-m", "gateway", "record", "replay:old", "new", "--where", "here"]
    os.write(master, b"1.2\n\n")
    done = subprocess.run(
        command, stdin=slave, capture_output=True, text=True, cwd=folder, timeout=30, check=False
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == 0, done.stderr
    assert [line for line in ("firmware", "recorded it", "known", "where it") if line in done.stderr] == [
        "firmware",
        "recorded it",
    ]
    found = header_of(folder / "new")
    assert (found["device"], found["firmware"], found["where"]) == ("known", "1.2", "here")
    assert "by" not in found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["replay:nothing", "new"], "nothing is no capture"),
        (["ble:hci0", "new", "--driver", "bthome"], "needs the setting 'address'"),
        (["ble:hci0", "new", "--driver", "sds011"], "a serial driver cannot read a ble port"),
        (["serial:/dev/x", "new", "--driver", "microphone"], "a alsa driver cannot read a serial port"),
        (["rtsp://camera/1", "new"], "never sound or images"),
    ],
)
def test_what_cannot_be_recorded_is_said_and_leaves_no_file(folder, capsys, words, text) -> None:
    assert main(["record", *words]) == 1
    assert text in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_replay_decodes_with_the_driver_of_the_header(folder, capsys) -> None:
    capture(folder / "a", "# driver: sds011\n0.25 < aac0d4043a0aa1601dab\n")
    assert main(["replay", "a", "--decode", "--speed", "max"]) == 0
    assert capsys.readouterr().out.split()[:6] == ["0.250000", "s", "pm2_5", "123.6", "ug/m3", "pm10"]
    capture(folder / "b", "0.25 < aac0d4043a0aa1601dab\n")
    assert main(["replay", "b", "--decode"]) == 1
    assert "names no driver; name one with --driver" in capsys.readouterr().err


@pytest.fixture
def device(folder: Path) -> Iterator[tuple[PtyPlay, int]]:
    """A capture with two questions, as a device at `link`; and that port, open."""
    path = capture(
        folder / "a",
        '0.0 < "ready\\n"\n1.0 > "ask 1\\n"\n1.02 < "one\\n"\n2.0 > "ask 2\\n"\n2.02 < "two\\n"\n',
    )
    with PtyPlay(path, folder / "link", 10.0) as play:
        port = os.open(folder / "link", os.O_RDWR | os.O_NOCTTY)
        playing = threading.Thread(target=play.play)
        playing.start()
        try:
            yield play, port
        finally:
            os.close(port)
            playing.join(5)
    assert not playing.is_alive()
    assert not (folder / "link").exists()


def heard(port: int, size: int) -> bytes:
    octets = b""
    while len(octets) < size and select.select([port], [], [], 5)[0]:
        octets += os.read(port, size - len(octets))
    return octets


def test_a_capture_answers_what_it_was_asked(device) -> None:
    play, port = device
    assert heard(port, 6) == b"ready\n"
    assert not select.select([port], [], [], 0.3)[0]  # it was asked nothing, long after the answer's time
    os.write(port, b"ask 1\n")
    assert heard(port, 4) == b"one\n"
    os.write(port, b"ask 2\n")
    assert heard(port, 4) == b"two\n"
    assert (play.answered, play.other_questions, play.unread) == (2, 0, 0)


def test_another_question_is_told_and_answered(device, capfd) -> None:
    play, port = device
    assert heard(port, 6) == b"ready\n"
    os.write(port, b"ask 9\nask 2\n")
    assert heard(port, 8) == b"one\ntwo\n"
    assert (play.answered, play.other_questions) == (1, 1)
    assert "asked 61736b20390a, recorded was 61736b20310a" in capfd.readouterr().err


def test_a_capture_without_bytes_is_no_serial_device(folder, capsys) -> None:
    capture(folder / "a", "0.0 edge DOOR 1\n")
    assert main(["replay", "a", "--pty", "link"]) == 1
    assert "has no bytes of a serial line; the port replay:a plays it to a box" in capsys.readouterr().err


@pytest.mark.slow
def test_a_polled_device_is_recorded_with_its_questions(folder) -> None:
    path = capture(folder / "a", "".join(f"{n} > a00105a6\n{n}.02 < a00101a2\n" for n in range(1, 2)))
    with PtyPlay(path, folder / "link", None) as play:
        playing = threading.Thread(target=play.play)
        playing.start()
        command = ["record", f"serial:{folder}/link", "new", "--driver", "relay-lamp", "--seconds", "1"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway", *command],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        playing.join(5)
    assert not playing.is_alive()
    assert done.returncode == 0, done.stderr
    found = entries_of(folder / "new")
    assert Sent(bytes.fromhex("a00105a6")) in [entry.what for entry in found]
    assert Received(bytes.fromhex("a00101a2")) in [entry.what for entry in found]
    assert header_of(folder / "new")["driver"] == "relay-lamp"
