"""Replays: every kind of frame, paced, looped, live; and files that do not fit."""

import struct
import time
import wave
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line_drivers import AddressSettings, Beacon, Contact, LineSettings, Number, Packets
from loops import in_loop

from gateway.driver import Advertisement, Driver, Edge
from gateway.errors import BadFrame, ConfigError, PortGone
from gateway.media import AudioDriver, Block, Image, VideoDriver
from gateway.plan import PortPlan
from gateway.ports import Port, open_port
from gateway.ports.replay_media import picture_size
from gateway.reading import Measure, Values

CAPTURE = """# capture: 1
0 < "1\\n2"
0.01 > "?"
0.02 < "2\\n"
0.03 edge door 1
0.04 adv A4:C1:38:00:00:01 -61 fcd2=05
0.06 < "3\\n"
"""


class Ear(AudioDriver):
    """Blocks of 10 ms."""

    block_ms = 10
    emits = (Measure("level", "dB[FS]"),)

    def decode(self, frame: Block) -> Values | None:
        return None


class Eye(VideoDriver):
    """Pictures."""

    emits = (Measure("brightness", "%"),)

    def decode(self, frame: Any) -> Values | None:
        return None


def replay(file: Path, driver: Driver, options: str = "speed=max") -> Port:
    return open_port(PortPlan(0, f"replay:{file}?{options}", driver.kind, ()), [driver])


async def take(port: Port, count: int) -> list[tuple[int, Any]]:
    await port.open()
    async with aclosing(port.frames()) as frames:
        return [await anext(frames) for _ in range(count)]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    file = tmp_path / "bus.capture"
    file.write_text(CAPTURE)
    return file


@in_loop
async def test_bytes_of_a_capture_are_framed_and_keep_their_times(capture: Path) -> None:
    port = replay(capture, Number())
    got = await take(port, 3)
    assert [frame for _, frame in got] == [b"1", b"22", b"3"]
    assert [t_ns - got[0][0] for t_ns, _ in got] == [0, 20_000_000, 60_000_000]
    assert port.counters["other_entries"] == 2


@in_loop
async def test_advertisements_and_edges_come_from_captures(capture: Path) -> None:
    [(_, advertisement)] = await take(replay(capture, Beacon(AddressSettings("A4:C1:38:00:00:01"))), 1)
    assert isinstance(advertisement, Advertisement)
    assert advertisement.rssi == -61
    [(_, edge)] = await take(replay(capture, Contact(LineSettings("door"))), 1)
    assert edge == Edge("door", True)


@in_loop
async def test_recorded_speed_is_kept(capture: Path) -> None:
    before = time.monotonic_ns()
    got = await take(replay(capture, Number(), "speed=1"), 3)
    after = time.monotonic_ns()
    assert before <= got[0][0]
    assert got[2][0] <= after
    assert after - before >= 60_000_000


@in_loop
async def test_a_faster_replay_gives_the_same_times_sooner(tmp_path: Path) -> None:
    minute = tmp_path / "minute.capture"
    minute.write_text('# capture: 1\n0 < "1\\n"\n60 < "2\\n"\n')
    got = await take(replay(minute, Number(), "speed=1000"), 2)
    assert got[1][0] - got[0][0] == 60 * 10**9
    assert time.monotonic_ns() < got[1][0]


@in_loop
async def test_a_live_replay_misses_what_has_passed(capture: Path) -> None:
    start = time.monotonic_ns() - 30_000_000
    [(t_ns, frame)] = await take(replay(capture, Number(), f"start={start}"), 1)
    assert (t_ns, frame) == (start + 60_000_000, b"3")


@in_loop
async def test_a_loop_begins_again_after_the_mean_pause(capture: Path) -> None:
    got = await take(replay(capture, Number(), "speed=max&loop=1"), 5)
    assert [frame for _, frame in got] == [b"1", b"22", b"3", b"1", b"22"]
    assert got[3][0] - got[0][0] == 60_000_000 + 60_000_000 // 5


@in_loop
async def test_a_live_loop_is_taken_up_in_its_present_lap(capture: Path) -> None:
    start = time.monotonic_ns() - 10 * 72_000_000 - 15_000_000
    got = await take(replay(capture, Number(), f"start={start}&loop=1"), 3)
    # The half line before this place is missed, so the entry that ended it leaves its other half.
    assert got == [
        (start + 10 * 72_000_000 + 20_000_000, b"2"),
        (start + 10 * 72_000_000 + 60_000_000, b"3"),
        (start + 11 * 72_000_000, b"1"),
    ]


@in_loop
async def test_a_log_without_times_comes_at_an_even_rate(tmp_path: Path) -> None:
    log = tmp_path / "gps.nmea"
    log.write_bytes(b"# a log of another program\r\n$A\r\n\r\n$B\n$C")
    got = await take(replay(log, Number(), "speed=max&rate=4"), 4)
    assert [frame for _, frame in got] == [b"# a log of another program", b"$A", b"$B", b"$C"]
    assert [t_ns - got[0][0] for t_ns, _ in got] == [0, 250_000_000, 500_000_000, 750_000_000]


@in_loop
async def test_raw_packets_loop_and_half_ones_are_dropped(tmp_path: Path) -> None:
    dump = tmp_path / "dump.bin"
    dump.write_bytes(b"\xaa\x01\x02\x03\xaa\x07\x00\x07\xaa\x00\x0a")
    got = await take(replay(dump, Packets(), "speed=max&rate=10&loop=1"), 3)
    assert [frame[1] for _, frame in got] == [1, 7, 1]
    assert got[2][0] - got[0][0] == 200_000_000


def write_wav(path: Path, rate_hz: int, pcm: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())


@in_loop
async def test_sound_comes_in_blocks_with_the_time_of_their_first_sample(tmp_path: Path) -> None:
    pcm = np.arange(2 * 250, dtype=np.int16).reshape(250, 2)
    write_wav(tmp_path / "a.wav", 8000, pcm)
    got = await take(replay(tmp_path / "a.wav", Ear(), "speed=max&loop=1"), 5)
    blocks = [block for _, block in got]
    assert [len(block.pcm) for block in blocks] == [80, 80, 80, 10, 80]
    assert np.array_equal(np.concatenate([block.pcm for block in blocks[:4]]), pcm[:, :1])
    assert [block.first for block in blocks] == [0, 80, 160, 240, 250]
    assert [block.t_ns - blocks[0].t_ns for block in blocks] == [0, 10**7, 2 * 10**7, 3 * 10**7, 31_250_000]
    assert all(t_ns == block.t_ns and block.rate_hz == 8000 for t_ns, block in got)


@in_loop
async def test_live_sound_is_given_out_when_its_last_sample_has_passed(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 8000, np.zeros((8000, 1), np.int16))
    start = time.monotonic_ns() - 95_000_000
    [(t_ns, block)] = await take(replay(tmp_path / "a.wav", Ear(), f"start={start}"), 1)
    assert time.monotonic_ns() >= t_ns + 10_000_000
    assert (t_ns - start) % 10_000_000 == 0
    assert t_ns - start >= 95_000_000
    assert block.first == (t_ns - start) // 125_000


@in_loop
async def test_images_come_from_a_folder_in_order(tmp_path: Path) -> None:
    bmp = b"BM" + bytes(16) + struct.pack("<ii", 4, -3) + bytes(10)
    (tmp_path / "2.bmp").write_bytes(bmp)
    (tmp_path / "1.JPG").write_bytes(b"\xff\xd8 cut")
    (tmp_path / "notes.txt").write_text("no picture")
    got = await take(replay(tmp_path, Eye(), "speed=max&fps=10&loop=1"), 3)
    begin = got[0][0]
    assert [image for _, image in got[:2]] == [
        Image(begin, "jpeg", 0, 0, b"\xff\xd8 cut"),
        Image(begin + 10**8, "bmp", 4, 3, bmp),
    ]
    assert got[2][0] == begin + 2 * 10**8


def test_the_size_of_a_jpeg_is_in_its_start_of_frame() -> None:
    app0 = b"\xff\xe0\x00\x04ab"
    frame = b"\xff\xff\xc2\x00\x0b\x08" + struct.pack(">HH", 480, 640) + bytes(4)
    assert picture_size(b"\xff\xd8" + app0 + frame, "jpeg") == (640, 480)


@pytest.mark.parametrize("octets", [b"", b"\xff\xd8", b"\xff\xd8\x00", b"\xff\xd8\xff\xe0\x00\x02", b"BM"])
def test_a_cut_picture_is_a_bad_frame(octets: bytes) -> None:
    for encoding in ("jpeg", "bmp"):
        with pytest.raises(BadFrame):
            picture_size(octets, encoding)


@in_loop
async def test_a_file_that_is_not_there_is_port_gone(tmp_path: Path) -> None:
    for driver in (Number(), Ear(), Eye()):
        with pytest.raises(PortGone, match="nowhere"):
            await replay(tmp_path / "nowhere", driver).open()


@in_loop
async def test_a_file_that_does_not_fit_is_a_config_error(tmp_path: Path, capture: Path) -> None:
    text = tmp_path / "text"
    text.write_text("words")
    write_wav(tmp_path / "a.wav", 8000, np.zeros((10, 1), np.int16))
    ear = Ear()
    ear.channels = 2
    for file, driver, words in [
        (text, Contact(LineSettings("door")), "gateway record"),
        (text, Ear(), "no sound file"),
        (tmp_path / "a.wav", ear, "channels"),
        (capture.parent, Number(), "cannot read"),
    ]:
        with pytest.raises((ConfigError, PortGone), match=words):
            await replay(file, driver).open()


@in_loop
async def test_a_recording_takes_no_bytes(capture: Path) -> None:
    with pytest.raises(PortGone, match="takes no bytes"):
        await replay(capture, Number()).send(Number(), b"x")
