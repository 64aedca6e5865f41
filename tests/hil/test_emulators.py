"""Emulators and drivers were written apart from the same documents; here they must understand each other."""

import contextlib
import itertools
import os
import select
import signal
import statistics
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capture import read_capture
from gateway.driver import BadFrame, SerialDriver
from gateway_drivers.bthome import Bthome, BthomeSettings
from gateway_drivers.gps_nmea import GpsNmea
from gateway_drivers.gy39 import Gy39 as Gy39Driver
from gateway_drivers.relay_lamp import RelayLamp as RelayLampDriver
from gateway_drivers.relay_lamp import RelayLampSettings
from gateway_drivers.sds011 import Sds011 as Sds011Driver
from gateway_hil.emulators import BthomeThermometer, Gnss, Gy39, RelayLamp, Sds011, SerialEmulator
from gateway_hil.emulators.__main__ import main
from gateway_hil.emulators.bthome import write_capture


def test_help_lists_every_emulator(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in ("gnss", "gy39", "relay-lamp", "sds011", "bthome"))


LIMIT_S = 5.0  # for what must come; what must not come is waited for much less


def readings_in(driver: SerialDriver, octets: bytes) -> list[dict]:
    """What the driver makes of bytes of which none may be lost."""
    framer = driver.framing.framer()
    readings = [dict(values) for frame in framer.feed(octets) if (values := driver.decode(frame)) is not None]
    assert (framer.skipped, framer.bad) == (0, 0)
    return readings


class Reader:
    """The box's side: an open port, its framing and its driver."""

    def __init__(self, path: Path, driver: SerialDriver) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        self.driver = driver
        self.framer = driver.framing.framer()
        self.chunks: list[bytes] = []

    def send(self, octets: bytes) -> None:
        os.write(self.fd, octets)

    def readings(self, limit_s: float = LIMIT_S) -> Iterator[dict]:
        """Readings as they come, until none comes for `limit_s`. Raises OSError when the port is gone."""
        while select.select([self.fd], [], [], limit_s)[0]:
            chunk = os.read(self.fd, 4096)
            if not chunk:
                raise OSError("hung up")
            self.chunks.append(chunk)
            for frame in self.framer.feed(chunk):
                with contextlib.suppress(BadFrame):
                    values = self.driver.decode(frame)
                    if values is not None:
                        yield dict(values)


@contextlib.contextmanager
def opened(emulator: SerialEmulator, driver: SerialDriver) -> Iterator[Reader]:
    reader = Reader(emulator.path, driver)
    try:
        yield reader
    finally:
        os.close(reader.fd)


# the bytes


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_sds011_values_come_back(first: int, second: int) -> None:
    dust = Sds011()
    dust.pm2_5, dust.pm10, dust.wander = min(first, second) / 10, max(first, second) / 10, 0
    assert readings_in(Sds011Driver(), dust.packet()) == [{"pm2_5": dust.pm2_5, "pm10": dust.pm10}]


@given(
    st.integers(1, 18_800_000), st.integers(-4000, 8500), st.integers(0, 10_000), st.integers(30_000, 110_000)
)
def test_gy39_values_come_back(lux: int, celsius: int, humidity: int, pascal: int) -> None:
    module = Gy39()
    module.lux, module.celsius, module.humidity, module.pascal = (
        lux / 100,
        celsius / 100,
        humidity / 100,
        pascal,
    )
    module.flicker = 0
    assert readings_in(Gy39Driver(), module.packet()) == [
        {
            "illuminance": lux / 100,
            "temperature": celsius / 100,
            "humidity": humidity / 100,
            "pressure": pascal / 100,
        }
    ]


@settings(max_examples=20)
@given(st.floats(-89.9, 89.9), st.floats(-180, 180), st.floats(-400, 9000))
def test_gnss_position_comes_back(lat: float, lon: float, altitude: float) -> None:
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    before = new_year - timedelta(seconds=2)
    receiver = Gnss(lat=lat, lon=lon, altitude=altitude, wander_m=0, now=before)
    readings = readings_in(GpsNmea(), b"".join(receiver.packet() for _ in range(4)))
    # two epochs to learn that GGA comes last, then one reading each
    assert len(readings) == 6
    for reading in readings:
        assert reading["lat"] == pytest.approx(lat, abs=1e-7)
        assert reading["lon"] == pytest.approx(lon, abs=1e-7)
    assert [reading["utc"] - new_year.timestamp() for reading in readings] == [-1, -1, 0, 0, 1, 2]
    assert readings[-1]["altitude"] == pytest.approx(altitude, abs=0.051)
    assert (readings[-1]["quality"], readings[-1]["satellites"], readings[-1]["hdop"]) == (1, 8, 0.92)


def test_gnss_without_antenna_gives_no_position() -> None:
    receiver = Gnss()
    receiver.antenna_lost = True
    readings = readings_in(GpsNmea(), b"".join(receiver.packet() for _ in range(5)))
    assert readings[-1] == {"quality": 0, "satellites": 0}
    assert not [reading for reading in readings if "lat" in reading]


def test_gnss_wanders_as_far_as_asked() -> None:
    receiver, driver = Gnss(seed=3, lat=0.0, lon=0.0, wander_m=2.0), GpsNmea()
    north = [
        reading["lat"] * 111_320
        for reading in readings_in(driver, b"".join(receiver.packet() for _ in range(1_500)))
    ]
    rms = (sum(metres * metres for metres in north) / len(north)) ** 0.5
    assert 1.0 < rms < 4.0  # over five times its memory of 300 s: the estimate is rough
    steps = [abs(b - a) for a, b in itertools.pairwise(north)]
    assert max(steps) < 2.0


def test_relay_obeys_and_answers() -> None:
    lamp, driver = RelayLamp(), RelayLampDriver()
    assert readings_in(driver, lamp.heard(driver.ask)) == [{"lamp_on": False}]
    assert readings_in(driver, lamp.heard(driver.encode("on", {}))) == [{"lamp_on": True}]
    assert lamp.lamp_on
    half = driver.encode("off", {})
    assert lamp.heard(b"\x00\xa0" + half[:2]) == b""  # line noise, then a command in two halves
    assert readings_in(driver, lamp.heard(half[2:])) == [{"lamp_on": False}]


def test_an_old_relay_obeys_silently() -> None:
    lamp, driver = RelayLamp(feedback=False), RelayLampDriver(RelayLampSettings(feedback=False))
    assert lamp.heard(driver.encode("on", {}) + driver.ask) == b""
    assert lamp.lamp_on


def test_gy39_talks_when_greeted() -> None:
    module, driver = Gy39(mode=0), Gy39Driver()
    assert module.packet() == b""
    assert module.heard(driver.greet()) == b""
    assert len(readings_in(driver, module.packet())) == 1


def test_bthome_capture_gives_each_packet_once(tmp_path: Path) -> None:
    sensors = [BthomeThermometer(f"A4:C1:38:00:00:0{n}", seed=n) for n in (1, 2)]
    write_capture(tmp_path / "air.txt", 60, sensors)
    driver = Bthome(BthomeSettings(sensors[0].address, ("temperature", "humidity", "battery")))
    with (tmp_path / "air.txt").open() as lines:
        heard = [entry.what for entry in read_capture(lines, "air.txt")]
    ours = [advertisement for advertisement in heard if advertisement.address == sensors[0].address]
    readings = [values for advertisement in ours if (values := driver.decode(advertisement)) is not None]
    assert len(readings) == 13 < len(ours) < len(heard)
    assert readings[-1]["temperature"] == pytest.approx(sensors[0].temperature, abs=0.005)
    assert readings[-1]["humidity"] == pytest.approx(sensors[0].humidity, abs=0.005)
    assert readings[-1]["battery"] == 87


# the port and its faults


@pytest.mark.parametrize(
    ("emulator", "driver"),
    [(Gnss, GpsNmea), (Sds011, Sds011Driver), (Gy39, Gy39Driver)],
    ids=["gnss", "dust", "light"],
)
def test_through_a_pty(emulator: type[SerialEmulator], driver: type[SerialDriver]) -> None:
    with emulator(every_s=0.01) as device, opened(device, driver()) as reader:
        assert len([values for values, _ in zip(reader.readings(), range(3), strict=False)]) == 3
        assert reader.framer.skipped == 0


def test_a_command_through_a_pty() -> None:
    with RelayLamp() as lamp, opened(lamp, RelayLampDriver()) as reader:
        reader.send(reader.driver.encode("on", {}))
        assert next(reader.readings()) == {"lamp_on": True}
        assert lamp.lamp_on


def test_unplug_hangs_up_and_replug_is_a_new_pty_at_the_same_path() -> None:
    with Sds011(every_s=0.01) as dust, opened(dust, Sds011Driver()) as reader:
        stream = reader.readings()
        next(stream)
        before = os.ttyname(reader.fd)
        dust.unplug()
        with pytest.raises(OSError, match=r"hung up|Input/output"):
            list(stream)
        assert not os.path.lexists(dust.path)
        dust.unplug()  # twice is once
        dust.replug()  # while the reader still holds the dead one
        with opened(dust, Sds011Driver()) as again:
            assert os.ttyname(again.fd) != before
            assert "pm2_5" in next(again.readings())
    assert not os.path.lexists(dust.path)


def test_garbage_is_skipped_and_counted() -> None:
    with Sds011(every_s=0.01) as dust, opened(dust, Sds011Driver()) as reader:
        stream = reader.readings()
        next(stream)
        dust.garbage(500)
        while reader.framer.skipped < 400:
            next(stream)
        assert "pm10" in next(stream)


def test_stall_is_silence_until_it_ends() -> None:
    with Sds011(every_s=0.005) as dust, opened(dust, Sds011Driver()) as reader:
        next(reader.readings())
        dust.stall()
        list(reader.readings(0.1))  # ends only if nothing comes for 0.1 s, 20 packets
        dust.stall(False)
        assert "pm10" in next(reader.readings())


def test_drip_sends_single_bytes() -> None:
    with Sds011(every_s=0.05) as dust:
        dust.drip(0.002)
        with opened(dust, Sds011Driver()) as reader:
            assert len([values for values, _ in zip(reader.readings(), range(2), strict=False)]) == 2
            assert statistics.median(len(chunk) for chunk in reader.chunks) == 1
            assert reader.framer.skipped == 0


def test_a_stalled_device_takes_no_command() -> None:
    with RelayLamp() as lamp, opened(lamp, RelayLampDriver()) as reader:
        reader.send(reader.driver.encode("on", {}))
        next(reader.readings())
        lamp.stall()
        reader.send(reader.driver.encode("off", {}))
        assert list(reader.readings(0.05)) == []
        assert lamp.lamp_on


def test_bytes_that_drop_out_are_gone_until_it_ends() -> None:
    with Sds011(every_s=0.002, seed=1) as dust, opened(dust, Sds011Driver()) as reader:
        dust.dropout(0.2)
        while reader.framer.skipped < 200:
            next(reader.readings())
        dust.dropout(0)
        assert "pm10" in next(reader.readings())


def test_nothing_said_before_is_heard_by_who_opens_late() -> None:
    with Gnss(every_s=0.005, now=datetime(2026, 1, 1, tzinfo=UTC)) as receiver:
        deadline = time.monotonic() + LIMIT_S
        while receiver.lost < 5_000 and time.monotonic() < deadline:
            select.select([], [], [], 0.005)
        said_before = receiver.now.timestamp()
        with opened(receiver, GpsNmea()) as reader:
            assert next(reader.readings())["utc"] >= said_before


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("precious")
    with pytest.raises(FileExistsError, match="choose another"), Sds011(tmp_path / "port"):
        pass
    assert (tmp_path / "port").read_text() == "precious"


def test_a_script_that_is_wrong_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faults").write_text("at 2 s: bounce gnss 3 times\n")
    assert main(["gnss", "--link", str(tmp_path / "gps0"), "--faults", str(tmp_path / "faults")]) == 1
    assert "line 1: Gnss has no bounce" in capsys.readouterr().err
    assert not os.path.lexists(tmp_path / "gps0")


def test_an_emulator_of_ones_own_is_named_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faults").write_text("at 2 s: bounce gnss 3 times\n")
    mine = "gateway_hil.emulators.gnss:Gnss"
    assert main([mine, "--link", str(tmp_path / "gps0"), "--faults", str(tmp_path / "faults")]) == 1
    assert "line 1: Gnss has no bounce" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no_such_module:Vane", "no emulator no_such_module:Vane: No module named"),
        ("gateway_hil.emulators:Vane", "no emulator gateway_hil.emulators:Vane: module"),
        ("json:JSONDecoder", "json:JSONDecoder is no class derived from SerialEmulator"),
    ],
)
def test_an_emulator_that_is_not_there_is_said(
    place: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([place]) == 1
    assert said in capsys.readouterr().err


def test_who_calls_the_program_and_goes_on_can_still_be_terminated(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("precious")
    assert main(["sds011", "--link", str(tmp_path / "port")]) == 1
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.slow
def test_standing_alone(tmp_path: Path) -> None:
    link = tmp_path / "gps0"
    (tmp_path / "faults").write_text("at 0.2 s: unplug gnss for 0.1 s\n")
    command = [
        sys.executable,
        "-m",
        "gateway_hil.emulators",
        "gnss",
        "--link",
        str(link),
        "--every-s",
        "0.01",
        "--faults",
        str(tmp_path / "faults"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{link}\n"
        reader = Reader(link, GpsNmea())
        assert "lat" in next(reader.readings())
        with pytest.raises(OSError, match=r"hung up|Input/output"):
            list(reader.readings())
        os.close(reader.fd)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    assert not os.path.lexists(link)
