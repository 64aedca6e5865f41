"""Levels of sines, noise and streets against a reference that goes another way.

That is the analogue networks as sections of first order, by the bilinear transform at a multiple of the rate,
and an exponential mean, sample by sample in plain Python.
"""

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.soundlevel import Levels, SoundLevels

RATE_HZ = 16_000
OVER = 6  # the reference's rate is so many times higher: the bilinear transform then errs by 0.02 dB at most
HIGH_PASSES = {"A": (20.598997, 20.598997, 107.65265, 737.86223), "C": (20.598997, 20.598997)}
LOW_PASS = 12194.217
KINDS = {"city_background", "forest_background", "rain", "wind", "engine", "carhorn"}
NETWORK_AT_1000 = {"A": 2.000, "C": 0.062}  # dB (IEC 61672-1, annex E)


def section(sound: list[float], rate_hz: float, corner_hz: float, *, high: bool) -> list[float]:
    """One pole and, if `high`, one zero at 0 Hz."""
    k = math.tan(math.pi * corner_hz / rate_hz)
    gain, keep = (1 if high else k) / (1 + k), (1 - k) / (1 + k)
    sign = -1.0 if high else 1.0
    out, last_in, last_out = [], 0.0, 0.0
    for sample in sound:
        last_out = gain * (sample + sign * last_in) + keep * last_out
        last_in = sample
        out.append(last_out)
    return out


def weighted(pcm: np.ndarray, rate_hz: int, network: str) -> np.ndarray:
    """Samples at OVER times the rate."""
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    spectrum = np.pad(spectrum, (0, len(pcm) * OVER // 2 + 1 - len(spectrum)))
    sound = (np.fft.irfft(spectrum, len(pcm) * OVER) * OVER).tolist()
    for corner in HIGH_PASSES[network]:
        sound = section(sound, rate_hz * OVER, corner, high=True)
    for _ in range(2):
        sound = section(sound, rate_hz * OVER, LOW_PASS, high=False)
    return np.array(sound) * 10 ** (NETWORK_AT_1000[network] / 20)


def db(mean_square: float) -> float:
    return 10 * math.log10(mean_square / (32768.0**2 / 2))


def reference(pcm: np.ndarray, rate_hz: int = RATE_HZ) -> Levels:
    """LAeq, LCeq and LAmax, sample by sample."""
    a, c = weighted(pcm, rate_hz, "A"), weighted(pcm, rate_hz, "C")
    share = 1 - math.exp(-1 / (rate_hz * OVER * 0.125))
    fast = float(np.mean(a[: rate_hz * OVER // 8] ** 2))  # a meter that has heard the beginning for a while
    highest = 0.0
    for square in (a**2).tolist():
        fast += share * (square - fast)
        highest = max(highest, fast)
    return Levels(db(float(np.mean(a**2))), db(float(np.mean(c**2))), db(highest))


def measured(pcm: np.ndarray, rate_hz: int = RATE_HZ) -> Levels:
    levels = SoundLevels(rate_hz)
    for first in range(0, len(pcm), 317):  # not the length of anything
        levels.push(pcm[first : first + 317, None])
    heard = levels.take()
    assert heard is not None
    return heard


def alike(pcm: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    ours, theirs = measured(pcm, rate_hz), reference(pcm, rate_hz)
    for name in ("laeq", "lceq", "lamax"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=0.2), (name, ours, theirs)


def as_pcm(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("hertz", [50, 125, 1000, 3150, 6300])
def test_sines(hertz: int) -> None:
    """Faded in and out, as the reference hears their beginning."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    alike(as_pcm(9_000 * np.sin(2 * np.pi * hertz * time_s) * np.sin(np.pi * time_s) ** 2))


@pytest.mark.parametrize("slope", [0.0, -0.5, -1.0], ids=["white", "pink", "brown"])
def test_noise(slope: float) -> None:
    chance = np.random.default_rng(3)
    spectrum = np.fft.rfft(chance.normal(size=2 * RATE_HZ))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** slope
    spectrum[:20] = 0
    sound = np.fft.irfft(spectrum)
    alike(as_pcm(sound / np.abs(sound).max() * 20_000))


def test_a_bang_in_the_quiet() -> None:
    """LAmax is the highest of the Fast level at any time, not of one looked at now and then."""
    chance = np.random.default_rng(4)
    sound = chance.normal(0, 20, 2 * RATE_HZ)
    at = np.arange(800)
    sound[17_001 : 17_001 + 800] += 15_000 * np.exp(-at / 120) * chance.normal(size=800)
    alike(as_pcm(sound))


@pytest.mark.slow
def test_noise_at_the_rate_of_a_sound_card() -> None:
    alike(as_pcm(np.random.default_rng(5).normal(0, 2_000, 48_000)), 48_000)


def streets(folder: Path) -> Iterator[np.ndarray]:
    """Recorded background of each source, a few seconds of it."""
    soundfile = pytest.importorskip("soundfile")
    seen: set[str] = set()
    with (folder / "audio" / "manifest.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["kind"] in KINDS and row["kind"] not in seen:
                seen.add(row["kind"])
                pcm, rate_hz = soundfile.read(folder / "audio" / row["file"], dtype="int16")
                assert rate_hz == RATE_HZ
                yield pcm[: 3 * RATE_HZ]


@pytest.mark.slow
def test_recorded_streets(data_folder: Path) -> None:
    heard = list(streets(data_folder))
    assert len(heard) == len(KINDS)
    for pcm in heard:
        alike(pcm)


def test_percentiles_of_a_minute() -> None:
    """Noise in steps of 10 s: what is exceeded in 10, 50 and 90 % of the time stands in the steps."""
    chance = np.random.default_rng(6)
    levels = SoundLevels(8_000, bands=True)
    steps_db = (-20, -30, -40, -50, -60, -70)
    for step_db in steps_db:
        assert levels.take_minute() is None
        sound = chance.normal(0, 1, 80_000) * 32768 / math.sqrt(2) * 10 ** (step_db / 20)
        levels.push(as_pcm(sound)[:, None])
    minute = levels.take_minute()
    assert minute is not None
    assert levels.take_minute() is None
    # White noise to 4 kHz, A-weighted, is 0.4 dB weaker; in the middle of 60 s the level changes.
    assert minute.l10 == pytest.approx(-20, abs=1.0)
    assert minute.l90 == pytest.approx(-70, abs=1.0)
    assert -51 < minute.l50 < -39
    mean_db = 10 * math.log10(sum(10 ** (each / 10) for each in steps_db) / 6)
    assert minute.laeq_60s == pytest.approx(mean_db, abs=0.6)
    assert -20 < minute.lamax_60s < -18
    # Every band has a share of the power as wide as it is: 26 % of its middle, of 4000 Hz.
    share_db = 10 * math.log10(1000 * (10**0.05 - 10**-0.05) / 4_000)
    assert minute.bands[16] == pytest.approx(mean_db + share_db, abs=0.3)


def test_a_bang_counts_the_same_in_its_band_whenever_it_comes() -> None:
    """The windows of the bands overlap so that no moment weighs less than another."""
    bang = 20_000 * np.sin(2 * np.pi * 1000 * np.arange(400) / 8_000) * np.hanning(400)
    heard = []
    for at_s in (20.0, 20.17, 20.34, 20.5):
        sound = np.zeros(480_000)
        sound[int(at_s * 8_000) :][:400] = bang
        levels = SoundLevels(8_000, bands=True)
        levels.push(as_pcm(sound)[:, None])
        minute = levels.take_minute()
        assert minute is not None
        heard.append(minute.bands[16])
    assert max(heard) - min(heard) < 0.1


def test_nothing_heard_is_no_level() -> None:
    levels = SoundLevels(8_000)
    assert levels.take() is None
    levels.push(np.zeros((8_000, 1), np.int16))
    assert levels.take() == Levels(-140.0, -140.0, -140.0)
    assert levels.take() is None


def test_channels_are_averaged_as_power() -> None:
    tone = as_pcm(10_000 * np.sin(2 * np.pi * 1000 * np.arange(8_000) / 8_000))
    one, two = SoundLevels(8_000), SoundLevels(8_000, 2)
    one.push(tone[:, None])
    two.push(np.stack([tone, 0 * tone], axis=1))
    alone, beside = one.take(), two.take()
    assert alone is not None
    assert beside is not None
    assert beside.laeq == pytest.approx(alone.laeq - 3.01, abs=0.01)


def test_it_costs_little() -> None:
    """Mono at 48 kHz; the whole microphone may take 2 % of a core."""
    chance = np.random.default_rng(7)
    levels = SoundLevels(48_000)
    blocks = [as_pcm(chance.normal(0, 300, (960, 1))) for _ in range(50)]
    levels.push(np.concatenate(blocks))  # the first time makes tables
    costs = []
    for _ in range(5):
        began = time.thread_time()
        for block in blocks:
            levels.push(block)
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.01
