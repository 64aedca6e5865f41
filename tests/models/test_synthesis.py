"""Synthetic sound: where it starts, that a seed repeats it, and that the judge counts right."""

from pathlib import Path

import numpy as np
import pytest

from gateway_models import bangs, shots, street, waves
from gateway_models.card import with_recordings, write_card
from gateway_models.oldevaluate import auc, judge
from gateway_models.examples import RATE_HZ, SHAPE, SHOT, ExampleSet, cut_all, example_set, shot_clip
from gateway_models.make import calibrated, numpy_scorer, write_bundle
from gateway_models.network import Layer, Op
from gateway_models.scene import BANGS, scene


def test_a_blast_jumps_to_its_peak_and_then_sucks() -> None:
    for seed in range(20):
        wave = shots.blast(np.random.default_rng(seed), RATE_HZ)
        assert int(np.argmax(wave)) == 0
        assert 0.3 < wave[0] <= 1.0
        assert wave.min() < -0.01
        assert abs(wave[-1]) < 0.01


def test_filters_are_causal_and_halve_the_power_at_their_corner() -> None:
    click = np.zeros(4_000)
    click[1_000] = 1.0
    for filtered in (waves.low_pass(click, RATE_HZ, 1_000), waves.high_pass(click, RATE_HZ, 1_000)):
        assert np.abs(filtered[:990]).max() < 0.02 * np.abs(filtered).max()
    time = waves.seconds(RATE_HZ, RATE_HZ)
    tone = np.sin(2 * np.pi * 1_000 * time)
    for one in (waves.low_pass(tone, RATE_HZ, 1_000, 1), waves.high_pass(tone, RATE_HZ, 1_000, 1)):
        assert waves.rms(one[4_000:]) == pytest.approx(waves.rms(tone) / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("kind", BANGS)
def test_every_kind_of_bang_is_a_sound_of_peak_one(kind: str) -> None:
    wave = bangs.bang(np.random.default_rng(3), RATE_HZ, kind)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() == pytest.approx(1.0)


def test_a_street_delays_nothing_before_the_direct_sound() -> None:
    click = np.array([1.0])
    heard = street.travel(np.random.default_rng(2), np.pad(click, (200, 200)), RATE_HZ, street.FAR)
    assert np.abs(heard[:190]).max() < 0.02


def test_a_clip_says_when_its_rounds_arrive() -> None:
    for seed in range(3):
        pcm, truth = shot_clip(np.random.default_rng(seed))
        cuts = [cut.t_ns / 1e9 for cut in cut_all(pcm, RATE_HZ)]
        assert cuts
        assert min(abs(cuts[0] - t) for t in truth) < 0.01


def test_a_seed_repeats_its_examples() -> None:
    one, same = example_set(5, 3), example_set(5, 3)
    assert one.pictures.shape[1:] == (SHAPE.frames, SHAPE.bands)
    assert one.pcm.shape == (len(one.truth), SHAPE.samples)
    np.testing.assert_array_equal(one.pictures, same.pictures)
    np.testing.assert_array_equal(one.truth, one.kinds == SHOT)


def test_area_under_the_curve_counts_pairs() -> None:
    assert auc(np.array([0.9, 0.4], np.float32), np.array([0.1, 0.4, 0.6], np.float32)) == pytest.approx(
        (3 + 1.5) / 6
    )


@pytest.fixture(scope="module")
def few() -> ExampleSet:
    """Enough windows to count with."""
    return example_set(5, 8)


def tiny_network() -> list[Layer]:
    rng = np.random.default_rng(8)
    kernel, bias = rng.normal(0, 0.3, (5, 5, 1, 2)).astype(np.float32), np.zeros(2, np.float32)
    dense = rng.normal(0, 0.3, (40, 1)).astype(np.float32)
    return [
        Layer(Op.CONV, 2, kernel, bias),
        Layer(Op.MEAN),
        Layer(Op.DENSE, 1, dense, np.zeros(1, np.float32)),
    ]


def test_calibration_centres_scores_and_keeps_their_order(few: ExampleSet) -> None:
    layers = tiny_network()
    before = numpy_scorer(layers)(few.pictures)
    after = numpy_scorer(calibrated(layers, few))(few.pictures)
    shots_, others = after[few.truth == 1], after[few.truth == 0]
    # Platt's fit makes the mean score equal the share of shots; classes weigh the same.
    assert 0.5 * (shots_.mean() + others.mean()) == pytest.approx(0.5, abs=0.01)
    rank = np.argsort(before) if np.corrcoef(before, after)[0, 1] > 0 else np.argsort(-before)
    assert (np.diff(after[rank]) >= -1e-6).all()


def test_the_same_network_makes_the_same_bundle_byte_for_byte(tmp_path: Path, few: ExampleSet) -> None:
    for name in ("one", "two"):
        judgement = write_bundle(tmp_path / name, tiny_network(), 3, few)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["card.md", "golden.npz", "manifest.json", "model.f32.tflite"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert judgement == judge(numpy_scorer(tiny_network()), few, 0.8)


def test_the_card_is_honest_about_what_was_not_measured(few: ExampleSet) -> None:
    judged = judge(lambda pictures: np.full(len(pictures), 0.9, np.float32), few, 0.8)
    facts = dict.fromkeys(
        (
            "name",
            "version",
            "before_ms",
            "after_ms",
            "span_ms",
            "threshold",
            "weights",
            "size",
            "trained",
            "tested",
        ),
        "?",
    )
    card = write_card(facts, judged, None)
    assert "Not measured for this build" in card
    assert "Not measured" not in with_recordings(card, judged)
    assert with_recordings(with_recordings(card, judged), None) == card


def test_a_scene_is_repeatable_and_holds_what_was_asked_for() -> None:
    story = {"shots": [1.0], "bangs": [(2.0, "door")]}
    one, same, other = scene(3.0, 16_000, 1, **story), scene(3.0, 16_000, 1, **story), scene(3.0, 16_000, 2)
    np.testing.assert_array_equal(one, same)
    assert (one.dtype, one.shape) == (np.dtype(np.int16), (48_000,))
    assert np.abs(one[15_900:16_500]).max() > 5 * np.abs(one[:15_900]).max()
    assert np.abs(other).max() < 3_000
    with pytest.raises(KeyError):
        scene(1.0, 16_000, 1, [], [(0.5, "unicorn")])
