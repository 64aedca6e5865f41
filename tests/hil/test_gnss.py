"""The emulated receiver's faults, and a real one's log, as the driver takes them; bytes at a wrong speed."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import BadFrame
from gateway_drivers.gps_nmea import GpsNmea
from gateway_hil.emulators import Gnss, GnssLog, Sds011
from gateway_hil.emulators.gnss_log import epochs
from gateway_hil.emulators.misheard import misheard

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Box:
    """A driver and its framing, fed by hand."""

    def __init__(self) -> None:
        self.driver = GpsNmea()
        self.framer = self.driver.framing.framer()
        self.bad = 0

    def take(self, octets: bytes) -> list[dict]:
        readings = []
        for frame in self.framer.feed(octets):
            try:
                values = self.driver.decode(frame)
            except BadFrame:
                self.bad += 1
                continue
            if values is not None:
                readings.append(dict(values))
        return readings


@pytest.fixture
def box() -> Box:
    return Box()


def learnt(box: Box, receiver: Gnss) -> None:
    """Until the driver knows how this receiver's epochs end."""
    for _ in range(3):
        box.take(receiver.packet())


def test_weeks_that_roll_over_are_noticed_and_heal(box: Box) -> None:
    receiver = Gnss(now=NOON, wander_m=0)
    learnt(box, receiver)
    receiver.roll_over()
    assert f"{receiver.now:%Y-%m-%d}" == "2007-04-08"
    (wrong,) = box.take(receiver.packet())
    assert "utc" not in wrong
    assert wrong["clock_wrong"] == 1
    assert wrong["lat"] == pytest.approx(receiver.lat, abs=1e-6)
    receiver.clock_step(1024 * 7 * 86_400)
    (right,) = box.take(receiver.packet())
    assert right["utc"] == receiver.now.timestamp()
    assert "clock_wrong" not in right


def test_a_receiver_that_starts_rolled_over_is_never_believed(box: Box) -> None:
    receiver = Gnss(now=NOON - timedelta(weeks=1024))
    readings = [reading for _ in range(5) for reading in box.take(receiver.packet())]
    assert len(readings) == 7
    assert not any("utc" in reading for reading in readings)
    assert all(reading["clock_wrong"] for reading in readings)


def test_a_leap_second_is_one_epoch_more_and_the_time_goes_on(box: Box) -> None:
    receiver = Gnss(now=datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC))
    receiver.leap_day = date(2026, 12, 31)
    clocks, times = [], []
    for _ in range(12):
        packet = receiver.packet()
        clocks += re.findall(rb"GGA,(\d+)", packet)
        times += [reading.get("utc") for reading in box.take(packet)[-1:]]
    assert clocks[7:] == [b"235958", b"235959", b"235960", b"000000", b"000001"]
    new_year = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert times[7:] == [new_year - 2, new_year - 1, None, new_year, new_year + 1]


def test_an_antenna_that_is_lost_and_found(box: Box) -> None:
    receiver = Gnss(now=NOON, wander_m=0)
    learnt(box, receiver)
    receiver.antenna_lost = True
    assert [reading["quality"] for reading in box.take(receiver.packet())] == [0]
    receiver.antenna_lost = False
    (found,) = box.take(receiver.packet())
    assert found["lat"] == pytest.approx(receiver.lat, abs=1e-6)


def test_a_position_that_drifts(box: Box) -> None:
    receiver = Gnss(now=NOON, wander_m=0, lat=0, lon=0)
    learnt(box, receiver)
    receiver.drift = (2.0, -1.0)
    for _ in range(100):
        (reading,) = box.take(receiver.packet())
    assert reading["lat"] * 111_320 == pytest.approx(200, abs=0.1)
    assert reading["lon"] * 111_320 == pytest.approx(-100, abs=0.1)


def test_a_log_is_cut_where_the_time_of_day_changes(tmp_path: Path, box: Box) -> None:
    receiver = Gnss(now=NOON)
    packets = [receiver.packet() for _ in range(3)]
    log = tmp_path / "log"
    log.write_bytes(b"# Name: made up\n" + b"".join(packets))
    player = GnssLog(log=log)
    assert [player.packet() for _ in range(4)] == [*packets, packets[0]]
    (tmp_path / "empty").write_bytes(b"# nothing\n")
    with pytest.raises(ValueError, match="no NMEA"):
        GnssLog(log=tmp_path / "empty")


@pytest.mark.slow
def test_real_receivers_are_played_byte_by_byte(data_folder: Path) -> None:
    for path in sorted((data_folder / "nmea").glob("*.log")):
        log = path.read_bytes()
        cut = list(epochs(log))
        comments = b"".join(line for line in log.splitlines(keepends=True) if line.startswith(b"#"))
        assert sum(map(len, cut)) == len(log) - len(comments)
    player = GnssLog(log=data_folder / "nmea" / "neo-m8n.log")
    box = Box()
    readings = [reading for _ in range(20) for reading in box.take(player.packet())]
    assert len(readings) >= 19
    assert all("lat" in reading for reading in readings)


@given(st.binary(max_size=60), st.sampled_from([4800, 9600, 115_200]))
def test_the_right_speed_changes_nothing(octets: bytes, baud: int) -> None:
    assert misheard(octets, baud, baud) == octets
    assert misheard(octets, baud, baud * 101 // 100) == octets  # a crystal may be a per cent off


@given(st.binary(max_size=60), st.integers(300, 460_800), st.integers(300, 460_800))
def test_any_speed_gives_some_bytes_and_an_end(octets: bytes, sent: int, heard: int) -> None:
    assert len(misheard(octets, sent, heard)) <= 6 + 6 * len(octets) * max(1, heard / sent)


def test_speeds_as_a_scope_shows_them() -> None:
    # U is a square wave. At twice its speed each bit is two; the tenth is no stop bit but low, and the next
    # falling edge begins a second byte, whose end is the line at rest.
    assert misheard(b"U", 9600, 19_200) == bytes([0b01100110, 0b11100110])
    assert misheard(b"\x00", 4800, 9600) == b"\x00"  # a long low: one byte without a stop bit
    assert (
        misheard(b"\xff", 9600, 4800) == b"\xff"
    )  # only its start bit is low, and too short to be seen twice


def test_a_receiver_at_the_wrong_speed_gives_no_reading(box: Box) -> None:
    receiver = Gnss(now=NOON)
    for baud in (4800, 19_200, 38_400, 115_200):
        for _ in range(5):
            assert box.take(misheard(receiver.packet(), baud, 9600)) == []


def test_a_line_that_loses_bytes_loses_about_as_many_as_asked() -> None:
    dust = Sds011(seed=1)
    dust.dropout(0.1)
    left = sum(len(dust._sent_of(dust.packet())) for _ in range(1000))
    assert left == pytest.approx(9000, rel=0.03)
    dust.dropout(0)
    assert len(dust._sent_of(dust.packet())) == 10
