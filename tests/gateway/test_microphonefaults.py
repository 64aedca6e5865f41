"""Bad microphones are recognised, in blocks of any length; nights, rain, shots, recordings are left alone."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.media import Block
from gateway.microphonefaults import Change, MicrophoneFaults
from gateway.reading import HealthCode
from gateway_models.scene import scene

RATE_HZ = 8_000
OUTDOORS = {
    "forest_background",
    "city_background",
    "gun_forest",
    "gun_city_1r",
    "gun_city_3r",
    "rain",
    "wind",
    "engine",
}
CHANCE = np.random.default_rng(11)


def blocks(pcm: np.ndarray, first: int = 0, rate_hz: int = RATE_HZ, size: int = 0) -> Iterator[Block]:
    size = size or rate_hz // 3 + 1
    for at in range(0, len(pcm), size):
        begins = first + at
        yield Block(begins * 10**9 // rate_hz, 0, rate_hz, begins, pcm[at : at + size])


def heard(pcm: np.ndarray, faults: MicrophoneFaults | None = None, first: int = 0) -> list[Change]:
    faults = faults or MicrophoneFaults()
    pcm = pcm if pcm.ndim == 2 else pcm[:, None]
    return [change for block in blocks(pcm, first) for change in faults.look(block)]


def as_pcm(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def noise(seconds: float, rms: float = 300.0) -> np.ndarray:
    return CHANCE.normal(0, rms, int(seconds * RATE_HZ))


def sine(hertz: float, seconds: float, amplitude: float) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([as_pcm(left), as_pcm(right)], axis=1)


def mains(seconds: float) -> np.ndarray:
    return sum((sine(50.2 * k, seconds, 2_000 / k) for k in range(1, 12, 2)), noise(seconds, 60))


COMMON = noise(70, 400)
FAULTS = {
    "zeros": (HealthCode.MIC_SILENT, 1, np.zeros(70 * RATE_HZ, np.int16)),
    "one value": (HealthCode.MIC_CONSTANT, 1, np.full(70 * RATE_HZ, -3, np.int16)),
    "at the rail": (HealthCode.MIC_CLIPPED, 1, as_pcm(noise(70, 20_000))),
    "flat below the rail": (HealthCode.MIC_CLIPPED, 1, as_pcm(np.clip(noise(70, 12_000), -9_000, 9_000))),
    "flat on one side": (HealthCode.MIC_CLIPPED, 1, as_pcm(np.minimum(noise(70, 9_000), 7_000))),
    "off zero": (HealthCode.MIC_OFFSET, 1, as_pcm(noise(70) - 3_000)),
    "one channel empty": (HealthCode.MIC_CHANNEL, 1, pair(np.zeros(len(COMMON)), COMMON)),
    "crosstalk only": (HealthCode.MIC_CHANNEL, 2, pair(COMMON, COMMON / 300 + noise(70, 1))),
    "a copy": (HealthCode.MIC_CHANNEL, 2, pair(COMMON, COMMON)),
    "wires changed over": (HealthCode.MIC_CHANNEL, 2, pair(COMMON, -COMMON + noise(70, 60))),
    "the same again": (HealthCode.MIC_REPEATS, 1, as_pcm(np.tile(noise(0.12), 600))),
    "hum": (HealthCode.MIC_HUM, 1, as_pcm(mains(70))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_begins_and_is_over(name: str) -> None:
    code, channel, pcm = FAULTS[name]
    faults = MicrophoneFaults()
    (began,) = heard(pcm, faults)
    assert (began.code, began.channel, began.began) == (code, channel, True)
    assert began.since_ns < 2 * 10**9
    well = noise(70)
    well_pcm = as_pcm(well) if pcm.ndim == 1 else pair(well, well + noise(70, 60))
    (over,) = heard(well_pcm, faults, len(pcm))
    assert (over.code, over.began, over.since_ns) == (code, False, began.since_ns)


def test_one_bad_half_minute_is_no_fault() -> None:
    for _, _, pcm in FAULTS.values():
        short = pcm[: 29 * RATE_HZ]
        found = {change.code for change in heard(short)}
        assert found <= {HealthCode.MIC_CONSTANT, HealthCode.MIC_REPEATS}  # which nothing else can be


def test_two_channels_that_change_places_are_seen() -> None:
    """A pair of which one faces the wall, 6 dB weaker; ten minutes are known, then the plugs are swapped."""
    faults = MicrophoneFaults()
    second = RATE_HZ // 4
    left = CHANCE.normal(0, 400, second)
    right = left / 2 + CHANCE.normal(0, 40, second)
    found: list[Change] = []
    for at in range(20 * 60):
        pcm = pair(left, right) if at < 11 * 60 else pair(right, left)
        found += faults.look(Block(at * 10**9, 0, second, at * second, np.roll(pcm, at, axis=0)))
    (swapped,) = found
    assert (swapped.code, swapped.channel) == (HealthCode.MIC_CHANNEL, 1)
    assert "channel 2 was" in swapped.text
    assert 11 * 60e9 < swapped.since_ns < 14 * 60e9


WELL = {
    "a night at the converter's last step": as_pcm(noise(90, 0.4)),
    "rain": as_pcm(noise(90, 6_000)),
    "quiet as digital microphones can be": as_pcm(noise(90, 0.25)),
    "a siren": as_pcm(9_000 * np.sin(np.cumsum(0.4 + 0.2 * np.sin(np.arange(90 * RATE_HZ) / RATE_HZ)))),
    "a ballast at twice the mains": as_pcm(sine(100, 90, 800) + sine(200, 90, 400) + noise(90, 10)),
    "a tone of a calibrator": as_pcm(sine(1000, 90, 16_000)),
    "wind": as_pcm(np.convolve(noise(90, 20_000), np.ones(400) / 60, "same")),
    "a pair": pair(COMMON, 0.4 * COMMON + noise(70, 100)),
    "a pair far apart": pair(COMMON, noise(70, 200)),
}


@pytest.mark.parametrize("name", WELL)
def test_what_is_well_is_left_alone(name: str) -> None:
    assert heard(WELL[name]) == []


@pytest.mark.slow
def test_a_street_with_shots_is_left_alone() -> None:
    shots = [float(at) for at in range(2, 118, 3)]
    street = scene(120.0, 16_000, 5, shots, [])
    found = [
        c
        for faults in [MicrophoneFaults()]
        for b in blocks(street[:, None], 0, 16_000)
        for c in faults.look(b)
    ]
    assert found == []


@pytest.mark.parametrize("hertz", [3_000, 6_000, 12_000, 24_000])
def test_a_tone_of_which_the_low_sound_holds_nothing_is_no_trouble(hertz: int) -> None:
    """Made of numbers that average out exactly, as a converter that toggles makes them."""
    period = 48_000 // hertz
    wave = np.where(np.arange(period) < period // 2, 8_000, -8_000).astype(np.int16)
    pcm = np.tile(wave, 3 * hertz)[:, None]
    faults = MicrophoneFaults()
    for block in blocks(pcm, rate_hz=48_000):
        assert list(faults.look(block)) == []


def test_every_sample_is_looked_at_however_the_blocks_fall() -> None:
    """A minute in blocks of 80 ms is sixty seconds, not fifty-seven."""
    pcm = np.zeros((66 * RATE_HZ, 1), np.int16)
    faults = MicrophoneFaults()
    changes = [c for block in blocks(pcm, size=RATE_HZ * 80 // 1000) for c in faults.look(block)]
    assert [change.code for change in changes] == [HealthCode.MIC_SILENT]
    assert changes[0].t_ns <= 60.1e9


@pytest.mark.slow
def test_recordings_are_left_alone(data_folder: Path) -> None:
    """Ten minutes of every source that was recorded outdoors, one clip after the other."""
    soundfile = pytest.importorskip("soundfile")
    by_kind: dict[str, list[np.ndarray]] = {}
    with (data_folder / "audio" / "manifest.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            clips = by_kind.setdefault(row["kind"], [])
            if row["kind"] in OUTDOORS and len(clips) < 150:
                pcm, rate_hz = soundfile.read(data_folder / "audio" / row["file"], dtype="int16")
                assert rate_hz == 16_000
                clips.append(pcm)
    for kind, clips in by_kind.items():
        if clips:
            faults, pcm = MicrophoneFaults(), np.concatenate(clips)[:, None]
            found = [change for block in blocks(pcm, 0, 16_000) for change in faults.look(block)]
            assert found == [], kind


def test_lost_samples_and_another_shape_disturb_nothing() -> None:
    faults = MicrophoneFaults()
    pcm = as_pcm(noise(3))[:, None]
    for first in (0, 100_000, 7):
        assert [c for b in blocks(pcm, first) for c in faults.look(b)] == []
    assert heard(pair(noise(3), noise(3)), faults) == []
    assert list(faults.look(Block(0, 0, 0 + RATE_HZ, 0, np.zeros((0, 2), np.int16)))) == []


def test_it_costs_little() -> None:
    """Of the 2 % of a core that a quiet microphone may take at 48 kHz."""
    faults = MicrophoneFaults()
    cut = list(blocks(as_pcm(noise(60))[:, None], 0, 48_000, 960))
    began = time.thread_time()
    for block in cut:
        list(faults.look(block))
    assert (time.thread_time() - began) / (len(cut) * 0.02) < 0.01
