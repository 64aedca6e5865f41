"""A clip made ready to be heard is computed with at its ends only, and its samples are the same."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import Pcm
from gateway_models.recordings import AFTER_S, BEFORE_S, FADE_S, fill, prepare, trimmed
from gateway_models.waves import add


def prepared_whole(pcm: Pcm, rate_hz: int) -> Pcm:
    """The definition: every sample as a float, the noise added at both ends, and rounded."""
    sounding = np.flatnonzero(pcm)
    clip = pcm[sounding[0] : sounding[-1] + 1].astype(float) if len(sounding) else np.zeros(0)
    before, after, ramp = (round(seconds * rate_hz) for seconds in (BEFORE_S, AFTER_S, FADE_S))
    inner = clip[ramp : len(clip) - ramp] if len(clip) > 8 * ramp else clip
    rng = np.random.default_rng(zlib.crc32(pcm.tobytes()))
    noise = fill(rng, inner, before + after + 2 * ramp, rate_hz, least=0.5)
    whole = np.concatenate((np.zeros(before), clip, np.zeros(after)))
    fading = np.cos(np.linspace(0.0, np.pi / 2, ramp, endpoint=False)) ** 2
    add(whole, noise[: before + ramp] * np.concatenate((np.ones(before), fading)), 0)
    tail = noise[before + ramp :] * np.concatenate((fading[::-1], np.ones(after)))
    add(whole, tail, before + len(clip) - ramp)
    longer: Pcm = np.clip(np.round(whole), -32768, 32767).astype(np.int16)
    return longer


# Around once and twice the fade, and eight times: there the ends begin to lie apart.
@pytest.mark.parametrize("length", [0, 1, 7, 479, 480, 481, 959, 960, 961, 3840, 3841, 9000, 300_000])
@pytest.mark.parametrize("loudness", [0.4, 30.0, 40_000.0])
def test_only_the_ends_are_computed_with(length: int, loudness: float) -> None:
    rng = np.random.default_rng(length)
    pcm = np.clip(rng.normal(0.0, loudness, length), -32768, 32767).astype(np.int16)
    longer, begin, end = prepare(pcm, 8000)
    np.testing.assert_array_equal(longer, prepared_whole(pcm, 8000))
    assert longer.dtype == np.int16
    assert (begin, end - begin) == (4800, len(trimmed(pcm)))


@pytest.mark.parametrize("kind", [np.int16, np.float64])
def test_the_quietest_piece_is_found_wherever_it_lies(kind: type) -> None:
    rng = np.random.default_rng(4)
    wave = rng.normal(0.0, 1000.0, 8000 * 40)
    wave[8000 * 33 : 8000 * 33 + 1600] /= 100.0  # beyond the pieces that are looked at together
    noise = fill(np.random.default_rng(1), wave.astype(kind), 8000, 8000)
    assert 8.0 < float(np.sqrt(np.mean(noise**2))) < 12.0


@given(st.lists(st.integers(-2, 2), max_size=30))
def test_zeros_are_trimmed_at_both_ends_and_nowhere_else(samples: list[int]) -> None:
    pcm = np.array(samples, np.int16)
    text = "".join("0" if value == 0 else "x" for value in samples)
    assert len(trimmed(pcm)) == len(text.strip("0"))
    np.testing.assert_array_equal(trimmed(pcm)[trimmed(pcm) != 0], pcm[pcm != 0])
