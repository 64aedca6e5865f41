"""The log-mel front end against its definition, written out slowly; resampling against sines; streams."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.features import LogMel, MelStream, Resampler, as_sound, picture, resample

SMALL = LogMel(rate_hz=8_000, fft=256, bands=12, low_hz=100, high_hz=3_500, floor_db=-40)


def slow_power(shape: LogMel, sound: np.ndarray) -> np.ndarray:
    """The definition, one frame, bin and band at a time, in Python's own floats."""
    mel = lambda hertz: 2595.0 * math.log10(1.0 + hertz / 700.0)  # noqa: E731
    step = (mel(shape.high_hz) - mel(shape.low_hz)) / (shape.bands + 1)
    corners = [
        700.0 * (10.0 ** ((mel(shape.low_hz) + i * step) / 2595.0) - 1.0) for i in range(shape.bands + 2)
    ]
    rows = []
    for at in range(0, len(sound) - shape.frame + 1, shape.hop):
        frame = [float(x) for x in sound[at : at + shape.frame]]
        mean = sum(frame) / len(frame)
        weighted = [
            (x - mean) * (0.5 - 0.5 * math.cos(2 * math.pi * n / shape.frame)) for n, x in enumerate(frame)
        ]
        power = []
        for k in range(shape.fft // 2 + 1):
            turn = np.exp(-2j * np.pi * k * np.arange(shape.frame) / shape.fft)
            power.append(abs(complex(np.dot(weighted, turn))) ** 2)
        row = []
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
            total = 0.0
            for k, p in enumerate(power):
                f = k * shape.rate_hz / shape.fft
                total += p * max(0.0, min((f - low) / (middle - low), (high - f) / (high - middle)))
            row.append(total)
        rows.append(row)
    return np.array(rows)


def bang() -> np.ndarray:
    sound = np.random.default_rng(5).normal(0.0, 0.1, 800).astype(np.float32)
    sound[400:440] += 0.7
    return sound


def test_power_is_what_its_definition_says() -> None:
    seen, wanted = SMALL.tables().power(bang()), slow_power(SMALL, bang())
    assert seen.shape == (SMALL.frames_in(100), SMALL.bands)
    np.testing.assert_allclose(seen, wanted, rtol=1e-3, atol=wanted.max() * 1e-6)


def test_picture_is_the_mean_of_frames_under_the_loudest_cell() -> None:
    power = SMALL.tables().power(bang())
    seen = picture(power, 2, SMALL.floor_db)
    assert seen.shape == (len(power) // 2, SMALL.bands)
    rows = [10.0 * np.log10((power[i] + power[i + 1]) / 2.0 + 1e-10) for i in range(0, len(power) - 1, 2)]
    loudest = max(float(row.max()) for row in rows)
    wanted = [[1.0 - 2.0 * max(v - loudest, SMALL.floor_db) / SMALL.floor_db for v in row] for row in rows]
    np.testing.assert_allclose(seen, wanted, atol=1e-4)


def test_picture_does_not_depend_on_gain_or_offset() -> None:
    front_end = SMALL.tables()
    plain, other = front_end.power(bang()), front_end.power(0.05 * bang() + np.float32(0.3))
    np.testing.assert_allclose(picture(plain, 1, -40), picture(other, 1, -40), atol=1e-3)
    assert picture(plain, 1, -40).max() == 1.0


def test_digital_silence_is_a_picture_too() -> None:
    silence = SMALL.tables().power(np.zeros(800, np.float32))
    assert np.isfinite(picture(silence, 2, -40)).all()


def test_less_than_a_frame_is_no_frame() -> None:
    assert SMALL.tables().power(np.zeros(199, np.float32)).shape == (0, 12)
    assert (SMALL.frames_in(24), SMALL.frames_in(25), LogMel().frames_in(750)) == (0, 1, 73)


@pytest.mark.parametrize(
    "wrong",
    [{"bands": 0}, {"high_hz": 9_000}, {"floor_db": 3}, {"fft": 100}, {"hop_ms": 0}, {"rate_hz": 16e3}],
)
def test_impossible_definitions_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="input"):
        LogMel(**wrong)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]), st.lists(st.integers(1, 900), max_size=60))
def test_a_stream_has_no_seams(rate_hz: int, sizes: list[int]) -> None:
    """However the sound is cut into pieces, the frames are those of the whole."""
    sound = np.random.default_rng(7).normal(0.0, 0.1, rate_hz // 5).astype(np.float32)
    front_end = SMALL.tables()
    whole = MelStream(front_end, rate_hz)
    wanted = np.concatenate((whole.push(sound), whole.end()))
    stream, at, frames = MelStream(front_end, rate_hz), 0, []
    for size in [*sizes, len(sound)]:
        frames.append(stream.push(sound[at : at + size]))
        at += size
    np.testing.assert_allclose(np.concatenate([*frames, stream.end()]), wanted, atol=1e-5 * wanted.max())
    assert len(wanted) == SMALL.frames_in(200)


@pytest.mark.parametrize("rate_hz", [11_025, 16_000, 44_100, 48_000])
def test_a_stream_is_resampled_as_a_whole_would_be(rate_hz: int) -> None:
    sound = np.random.default_rng(8).normal(0.0, 0.1, rate_hz // 4).astype(np.float32)
    stream = Resampler(rate_hz, 8_000)
    seen = np.concatenate((stream.push(sound[:1000]), stream.push(sound[1000:])))
    wanted = resample(sound, rate_hz, 8_000)
    edge = 40  # before the first sample the stream takes the sound to be like it, the whole to be nothing
    np.testing.assert_allclose(seen[edge:], wanted[edge : len(seen)], atol=1e-5)
    assert 0 <= len(wanted) - len(seen) <= 40


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
