"""The microphone's level, from blocks of known loudness."""

import numpy as np
import pytest

from gateway.media import Block
from gateway_drivers.microphone import Microphone, MicrophoneSettings

RATE_HZ = 48_000


def blocks(samples: np.ndarray, size: int = 960):
    """Cut [samples, channels] into blocks of 20 ms, the last as long as it comes."""
    for first in range(0, len(samples), size):
        yield Block(first * 10**9 // RATE_HZ, 0, RATE_HZ, first, samples[first : first + size])


def readings(driver: Microphone, samples: np.ndarray) -> list[dict]:
    return [dict(values) for block in blocks(samples) if (values := driver.decode(block)) is not None]


def levels(driver: Microphone, samples: np.ndarray) -> list[dict]:
    """The unweighted ones alone."""
    return [
        {name: value for name, value in reading.items() if name in {"level", "level_spl"}}
        for reading in readings(driver, samples)
    ]


def sine(amplitude: float, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = amplitude * 32767 * np.sin(2 * np.pi * 1000 * np.arange(int(RATE_HZ * seconds)) / RATE_HZ)
    return np.repeat(np.round(wave).astype(np.int16)[:, None], channels, axis=1)


@pytest.mark.parametrize(
    ("amplitude", "expected"), [(1.0, 0.0), (0.5, -6.02), (0.1, -20.0), (0.001, -60.0)], ids=str
)
def test_a_full_scale_sine_reads_zero(amplitude: float, expected: float) -> None:
    assert levels(Microphone(), sine(amplitude)) == [{"level": pytest.approx(expected, abs=0.05)}]


def test_a_full_scale_square_wave_reads_three_more() -> None:
    square = np.where(sine(1.0) >= 0, 32767, -32767).astype(np.int16)
    assert levels(Microphone(), square) == [{"level": pytest.approx(3.01, abs=0.01)}]


def test_digital_silence_is_a_number() -> None:
    assert levels(Microphone(), np.zeros((RATE_HZ, 1), np.int16)) == [{"level": pytest.approx(-120.0)}]


def test_every_channel_counts() -> None:
    both, one = sine(0.5, channels=2), sine(0.5, channels=2)
    one[:, 1] = 0
    assert levels(Microphone(), both)[0]["level"] == pytest.approx(-6.02, abs=0.01)
    assert levels(Microphone(), one)[0]["level"] == pytest.approx(-9.03, abs=0.01)


def test_one_level_each_interval_over_its_own_samples_only() -> None:
    driver = Microphone(MicrophoneSettings(every_s=0.5))
    loud_then_quiet = np.concatenate([sine(1.0, 0.5), sine(0.01, 0.5)])
    assert [round(values["level"]) for values in levels(driver, loud_then_quiet)] == [0, -40]


@pytest.mark.parametrize("size", [960, 3840, 4801])
def test_a_mean_ends_with_its_last_sample_wherever_in_a_block_that_lies(size: int) -> None:
    steps = np.concatenate([sine(10 ** (-db / 20), 0.5) for db in range(10, 50, 10)])
    driver = Microphone(MicrophoneSettings(every_s=0.5))
    told = [values["level"] for block in blocks(steps, size) if (values := driver.decode(block))]
    assert told == [pytest.approx(-db, abs=0.01) for db in range(10, 50, 10)]


def test_sound_pressure_only_where_calibrated() -> None:
    plain, calibrated = MicrophoneSettings(), MicrophoneSettings(calibration_db=120.0)
    assert {m.unit for m in Microphone.measures(plain)} == {"dB[FS]"}
    weighted = ["laeq", "lceq", "lamax", "l10", "l50", "l90", "laeq_60s", "lamax_60s"]
    assert [m.name for m in Microphone.measures(plain)] == ["level", *(f"{name}_fs" for name in weighted)]
    assert [m.name for m in Microphone.measures(calibrated)] == ["level", "level_spl", *weighted]
    assert levels(Microphone(calibrated), sine(0.1)) == [
        {"level": pytest.approx(-20, abs=0.01), "level_spl": pytest.approx(100, abs=0.01)}
    ]


def test_opening_the_port_begins_anew() -> None:
    driver = Microphone()
    assert levels(driver, sine(1.0, 0.9)) == []
    driver.reset()
    assert [round(values["level"]) for values in levels(driver, sine(0.1))] == [-20]


def test_a_sine_of_1000_hz_has_the_same_level_in_every_weighting() -> None:
    (plain,) = readings(Microphone(), sine(0.1))
    assert plain == {
        "level": pytest.approx(-20, abs=0.01),
        "laeq_fs": pytest.approx(-20, abs=0.05),
        "lceq_fs": pytest.approx(-20, abs=0.05),
        "lamax_fs": pytest.approx(-20, abs=0.1),
    }
    (calibrated,) = readings(Microphone(MicrophoneSettings(calibration_db=120.0)), sine(0.1))
    assert calibrated["laeq"] == pytest.approx(100, abs=0.05)
    assert not any(name.endswith("_fs") for name in calibrated)


@pytest.mark.slow
@pytest.mark.parametrize("every_s", [1.0, 90.0])
def test_percentiles_and_bands_come_once_a_minute_by_declared_names(every_s: float) -> None:
    settings = MicrophoneSettings(every_s=every_s, bands=True)
    driver = Microphone(settings)
    heard = readings(driver, np.tile(sine(0.1, 1.0), (61, 1)))
    (minute,) = [reading for reading in heard if "l50_fs" in reading]
    declared = {measure.name for measure in Microphone.measures(settings)}
    assert {name for reading in heard for name in reading} <= declared
    assert len([name for name in minute if name.startswith("band_")]) == 29
    assert minute["band_1000"] == pytest.approx(-20, abs=0.1)
    assert minute["l10_fs"] == pytest.approx(-20, abs=0.1)
    assert len(heard) == (61 if every_s == 1.0 else 1)


def test_lost_samples_are_no_bang() -> None:
    driver = Microphone(MicrophoneSettings(every_s=0.5))
    offset = np.full((24_000, 1), 8_000, np.int16)
    one = [driver.decode(block) for block in blocks(offset)]
    later = [Block(0, 0, RATE_HZ, block.first + 90_000, -block.pcm) for block in blocks(offset)]
    two = [driver.decode(block) for block in later]
    (first,), (second,) = ([dict(v) for v in each if v is not None] for each in (one, two))
    assert first["lamax_fs"] < -60
    assert second["lamax_fs"] < -60
