"""The figures of a detector, against hand-worked cases and against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_models import scores
from gateway_models.scores import Scored

ONCE = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


def scored(shots: list[float], others: list[float], seconds: float = 360.0) -> Scored:
    """Each clip a session of its own."""
    count = len(shots) + len(others)
    shot = np.arange(count) < len(shots)
    session = np.array([f"s{n}" for n in range(count)])
    return Scored(np.array([*shots, *others], float), shot, session, np.full(count, seconds))


def drawn(rows: list[tuple[int, bool, int]], seconds: float = 60.0) -> Scored:
    """Clips of hypothesis: score in twelfths, truth, session."""
    score, shot, session = zip(*rows, strict=True)
    return Scored(
        np.array(score) / 12.0,
        np.array(shot),
        np.array([f"s{n}" for n in session]),
        np.full(len(rows), seconds),
    )


def test_the_area_counts_pairs_and_ties_by_half() -> None:
    assert scores.auc(scored([0.9, 0.5], [0.5, 0.1])) == pytest.approx(3.5 / 4)


@given(ONCE)
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool, int]]) -> None:
    clips = drawn(rows)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in clips.shots for b in clips.others]
    assert scores.auc(clips) == (pytest.approx(np.mean(pairs)) if pairs else None)


@given(ONCE)
def test_the_curve_has_the_same_area(rows: list[tuple[int, bool, int]]) -> None:
    clips = drawn(rows)
    if (area := scores.auc(clips)) is not None:
        false, true = scores.roc(clips)
        assert np.trapz(true, false) == pytest.approx(area)


@pytest.mark.parametrize(
    ("hours", "rate", "enough"),
    [(2.99, 1, False), (3, 1, True), (0.29, 10, False), (0.3, 10, True), (0.05, 60, True), (0, 60, False)],
)
def test_a_rate_is_told_only_where_three_false_alarms_would_be_allowed(
    hours: float, rate: int, enough: bool
) -> None:
    assert scores.enough_for(hours, rate) is enough


def test_recall_at_a_rate_is_what_lies_over_the_first_negative_that_is_not_allowed() -> None:
    # Ten negatives of six minutes are an hour: at 3 per hour, three may lie over the threshold.
    clips = scored([0.95, 0.65, 0.6, 0.2], [0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0])
    assert scores.threshold_at(clips.others, clips.hours, 3) == 0.6
    assert scores.recall_at(clips, 3) == 0.5  # the shot at 0.6 is not told from the negative at 0.6
    assert scores.recall_at(clips, 2) is None


def test_what_set_off_nothing_is_found_at_no_rate() -> None:
    clips = scored([0.5, 0.0], [0.0] * 10)
    assert scores.recall_at(clips, 60) == 0.5


@given(ONCE, st.sampled_from([3.0, 10.0, 60.0]))
def test_no_threshold_finds_more_within_the_allowance(rows: list[tuple[int, bool, int]], rate: float) -> None:
    clips = drawn(rows, 3600.0)
    recall = scores.recall_at(clips, rate)
    if recall is None:
        return
    allowed = [
        float(np.mean(clips.shots > t))
        for t in [0.0, *clips.score]
        if np.sum(clips.others > t) <= rate * clips.hours + 1e-9
    ]
    assert recall == pytest.approx(max(allowed))


def test_at_a_threshold() -> None:
    clips = scored([0.9, 0.8, 0.1], [0.85, 0.8, 0.2], seconds=1200.0)
    assert scores.recall_over(clips, 0.8) == pytest.approx(2 / 3)
    assert scores.alarms_per_hour(clips, 0.8) == pytest.approx(2.0)


def test_calibration_weighs_bins_by_their_clips_and_leaves_out_what_nobody_heard() -> None:
    clips = scored([0.95, 0.95, 0.95, 0.0], [0.95, 0.15, 0.0])
    bins = scores.calibration(clips)
    assert [(b.count, round(b.score, 2), b.share) for b in bins] == [(1, 0.15, 0.0), (4, 0.95, 0.75)]
    assert scores.calibration_error(bins) == pytest.approx((1 * 0.15 + 4 * 0.2) / 5)


def test_a_score_of_one_lies_in_the_last_bin() -> None:
    (only,) = scores.calibration(scored([1.0], []))
    assert (only.low, only.high) == (0.9, 1.0)


def test_draws_take_whole_sessions_and_keep_both_kinds() -> None:
    session = np.array(["a", "a", "b", "b", "c", "d"])
    shot = np.array([True, False, True, True, False, False])
    clips = Scored(np.linspace(0, 1, 6), shot, session, np.ones(6))
    for chosen in scores.draws(clips, count=50):
        times = {name: int(np.sum(session[chosen] == name)) for name in "abcd"}
        assert times["a"] % 2 == times["b"] % 2 == 0
        assert (times["a"] + times["b"], times["c"] + times["d"]) == (4, 2)


def test_sessions_that_differ_give_a_wide_interval_clips_of_one_give_none() -> None:
    rng = np.random.default_rng(3)
    easy, hard = rng.uniform(0.6, 1.0, 50), rng.uniform(0.0, 0.6, 50)
    score = np.concatenate((easy, hard, rng.uniform(0.0, 0.9, 100)))
    shot = np.arange(200) < 100
    apart = np.array(["easy"] * 50 + ["hard"] * 50 + ["n1"] * 50 + ["n2"] * 50)
    mixed = np.array([f"s{n % 20}" for n in range(200)])
    wide = scores.interval(Scored(score, shot, apart, np.ones(200)), scores.auc)
    narrow = scores.interval(Scored(score, shot, mixed, np.ones(200)), scores.auc)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert scores.interval(Scored(score, shot, np.array(["one"] * 200), np.ones(200)), scores.auc) is None


@pytest.mark.parametrize(
    ("shots_in", "others_in", "has_one"),
    [
        ("a a a", "b c d", False),  # one session with shots: the recall of each draw is the same
        ("a b c", "d d d", False),  # and so are the false alarms with one of all the negatives
        ("a b c", "d e d", True),
        ("a b c", "a b a", True),
        ("a b c", "a d d", True),
    ],
)
def test_too_few_sessions_of_a_kind_give_no_interval(shots_in: str, others_in: str, has_one: bool) -> None:
    session = np.array([*shots_in.split(), *others_in.split()])
    score = np.array([0.9, 0.5, 0.4, 0.7, 0.3, 0.1])
    clips = Scored(score, np.arange(6) < 3, session, np.full(6, 3600.0))
    assert (scores.interval(clips, scores.auc) is not None) == has_one


def test_what_reaches_a_threshold() -> None:
    over = scored([0.9, 0.8], [0.79]).over(0.8)
    assert list(over.score) == [1.0, 1.0, 0.0]
    assert list(Scored.pooled([over, over]).shot) == [True, True, False] * 2


def test_a_gain_is_taken_draw_by_draw() -> None:
    rng = np.random.default_rng(5)
    old = scored(list(rng.uniform(0.2, 1.0, 60)), list(rng.uniform(0.0, 0.8, 60)))
    better = Scored(old.score + 0.1 * old.shot, old.shot, old.session, old.seconds)
    gained = scores.gain(old, better, scores.auc)
    assert gained is not None
    assert gained.low > 0.0  # although each area alone is uncertain by more than the gain
    surer = scores.gain(old, better, scores.auc, sure=0.999)
    assert surer is not None
    assert surer.low < gained.low < gained.high < surer.high
    with pytest.raises(ValueError, match="same clips"):
        scores.gain(old, better.take(np.arange(10)), scores.auc)


@pytest.mark.parametrize(("db", "band"), [(40, 0), (25, 0), (24.9, 1), (13, 2), (12, 3), (-np.inf, 3)])
def test_bands(db: float, band: int) -> None:
    assert scores.band_of(db) == band
