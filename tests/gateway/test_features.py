"""The log-mel picture against its definition, written out slowly; resampling against sines."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.features import LogMel, as_sound, resample

SMALL = LogMel(rate_hz=8_000, samples=800, bands=12, low_hz=100, high_hz=3_500, floor_db=-40)


def slow_picture(shape: LogMel, sound: np.ndarray) -> np.ndarray:
    """The definition, one frame, bin and band at a time, in Python's own floats."""
    length = 1
    while length < shape.frame:
        length *= 2
    mel = lambda hertz: 2595.0 * math.log10(1.0 + hertz / 700.0)  # noqa: E731
    step = (mel(shape.high_hz) - mel(shape.low_hz)) / (shape.bands + 1)
    corners = [
        700.0 * (10.0 ** ((mel(shape.low_hz) + i * step) / 2595.0) - 1.0) for i in range(shape.bands + 2)
    ]
    mean = sum(float(x) for x in sound) / len(sound)
    rows = []
    for at in range(0, len(sound) - shape.frame + 1, shape.hop):
        weighted = [
            (float(sound[at + n]) - mean) * (0.5 - 0.5 * math.cos(2 * math.pi * n / shape.frame))
            for n in range(shape.frame)
        ]
        power = []
        for k in range(length // 2 + 1):
            turn = np.exp(-2j * np.pi * k * np.arange(shape.frame) / length)
            power.append(abs(complex(np.dot(weighted, turn))) ** 2)
        row = []
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
            total = 0.0
            for k, p in enumerate(power):
                f = k * shape.rate_hz / length
                total += p * max(0.0, min((f - low) / (middle - low), (high - f) / (high - middle)))
            row.append(10.0 * math.log10(total + 1e-10))
        rows.append(row)
    loudest = max(max(row) for row in rows)
    return np.array(
        [[1.0 - 2.0 * max(v - loudest, shape.floor_db) / shape.floor_db for v in r] for r in rows]
    )


def test_picture_is_what_its_definition_says() -> None:
    sound = np.random.default_rng(5).normal(0.0, 0.1, SMALL.samples).astype(np.float32)
    sound[400:440] += 0.7
    picture = SMALL.picture(sound)
    assert picture.shape == (SMALL.frames, SMALL.bands)
    np.testing.assert_allclose(picture, slow_picture(SMALL, sound), atol=1e-4)


def test_picture_does_not_depend_on_gain_or_offset() -> None:
    sound = np.random.default_rng(6).normal(0.0, 0.2, SMALL.samples).astype(np.float32)
    np.testing.assert_allclose(SMALL.picture(sound), SMALL.picture(0.05 * sound + 0.3), atol=1e-3)
    assert SMALL.picture(sound).max() == 1.0


def test_digital_silence_is_a_picture_too() -> None:
    assert np.isfinite(SMALL.picture(np.zeros(SMALL.samples, np.float32))).all()


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="800 samples"):
        SMALL.picture(np.zeros(799, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [{"bands": 0}, {"high_hz": 9_000}, {"floor_db": 3}, {"samples": 100}, {"hop_ms": 0}, {"rate_hz": 16e3}],
)
def test_impossible_definitions_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="input"):
        LogMel(**wrong)


@pytest.mark.parametrize("from_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_what_fits_and_removes_what_does_not(from_hz: int) -> None:
    to_hz = 16_000
    time = np.arange(from_hz // 2) / from_hz
    for hertz in (100.0, 1_000.0, 3_300.0):
        out = resample(np.sin(2 * np.pi * hertz * time).astype(np.float32), from_hz, to_hz)
        assert len(out) == math.ceil(len(time) * to_hz / from_hz)
        wanted = np.sin(2 * np.pi * hertz * np.arange(len(out)) / to_hz)
        middle = slice(400, -400)
        assert np.abs(out - wanted)[middle].max() < 0.003, hertz
    if from_hz > 2 * 9_000:
        above = np.sin(2 * np.pi * 9_000 * time).astype(np.float32)
        assert np.abs(resample(above, from_hz, to_hz))[400:-400].max() < 0.001


@settings(max_examples=30)
@given(from_hz=st.sampled_from([8_000, 12_000, 16_000, 32_000, 44_100, 48_000]), at=st.integers(300, 1_500))
def test_resampling_does_not_move_a_click(from_hz: int, at: int) -> None:
    sound = np.zeros(2_000, np.float32)
    sound[at] = 1.0
    loudest = int(np.abs(resample(sound, from_hz, 16_000)).argmax())
    assert abs(loudest / 16_000 - at / from_hz) <= 0.5 / 16_000 + 1e-9


def test_as_sound_takes_the_first_channel() -> None:
    pcm = np.array([[-32768, 5], [16384, 5]], np.int16)
    assert as_sound(pcm).tolist() == [-1.0, 0.5]
