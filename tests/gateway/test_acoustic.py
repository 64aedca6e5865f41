"""Onset, window and model on sounds made here, whose first samples are known exactly."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.acoustic import (
    RING_MAX_S,
    Cut,
    Marked,
    Model,
    ModelSettings,
    Onset,
    OnsetSettings,
    Window,
    WindowSettings,
)
from gateway.errors import BundleError
from gateway.media import Block
from gateway.onset import OnsetFinder
from gateway.stage import run_stages

START_NS = 7_000_000_000


def street(rate_hz: int, seconds: float, bangs: Iterable[float], seed: int = 1) -> np.ndarray:
    """Noise at -50 dB with decaying noise bursts of 0.5 at the given times."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(0.0, 0.003, int(seconds * rate_hz))
    for at in bangs:
        first = round(at * rate_hz)
        time = np.arange(min(int(0.15 * rate_hz), len(sound) - first)) / rate_hz
        pulse = np.exp(-time / 0.02) * np.cos(2 * np.pi * 700 * time)
        sound[first : first + len(time)] += 0.5 * pulse
    return (sound * 32767).astype(np.int16)


def blocks(pcm: np.ndarray, rate_hz: int, size: int, first: int = 0) -> Iterator[Block]:
    """The PCM as a port hands it over; sample 0 of the stream is at START_NS."""
    for at in range(0, len(pcm), size):
        t_ns = START_NS + (first + at) * 1_000_000_000 // rate_hz
        yield Block(t_ns, 100, rate_hz, first + at, pcm[at : at + size, None])


def onsets(pcm: np.ndarray, rate_hz: int, size: int) -> list[int]:
    stage = Onset("mic", OnsetSettings("12 dB"))
    return [at for block in blocks(pcm, rate_hz, size) for m in stage.feed(block) for at in m.onsets]


def ears(span: str = "250 ms / 500 ms") -> list:
    return [Onset("mic", OnsetSettings("12 dB")), Window("mic", WindowSettings(span))]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("block_ms", [5, 20, 333])
def test_onset_finds_the_first_sample(rate_hz: int, block_ms: int) -> None:
    times = [0.5, 0.9, 1.7123]
    found = onsets(street(rate_hz, 2.2, times), rate_hz, rate_hz * block_ms // 1000)
    assert len(found) == len(times)
    for at, time in zip(found, times, strict=True):
        assert abs(at / rate_hz - time) <= 0.001


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(30, 3_000), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_onsets_do_not_depend_on_how_the_stream_is_cut(sizes: list[int], seed: int) -> None:
    pcm = street(16_000, 1.0, [0.4, 0.75], seed)
    whole, finder, found, at = onsets(pcm, 16_000, len(pcm)), OnsetFinder(12.0), [], 0
    while at < len(pcm):
        size = sizes[at % len(sizes)]
        found += finder.push(pcm[at : at + size].astype(np.float32) / 32768)
        at += size
    assert found == whole
    assert len(whole) == 2


def test_noise_a_slow_swell_and_silence_have_no_onset() -> None:
    noise = street(16_000, 3.0, [])
    swell = np.random.default_rng(3).normal(0.0, 1.0, 48_000) * np.linspace(10, 8_000, 48_000)
    assert onsets(noise, 16_000, 320) == []
    assert onsets(swell.astype(np.int16), 16_000, 320) == []
    assert onsets(np.zeros(16_000, np.int16), 16_000, 320) == []


def test_an_onset_needs_so_many_decibels() -> None:
    pcm = street(16_000, 1.0, [0.5])
    quiet = Onset("mic", OnsetSettings("60 dB"))
    assert not [m for b in blocks(pcm, 16_000, 320) for m in quiet.feed(b) if m.onsets]


def test_lost_samples_start_the_onset_afresh() -> None:
    pcm = street(16_000, 2.0, [0.5, 1.5])
    stage = Onset("mic", OnsetSettings("12 dB"))
    found = []
    for block in blocks(pcm, 16_000, 320):
        if not 12_800 <= block.first < 16_000:  # 0.8 to 1.0 s never arrive
            found += [at for m in stage.feed(block) for at in m.onsets]
    assert [round(at / 16_000, 3) for at in found] == [0.5, 1.5]


def test_onset_is_the_first_arrival_even_if_a_stronger_one_follows() -> None:
    pcm = street(16_000, 1.0, [0.5])
    pcm[7_936:8_000] += (pcm[8_000:8_064] * 0.3).astype(np.int16)  # 4 ms earlier, 10 dB weaker
    (found,) = onsets(pcm, 16_000, 320)
    assert abs(found - 7_936) <= 8


def test_onset_says_what_it_has_not_decided() -> None:
    pcm, bang_ns = street(16_000, 1.0, [0.512]), START_NS + 512_000_000
    stage = Onset("mic", OnsetSettings("12 dB"))
    assert stage.waiting_since_ns() is None
    heard_in_part = 0
    for block in blocks(pcm, 16_000, 80):
        end_ns = block.t_ns + 5_000_000
        known = [at for m in stage.feed(block) for at in m.onsets]
        if known:
            break
        since = stage.waiting_since_ns()
        assert since is not None
        assert end_ns - 35_000_000 <= since <= end_ns
        if end_ns > bang_ns:  # not reported yet: a crash now must count it as unheard
            heard_in_part += 1
            assert since <= bang_ns
    assert heard_in_part >= 3


@pytest.mark.parametrize("size", [80, 320, 16_000])
def test_window_cuts_around_the_first_sample_across_blocks(size: int) -> None:
    pcm = street(16_000, 2.0, [0.6, 1.0])
    stages = ears()
    cuts = [c for b in blocks(pcm, 16_000, size) for c in run_stages(stages, b)]
    assert len(cuts) == 2
    for cut, time in zip(cuts, (0.6, 1.0), strict=True):
        first = round((cut.t_ns - START_NS) * 16 / 1_000_000)
        assert abs(first / 16_000 - time) <= 0.001
        assert (cut.before, len(cut.pcm), cut.rate_hz) == (4_000, 12_000, 16_000)
        np.testing.assert_array_equal(cut.pcm, pcm[first - 4_000 : first + 8_000])
        assert cut.level == pytest.approx(-6.0, abs=0.5)
        assert cut.t_error_ns == 1_000_100


def test_window_comes_half_a_second_after_the_bang_and_says_what_it_holds() -> None:
    pcm = street(16_000, 1.5, [0.6])
    stages = ears()
    holding = []
    for block in blocks(pcm, 16_000, 320):
        out = list(run_stages(stages, block))
        end_s = (block.first + 320) / 16_000
        if (since := stages[1].waiting_since_ns()) is not None:
            holding.append(since)
        if out:
            assert 1.1 <= end_s <= 1.13
            break
    else:
        pytest.fail("nothing was cut")
    assert {round((s - START_NS) / 1e9, 3) for s in holding} == {0.6}
    assert stages[1].waiting_since_ns() is None


def test_window_forgets_what_it_does_not_need() -> None:
    window = Window("mic", WindowSettings("250 ms / 500 ms"))
    pcm = street(16_000, 4.0, [])
    for block in blocks(pcm, 16_000, 320):
        assert list(window.feed(Marked(block, ()))) == []
    assert sum(len(b.pcm) for b in window._ring) <= 0.4 * 16_000


def test_window_mirrors_what_lies_before_the_stream() -> None:
    pcm = street(16_000, 1.0, [0.2])
    stages = ears()
    (cut,) = (c for b in blocks(pcm, 16_000, 320) for c in run_stages(stages, b))
    assert len(cut.pcm) == 12_000
    first = round((cut.t_ns - START_NS) * 16 / 1_000_000)
    missing = 4_000 - first
    np.testing.assert_array_equal(cut.pcm[:missing], pcm[:missing][::-1])


@pytest.mark.parametrize(("broken_s", "cuts", "lost"), [(0.9, 1, 0), (0.65, 0, 1)])
def test_window_judges_a_bang_that_broke_off_if_there_is_enough(
    broken_s: float, cuts: int, lost: int
) -> None:
    pcm = street(16_000, 3.0, [0.6])
    stages = ears()
    kept = [b for b in blocks(pcm, 16_000, 320) if not broken_s * 16_000 <= b.first < 24_000]
    found = [c for b in kept for c in run_stages(stages, b)]
    assert (len(found), stages[1].lost) == (cuts, lost)
    assert all(len(c.pcm) == 12_000 for c in found)


@pytest.mark.parametrize("span", ["500 ms", "1 s / 20 s", "a / b", "250 ms / 50 ms"])
def test_window_refuses_spans_it_cannot_hold(span: str) -> None:
    with pytest.raises(ValueError, match=r"window|duration"):
        WindowSettings(span)
    assert RING_MAX_S == 10.0


@pytest.mark.parametrize("over", ["12", "1 dB", "90 dB"])
def test_onset_refuses_thresholds_that_make_no_sense(over: str) -> None:
    with pytest.raises(ValueError, match=r"onset|level"):
        OnsetSettings(over)


def test_score_min_is_a_score() -> None:
    with pytest.raises(ValueError, match="score_min"):
        ModelSettings("shot-v1", 1.5)


def cut_at(seconds: float, level: float) -> Cut:
    pcm = street(16_000, 0.75, [0.25])
    return Cut(START_NS + int(seconds * 1e9), 1_000, 16_000, 4_000, pcm, level)


@pytest.fixture(scope="module")
def eager() -> Model:
    """The shipped model, made to report whatever it is shown."""
    return Model("mic", ModelSettings("shot-v1", score_min=1e-9))


def test_echoes_belong_to_their_shot_and_a_second_shot_does_not(eager: Model) -> None:
    eager._last.clear()
    story = [(1.0, -10.0), (1.2, -12.0), (1.37, -8.0), (1.4, -11.0), (1.9, -22.0), (2.6, -30.0), (4.2, -40.0)]
    heard = [at for at, level in story if list(eager.feed(cut_at(at, level)))]
    # 1.4 is 400 ms after 1.0; 1.9 and 2.6 are weaker echoes within 1.5 s of it; 4.2 stands alone.
    assert heard == [1.0, 1.4, 4.2]


def test_an_event_says_all_that_a_hub_needs(eager: Model) -> None:
    eager._last.clear()
    (first,), (second,) = (list(eager.feed(cut_at(at, -10.0))) for at in (1.0, 5.0))
    assert (first.label, first.sensor, first.level) == ("gunshot", "mic", -10.0)
    assert first.t_ns == START_NS + 1_000_000_000
    assert 0.0 <= first.score <= 1.0
    assert first.threshold == 1e-9
    assert len(bytes.fromhex(first.model)) == 8
    assert first.event_id != second.event_id


def test_model_gives_the_same_score_at_other_sample_rates(eager: Model) -> None:
    cut = cut_at(0.0, -6.0)
    (score,) = eager.scores(cut)
    for rate_hz in (44_100, 48_000):
        pcm = street(rate_hz, 0.75, [0.25], seed=1)
        before = round(0.25 * rate_hz)
        (other,) = eager.scores(Cut(0, 0, rate_hz, before, pcm, -6.0))
        assert other == pytest.approx(score, abs=0.1)


def test_model_says_when_the_window_is_too_short(eager: Model) -> None:
    with pytest.raises(BundleError, match='window = "250 ms / 500 ms"'):
        eager.scores(Cut(0, 0, 16_000, 1_000, np.zeros(9_000, np.int16), -6.0))


def test_model_names_the_bundles_there_are() -> None:
    with pytest.raises(BundleError, match=r"installed:.*shot-v1"):
        Model("mic", ModelSettings("shot-v9"))
    assert Model.labels(ModelSettings("shot-v1")) == ("gunshot",)
