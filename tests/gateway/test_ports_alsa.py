"""Sound cards without one: which card a port means, blocks from chunks, and ALSA's own null device."""

import asyncio
import ctypes.util
import resource
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from annotated_types import Interval

from gateway.driver import Settings, Values
from gateway.errors import ConfigError, PortGone
from gateway.media import AudioDriver, Block
from gateway.plan import PortPlan
from gateway.ports import open_port
from gateway.ports.alsa import AlsaPort, late_ns
from gateway.ports.asound import CAPTURE, FORMATS, Pcm
from gateway.ports.sampleclock import SampleClock
from gateway.ports.soundblocks import Blocks, as_pcm
from gateway.ports.soundcards import SoundCard, cards, find_card, look
from gateway.ports.soundreader import WAITING_MAX, Chunk, SoundReader, Wish
from gateway.ports.url import parse_port
from gateway.ports.usb import UsbIdentity
from gateway.reading import Measure

HAS_ALSA = ctypes.util.find_library("asound") is not None
needs_alsa = pytest.mark.skipif(not HAS_ALSA, reason="libasound.so.2 is not installed (apt: libasound2)")
RATE_HZ = 48_000


@dataclass(frozen=True)
class EarSettings(Settings):
    rate_hz: Annotated[int, Interval(ge=8000, le=192_000)] = RATE_HZ


class Ear(AudioDriver):
    emits = (Measure("level", "dB[FS]"),)
    settings: EarSettings

    def rate_for(self) -> int:
        return self.settings.rate_hz

    def decode(self, frame: Block) -> Values | None:
        return None


class TwoEars(Ear):
    channels = 2


def usb_card(number: int, serial: str | None, socket: str) -> SoundCard:
    usb = UsbIdentity(0x1209, 3, serial, socket)
    return SoundCard(number, f"mic_{number}", "a microphone", "snd-usb-audio", usb, (0,))


BOARD = SoundCard(0, "sndrpii2s", "snd_rpi_i2s_card", "asoc-simple-card", None, (0, 2))


# --- which card ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["alsa:usb-1209:0003", "alsa:usb-1209:0003-MIC 1", "alsa:card/Loopback", "alsa:card/Loopback,1"]
)
def test_a_card_is_named_by_what_it_is(text: str) -> None:
    assert parse_port(text).place == text.removeprefix("alsa:")


@pytest.mark.parametrize(
    "text",
    ["alsa:hw:0,0", "alsa:0", "alsa:card/0", "alsa:card/", "alsa:card/A,x", "alsa:default", "alsa:usb-1:2"],
)
def test_a_card_by_its_number_is_refused_saying_how_to_write_it(text: str) -> None:
    with pytest.raises(ConfigError, match=r"alsa:usb-VID:PID.* or alsa:card/ID.*gateway scan"):
        parse_port(text)


def test_cards_are_read_from_sysfs_and_only_those_that_record(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    usb = tmp_path / "devices" / "usb1" / "1-1"
    (usb / "1-1:1.0").mkdir(parents=True)
    for name, text in (("idVendor", "1209"), ("idProduct", "0003"), ("serial", "MIC-1")):
        (usb / name).write_text(f"{text}\n")
    for number, name, nodes in (
        (0, "Loopback", ("pcmC0D0c", "pcmC0D1c", "pcmC0D1p")),
        (1, "HDMI", ("pcmC1D0p",)),
        (10, "microphone", ("pcmC10D0c",)),
    ):
        card = folder / f"card{number}"
        for node in nodes:
            (card / node).mkdir(parents=True)
        (card / "id").write_text(f"{name}\n")
    (folder / "card10" / "device").symlink_to(usb / "1-1:1.0")
    (folder / "timer").mkdir()
    (tmp_path / "drivers" / "snd_aloop").mkdir(parents=True)
    (folder / "card0" / "device").mkdir()
    (folder / "card0" / "device" / "driver").symlink_to(tmp_path / "drivers" / "snd_aloop")
    listing = tmp_path / "cards"
    listing.write_text(" 0 [Loopback       ]: Loopback - Loopback\n                      Loopback 1\n")
    found = cards(folder, listing)
    assert [(c.number, c.place, c.name, c.captures) for c in found] == [
        (0, "card/Loopback", "Loopback 1", (0, 1)),
        (10, "usb-1209:0003-MIC-1", "microphone", (0,)),
    ]
    assert found[0].driver == "snd_aloop"
    assert cards(tmp_path / "absent", tmp_path / "none") == []


def test_a_place_finds_its_card_under_any_number() -> None:
    found = [BOARD, usb_card(3, "A", "1-1"), usb_card(4, "B", "1-2")]
    assert find_card("usb-1209:0003-B", found) == (found[2], 0)
    assert find_card("card/sndrpii2s", found) == (BOARD, 0)
    assert find_card("card/sndrpii2s,2", found) == (BOARD, 2)
    assert find_card("card/mic_3", found) == (found[1], 0)
    assert str(BOARD.node(2)) == "/dev/snd/pcmC0D2c"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("usb-1209:0003-C", "no sound card usb-1209:0003-C is plugged in"),
        ("usb-1209:0003", "2 sound cards are .*1-1, .*1-2; add the serial number"),
        ("card/Loopback", "gateway scan"),
        ("card/sndrpii2s,1", "records from 0, 2, not 1"),
    ],
)
def test_a_place_that_names_no_card_or_two_says_so(place: str, words: str) -> None:
    with pytest.raises(PortGone, match=words):
        find_card(place, [BOARD, usb_card(3, "A", "1-1"), usb_card(4, "B", "1-2")])


def test_how_late_stamps_may_be_unseen_depends_on_the_card() -> None:
    loopback = SoundCard(0, "Loopback", "", "snd_aloop", None, (0,))
    assert late_ns(BOARD) < late_ns(usb_card(1, None, "1-1")) < late_ns(loopback) + 1


def test_sensors_on_one_card_agree_or_are_refused() -> None:
    slow = Ear(EarSettings(rate_hz=16_000))
    AlsaPort("card/X", [slow, Ear(EarSettings(rate_hz=16_000))])
    for second in (Ear(), TwoEars(EarSettings(rate_hz=16_000))):
        with pytest.raises(ConfigError, match="a card of its own"):
            AlsaPort("card/X", [slow, second])


# --- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.octets} octets, top {form.top}")
def test_every_format_becomes_its_upper_16_bits(form) -> None:
    wanted = np.array([[0, -1], [32767, -32768], [1234, -1234]], np.int16)
    octets = b""
    for sample in wanted.ravel():
        below = 8 * (form.top - 2)
        octets += struct.pack("<i", (int(sample) << below) | ((1 << below) // 3))[: form.octets]
    assert as_pcm(octets, form, 2).tolist() == wanted.tolist()


class Feed:
    """Chunks of a card that is exactly on time, and the blocks made of them."""

    def __init__(self, channels: int = 1, keep: int = 1) -> None:
        self.counters: Counter[str] = Counter()
        self.clock = SampleClock(RATE_HZ, 300_000)
        self._blocks = Blocks(self.clock, FORMATS[0], channels, keep, self.counters)
        self._octets = bytes(960 * 2 * channels)

    def block(self, number: int, *, since: int = 0, lost: int = 0, restarted: bool = False) -> Block:
        """Block `number`, which the card counts from block `since` on, delayed by `lost` samples."""
        first = (number - since) * 960
        t_ns = 10**9 + (number + 1) * 20_000_000 + lost * 10**9 // RATE_HZ
        return self._blocks.block(Chunk(self._octets, first, first + 960, t_ns, restarted))


def test_blocks_follow_each_other_and_are_timed() -> None:
    feed = Feed(channels=4, keep=2)
    blocks = [feed.block(n) for n in range(3)]
    assert [b.first for b in blocks] == [0, 960, 1920]
    assert [b.t_ns for b in blocks] == [10**9, 10**9 + 20_000_000, 10**9 + 40_000_000]
    assert blocks[0].pcm.shape == (960, 2)
    assert not +feed.counters


def test_an_overrun_jumps_by_what_was_lost() -> None:
    feed = Feed()
    for n in range(1000):
        last = feed.block(n)
    after = feed.block(1100, since=1100, restarted=True)
    assert abs(after.first - last.first - 101 * 960) <= 48
    assert abs(after.t_ns - last.t_ns - 101 * 20_000_000) <= after.t_error_ns
    assert after.t_error_ns > last.t_error_ns
    assert feed.counters["overruns"] == 1
    assert abs(feed.counters["lost_samples"] - 100 * 960) <= 48
    following = feed.block(1101, since=1100)
    assert following.first == after.first + 960


def test_an_overrun_before_the_first_stamp_loses_nothing_that_was_counted() -> None:
    feed = Feed()
    assert feed.block(5, since=5, restarted=True).first == 0
    assert +feed.counters == {"overruns": 1}


def test_samples_the_card_lost_unsaid_are_a_jump_too() -> None:
    feed = Feed()
    blocks = [feed.block(n) for n in range(1000)] + [feed.block(n, lost=4800) for n in range(1000, 1300)]
    jumps = [b.first - a.first - 960 for a, b in pairwise(blocks)]
    assert sum(jumps) == pytest.approx(4800, abs=48)
    assert sum(jump != 0 for jump in jumps) == 1
    assert +feed.counters == {"slips": 1, "lost_samples": sum(jumps)}


# --- ALSA's null device: silence as fast as one takes it --------------------------------------------


@needs_alsa
def test_alsa_is_spoken_to_as_it_wants() -> None:
    with Pcm("null", CAPTURE, RATE_HZ, 2, 960) as pcm:
        pcm.start()
        assert pcm.wait(1.0)
        assert pcm.read(960) == bytes(960 * 4)
        assert pcm.stamp()[1] > 0
        pcm.again()
        pcm.drop()


@needs_alsa
def test_an_error_of_alsa_is_an_oserror_in_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        Pcm("hw:31,0", CAPTURE, RATE_HZ, 1, 960)
    assert capfd.readouterr().err == ""  # libasound would have printed it


@needs_alsa
def test_a_reader_whose_chunks_nobody_takes_stops_reading_and_stops() -> None:
    full, over = threading.Event(), threading.Event()
    made: list[SoundReader] = []
    wakes = Counter[str]()

    def wake() -> None:
        wakes["all"] += 1
        if wakes["all"] == WAITING_MAX + 1:  # one says that it is open
            full.set()
        if made and made[0].is_over:
            over.set()

    made.append(reader := SoundReader("null", Wish(RATE_HZ, 1, 960), wake))
    assert full.wait(5)
    chunks = [reader.take() for _ in range(WAITING_MAX)]
    assert [c.first for c in chunks if c is not None] == [960 * n for n in range(WAITING_MAX)]
    reader.stop()
    assert over.wait(5)


@needs_alsa
def test_a_box_that_cannot_keep_up_with_a_card_still_does_the_rest_of_its_work() -> None:
    """Chunks come faster than they are dealt with, so there is always one: the null device has no clock."""
    port, turns = AlsaPort("card/X", [Ear()]), Counter[str]()

    def work() -> None:
        time.sleep(0.001)

    async def rest() -> None:
        while True:
            turns["of the rest"] += 1
            await asyncio.sleep(0)

    async def listen() -> None:
        loop, resting = asyncio.get_running_loop(), asyncio.create_task(rest())
        wake = port._wake.set
        reader = SoundReader("null", Wish(RATE_HZ, 1, 960), lambda: loop.call_soon_threadsafe(wake))
        port._reader = reader
        async for _ in port.frames():
            turns["of sound"] += 1
            if turns["of sound"] == 1:
                del turns["of the rest"]  # while the card was opened
            work()
            if turns["of sound"] == 100:
                break
        resting.cancel()
        port.close()
        while not reader.is_over:
            await port._news()

    asyncio.run(listen())
    assert turns["of the rest"] >= 99


def test_a_bug_in_the_reader_is_raised_and_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise AttributeError("undefined symbol: snd_pcm_new")

    monkeypatch.setattr("gateway.ports.asound.Pcm", broken)
    over = threading.Event()
    reader = SoundReader("null", Wish(RATE_HZ, 1, 960), over.set)
    assert over.wait(5)
    with pytest.raises(AttributeError, match="snd_pcm_new"):
        reader.take()


def test_a_card_is_waited_for_also_where_no_descriptor_is_left_to_be_told_by() -> None:
    port = AlsaPort("card/X", [Ear()])

    async def wait() -> None:
        port._seen = look()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await port.back(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(wait())


def test_a_card_that_is_not_there_is_gone_and_waits() -> None:
    port = open_port(PortPlan(0, "alsa:usb-0000:ffff-NONE", "alsa", ()), [Ear()])

    async def attempt() -> None:
        with pytest.raises(PortGone, match="no sound card usb-0000:ffff-NONE"):
            await port.open()
        port.close()
        await asyncio.wait_for(port.back(0.01), 1)
        with pytest.raises(PortGone, match="takes no commands"):
            await port.send(Ear(), b"?")

    asyncio.run(attempt())
