"""From blocks to verdicts: what is looked at, when, and that nothing depends on how the stream was cut."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from bundles import small_bundle
from gunfire import START_NS, blocks, gunfire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.acousticpath import AcousticPath, judge_of
from gateway.bundle import Bundle
from gateway.errors import BundleError
from gateway.media import Block
from gateway.reading import UNCLASSIFIED
from gateway.soundring import SoundRing
from gateway.verdict import Judge, Verdict

RATE = 16_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundle") / "small", int8=False)


@pytest.fixture(scope="module")
def judge(bundle: Bundle) -> Judge:
    """The small bundle's own networks, of random weights, in the runtime that is installed."""
    return judge_of(bundle)


def saying(bundle: Bundle, look: Callable[[str, np.ndarray], Iterable[float]]) -> Judge:
    """A judge whose networks are these functions: name of the look and picture to logits."""
    nets = {
        each.name: lambda x, name=each.name: np.array([list(look(name, x))], np.float32)
        for each in bundle.manifest.looks
    }
    return Judge.of(bundle, nets)


def heard(path: AcousticPath, stream: Iterable[Block]) -> list[tuple[Verdict, float]]:
    """Verdicts, and when each came out, in seconds of the stream."""
    out = []
    for block in stream:
        end_s = (block.first + len(block.pcm)) / block.rate_hz
        out += [(verdict, end_s) for verdict in path.push(block)]
    return out + [(verdict, float("inf")) for verdict in path.end()]


def test_a_bang_is_looked_at_twice_and_in_time(bundle: Bundle) -> None:
    seen: list[tuple[int, ...]] = []

    def look(name: str, x: np.ndarray) -> list[float]:
        seen.append(x.shape)
        return [2.0, 0, 0, 0, 0] if name == "first" else [0, 3.0, 0, 0, 0]

    pcm = gunfire(RATE, 5.0, [1.0])
    (first, at), (second, later) = heard(AcousticPath(saying(bundle, look)), blocks(pcm, RATE, 320))
    assert seen == [(1, 73, 40, 1), (1, 149, 40, 1)]
    assert 1.5 <= at <= 1.54
    assert 3.75 <= later <= 3.8
    assert (first.look, first.final, second.look, second.final) == ("first", False, "second", True)
    assert first.bang == second.bang == 1
    assert first.t_ns == second.t_ns == pytest.approx(START_NS + 10**9, abs=300_000)
    assert first.level == pytest.approx(-6.0, abs=0.5)
    assert first.t_error_ns == 1_000_100


def test_verdicts_of_one_block_come_in_the_order_of_their_time(judge: Judge) -> None:
    """A second look at the first bang is later than the first look at the next one."""
    pcm = gunfire(RATE, 5.0, [1.0, 2.5])
    verdicts = AcousticPath(judge).push(next(blocks(pcm, RATE, len(pcm))))
    strong = [v for v in verdicts if v.pulse.snr_db > 20]
    assert [(round(v.first / RATE, 1), v.look) for v in strong] == [
        (1.0, "first"),
        (2.5, "first"),
        (1.0, "second"),
    ]


def test_pictures_are_those_of_the_sound_around_the_first_sample(bundle: Bundle) -> None:
    """What the network gets equals the front end's own picture of a cut made by hand."""
    from gateway.features import MelStream, as_sound, picture

    got: list[np.ndarray] = []
    pcm = gunfire(48_000, 2.0, [0.8], seed=4)
    (verdict, _), *_ = heard(
        AcousticPath(saying(bundle, lambda _, x: got.append(x) or [0.0] * 5)), blocks(pcm, 48_000, 960)
    )
    cut = pcm[verdict.first - 12_000 :][: 12_000 + 24_000 + 1_000]
    power = MelStream(bundle.front_end, 48_000).push(as_sound(cut))[:73]
    np.testing.assert_allclose(got[0][0, :, :, 0], picture(power, 1, -60), atol=1e-3)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sizes=st.lists(st.integers(200, 30_000), min_size=1, max_size=6), rate=st.sampled_from([RATE, 44_100]))
def test_verdicts_do_not_depend_on_how_the_stream_is_cut(judge: Judge, sizes: list[int], rate: int) -> None:
    pcm = gunfire(rate, 4.0, [0.7, 0.8, 1.6], seed=9)
    whole = [v for v, _ in heard(AcousticPath(judge), blocks(pcm, rate, len(pcm)))]
    path, out, at = AcousticPath(judge), [], 0
    while at < len(pcm):
        size = sizes[at % len(sizes)]
        t_ns = START_NS + at * 10**9 // rate
        out += path.push(Block(t_ns, 100, rate, at, pcm[at : at + size, None]))
        at += size
    out += path.end()
    assert [(v.bang, v.look, v.final, v.first) for v in out] == [
        (v.bang, v.look, v.final, v.first) for v in whole
    ]
    for mine, other in zip(out, whole, strict=True):
        assert abs(mine.t_ns - other.t_ns) <= 2
        assert mine.pulse.pack()[:12] == other.pulse.pack()[:12]
        assert mine.probability == pytest.approx(other.probability, abs=1e-3)
    assert len(whole) >= 5


def test_scores_are_nearly_the_same_at_other_rates(judge: Judge) -> None:
    found = []
    for rate in (16_000, 44_100, 48_000):
        rng, time = np.random.default_rng(1), np.arange(2 * rate) / rate - 0.8
        bang = np.where(time >= 0, np.exp(-np.maximum(time, 0) / 0.05) * np.sin(2 * np.pi * 400 * time), 0.0)
        pcm = np.rint((0.5 * bang + rng.normal(0, 0.0005, len(time))) * 32767).astype(np.int16)
        found.append(heard(AcousticPath(judge), blocks(pcm, rate, rate // 50))[0][0].probability)
    assert max(found) - min(found) <= 0.05


def test_calibration_stacks_the_looks_and_shares_the_rest(bundle: Bundle) -> None:
    judge = saying(bundle, lambda *_: [0.0] * 5)
    first = np.array([2.0, 1.0, 0.0, 0.0, 0.0], np.float32)
    second = np.array([0.0, 2.0, 0.0, 0.0, 0.0], np.float32)

    def z(logits: np.ndarray) -> float:
        p = np.exp(logits) / np.exp(logits).sum()
        return float(np.log(p[0] / (1 - p[0])))

    (p, *others) = judge.opinion([first]).probabilities
    assert p == pytest.approx(1 / (1 + np.exp(-z(first))))  # weights (1), offset 0
    (p, *others) = judge.opinion([first, second]).probabilities
    assert p == pytest.approx(1 / (1 + np.exp(-0.5 * z(first) - 0.5 * z(second))))
    looks = {name: replace(each, offset=0.7) for name, each in judge.manifest.calibration.items()}
    shifted = replace(judge, manifest=replace(judge.manifest, calibration=looks))
    assert shifted.opinion([first]).probabilities[0] == pytest.approx(1 / (1 + np.exp(-z(first) - 0.7)))
    assert sum(others) == pytest.approx(1 - p)
    assert others[0] / others[1] == pytest.approx(np.exp(2.0), rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "label", "threshold"),
    [
        ([9.0, 0, 0, 0, 0], "gunshot", 0.8),
        ([1.5, 0, 0, 0, 0], "unsure", 0.4),
        ([0, 6.0, 0, 0, 0], "firework", 0.7),
        ([0, 0, 0, 6.0, 0], "", 0.8),  # impact is not reported
        ([0, 0, 0, 0, 0], "", 0.8),
        ([300.0, -300, 0, 0, 0], "gunshot", 0.8),
        ([-3000.0, 3000, 0, 0, 0], "firework", 0.7),
    ],
)
def test_a_label_needs_its_threshold(
    bundle: Bundle, logits: list[float], label: str, threshold: float
) -> None:
    opinion = saying(bundle, lambda *_: logits).opinion([np.array(logits, np.float32)])
    assert (opinion.label, opinion.threshold) == (label, threshold)
    assert sum(opinion.probabilities) == pytest.approx(1.0)


def test_score_min_moves_sure_and_reports_choose(bundle: Bundle) -> None:
    nets = {look.name: lambda x: np.zeros((1, 5), np.float32) for look in bundle.manifest.looks}
    mild = Judge.of(bundle, nets, ["gunshot"], 0.3)
    assert mild.opinion([np.array([1.0, 0, 0, 0, 0], np.float32)]).label == "gunshot"
    assert mild.opinion([np.array([0, 6.0, 0, 0, 0], np.float32)]).label == ""
    assert bundle.manifest.thresholds["gunshot"].sure == 0.8


def test_a_site_that_wants_only_glass_is_told_of_no_shots(bundle: Bundle) -> None:
    nets = {look.name: lambda x: np.zeros((1, 5), np.float32) for look in bundle.manifest.looks}
    judge = Judge.of(bundle, nets, ["glass"])
    for logits, label in (([9.0, 0, 0, 0, 0], ""), ([1.5, 0, 0, 0, 0], ""), ([0, 0, 6.0, 0, 0], "glass")):
        assert judge.opinion([np.array(logits, np.float32)]).label == label


def test_without_a_judge_a_bang_is_unclassified() -> None:
    pcm = gunfire(RATE, 4.5, [1.0])
    verdicts = [v for v, _ in heard(AcousticPath(None), blocks(pcm, RATE, 320))]
    assert [(v.label, v.score, v.look, v.final) for v in verdicts] == [
        (UNCLASSIFIED, 0.0, "", False),
        (UNCLASSIFIED, 0.0, "", True),
    ]
    assert verdicts[0].pulse.probabilities == ()
    assert verdicts[0].pulse.snr_db > 15


def test_a_network_that_fails_costs_the_name_not_the_bang(bundle: Bundle) -> None:
    def look(name: str, x: np.ndarray) -> list[float]:
        raise BundleError("it said NaN")

    path = AcousticPath(saying(bundle, look))
    pcm = gunfire(RATE, 8.0, [1.0, 5.0])
    verdicts = [v for v, _ in heard(path, blocks(pcm, RATE, 320))]
    assert [v.label for v in verdicts] == [UNCLASSIFIED] * 4
    assert str(path.listener.off) == "it said NaN"


def test_what_was_said_stays_when_the_second_look_fails(bundle: Bundle) -> None:
    def look(name: str, x: np.ndarray) -> list[float]:
        if name == "second":
            raise BundleError("it said NaN")
        return [9.0, 0, 0, 0, 0]

    pcm = gunfire(RATE, 5.0, [1.0])
    verdicts = [v for v, _ in heard(AcousticPath(saying(bundle, look)), blocks(pcm, RATE, 320))]
    assert [(v.label, v.final) for v in verdicts] == [("gunshot", False), ("gunshot", True)]


@pytest.mark.parametrize(
    ("broken_s", "looks", "lost"),
    [
        (1.05, [], 1),
        (1.2, [("first", True)], 0),
        (2.0, ["first", ("first", True)], 0),
        (2.6, ["first", ("second", True)], 0),
    ],
)
def test_a_bang_that_broke_off_is_judged_if_there_is_enough(
    judge: Judge, broken_s: float, looks: list[object], lost: int
) -> None:
    pcm, path = gunfire(RATE, 6.0, [1.0]), AcousticPath(judge)
    kept = [b for b in blocks(pcm, RATE, 320) if not broken_s * RATE <= b.first < 4.5 * RATE]
    wanted = [each if isinstance(each, tuple) else (each, False) for each in looks]
    assert [(v.look, v.final) for v, _ in heard(path, kept)] == wanted
    assert path.listener.lost == lost


def test_a_bang_at_the_very_start_has_mirrored_sound_before_it(judge: Judge) -> None:
    pcm = gunfire(RATE, 3.5, [0.15])
    verdicts = [v for v, _ in heard(AcousticPath(judge), blocks(pcm, RATE, 320))]
    assert [v.final for v in verdicts] == [False, True]


def test_ring_mirrors_and_knows_the_time() -> None:
    ring, pcm = SoundRing(), np.arange(1000, dtype=np.int16)
    for block in blocks(pcm, RATE, 300, first=500):
        ring.push(block)
    np.testing.assert_array_equal(ring.sound(497, 520)[:5] * 32768, [2, 1, 0, 0, 1])
    np.testing.assert_array_equal(ring.sound(790, 810) * 32768, np.arange(290, 310))
    assert ring.time_of(1499) == (START_NS + 1499 * 10**9 // RATE, 100)
    with pytest.raises(IndexError):
        ring.time_of(1500)
    ring.forget(1100)
    assert (ring.first, ring.end) == (1100, 1500)


def test_a_quiet_stream_is_forgotten_and_a_loud_one_too(judge: Judge) -> None:
    path = AcousticPath(judge)
    rng = np.random.default_rng(3)
    for block in blocks(rng.integers(-80, 80, 6 * RATE).astype(np.int16), RATE, 320):
        assert path.push(block) == []
        assert path.listener._ring.end - path.listener._ring.first <= 0.4 * RATE
    pcm = gunfire(RATE, 30.0, np.arange(0.5, 29.5, 0.2))
    for block in blocks(pcm, RATE, 320, first=6 * RATE):
        path.push(block)
        assert path.listener._ring.end - path.listener._ring.first <= 1.0 * RATE
    assert len(path.listener._onsets) < 40


def test_silence_clipping_and_a_jump_of_the_clock_are_only_sound(judge: Judge) -> None:
    path = AcousticPath(judge)
    square = np.where(np.arange(RATE) // 40 % 2, 32767, -32768).astype(np.int16)
    sound = np.concatenate([np.zeros(RATE, np.int16), square, np.zeros(4 * RATE, np.int16)])
    out = []
    for block in blocks(sound, RATE, 320):
        late = 3_000_000_000 if block.first > 1.2 * RATE else 0  # somebody set the clock that stamps blocks
        out += path.push(Block(block.t_ns + late, 100, RATE, block.first, block.pcm))
    assert [abs(v.first - RATE) <= 1 for v in out] == [True, True]
    assert all(0.0 <= v.probability <= 1.0 for v in out)
    assert all(each is None or isinstance(each, int) for v in out for each in v.pulse.pack())
