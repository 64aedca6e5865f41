"""What is learned from, what is held out, and what follows from scores: all that needs no JAX."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway_models import card, make
from gateway_models.bundles import gunshot
from gateway_models.calibrate import Stacking, fit, probability, shot_log_odds
from gateway_models.crossval import about_of
from gateway_models.folds import Held, PairScores, Settings, by_clip, clip_scores, judged_in, settings_of
from gateway_models.lessons import (
    CITY,
    PAIRS,
    SHARES,
    Task,
    fold_tasks,
    learned,
    left_out,
    lesson,
    pair_tasks,
)
from gateway_models.network import Layer, Op, forward, same_padding, weights_in
from gateway_models.onsets import OnsetSet
from gateway_models.runfolder import RunFolder, load_layers, save_layers
from gateway_models.thresholds import Alarms, chances_of, label_thresholds, shot_threshold
from gateway_models.windows import GROUPS, WindowSet

_SESSIONS = ("FP1", "FP2", "FP3", "belize", "cdda", "synthetic")


def _windows(count: int = 600) -> WindowSet:
    """Windows without a picture worth looking at, of every session, label and group."""
    rng = np.random.default_rng(1)
    session = np.array(_SESSIONS)[rng.integers(0, len(_SESSIONS), count)]
    label = rng.integers(0, 5, count).astype(np.int8)
    city, real = np.isin(session, CITY), session != "synthetic"
    gun = label == 0
    group = np.where(
        real,
        np.where(city, np.where(gun, GROUPS[0], GROUPS[2]), np.where(gun, GROUPS[1], GROUPS[3])),
        np.where(gun, GROUPS[4], GROUPS[5]),
    )
    return WindowSet(
        first=rng.integers(0, 256, (count, 2, 3), dtype=np.uint8),
        second=rng.integers(0, 256, (count, 2, 3), dtype=np.uint8),
        label=label,
        kind=np.where(gun, "gun", "thing"),
        session=session,
        noise_session=np.array(["", "FP1", "FP2", "belize"])[rng.integers(0, 4, count)],
        clip=np.arange(count, dtype=np.int32),
        real=real,
        plain=real & (rng.random(count) < 0.7),
        prominence_db=rng.uniform(5, 40, count).astype(np.float32),
        group=group,
    )


def _onsets() -> OnsetSet:
    """Two clips with a shot and two without in each session, some with several onsets."""
    session = np.repeat(np.array([*_SESSIONS[:5], "510-Engine"]), 40)
    count = len(session)
    row = np.repeat(np.arange(count, dtype=np.int32), 2)
    pictures = np.zeros((len(row), 2, 3), np.uint8)
    return OnsetSet(
        first=pictures,
        second=pictures,
        row=row,
        prominence_db=np.zeros(len(row), np.float32),
        shot=(np.arange(count) % 2 == 0) & (session != "510-Engine"),
        kind=np.full(count, "x"),
        source=np.full(count, "x"),
        session=session,
        use=np.where(session == "510-Engine", "evaluate", "train"),
        seconds=np.full(count, 36.0),
        number=np.where(session == "510-Engine", -1, np.arange(count)).astype(np.int32),
    )


def _pairs(windows: WindowSet, onsets: OnsetSet, shifted: str = "nobody") -> list[PairScores]:
    """Made-up scores of every pair; those of session `shifted` are quite different."""
    pairs = []
    for part, held_out in enumerate(PAIRS):
        rng = np.random.default_rng(part)
        task = next(task for task in pair_tasks() if task.part == part)
        out = np.isin(windows.session, held_out) | left_out(windows, task)
        rows = windows.take(np.flatnonzero(out & (windows.plain | ~windows.real)))
        moved = np.where((rows.session == shifted) | (rows.noise_session == shifted), 9.0, 0.0)
        odds = tuple(rng.normal(np.where(rows.label == 0, 2.0, -2.0), 1.5) + moved for _ in range(2))
        logits = rng.normal(size=(len(rows), 5)).astype(np.float32)
        moved = np.where(onsets.session[onsets.row] == shifted, 9.0, 0.0)
        heard = tuple(rng.normal(size=len(onsets.row)) + moved for _ in range(2))
        pairs.append(PairScores(part, Held(odds, rows, logits), heard))
    return pairs


def test_convolution_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 7, 5, 2)).astype(np.float32)
    weight = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    dense = Layer(Op.DENSE, 1, np.eye(24, dtype=np.float32), np.zeros(24, np.float32))
    layers = [Layer(Op.CONV, 2, weight, bias), Layer(Op.POOL), dense]
    pads = [same_padding(size, 3, 2) for size in (7, 5)]
    padded = np.pad(x[0], (pads[0][1:], pads[1][1:], (0, 0)))
    out = np.zeros((pads[0][0], pads[1][0], 4))
    for i, j in np.ndindex(out.shape[:2]):
        piece = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        out[i, j] = np.maximum(0.0, np.tensordot(piece, weight, 3) + bias)
    expected = np.concatenate((out.mean(axis=0), out.max(axis=0)), axis=-1).ravel()
    np.testing.assert_allclose(forward(layers, x)[0], expected, rtol=1e-4, atol=1e-5)
    assert weights_in(layers) == 3 * 3 * 2 * 4 + 4 + 24 * 24 + 24


@pytest.mark.parametrize("task", [*pair_tasks(), *fold_tasks(1)], ids=lambda task: task.file)
def test_nothing_of_a_held_out_session_is_learned(task: Task) -> None:
    windows = _windows()
    kept = windows.take(np.flatnonzero(learned(windows, task)))
    assert not set(task.held_out) & (set(kept.session) | set(kept.noise_session))
    assert set(_SESSIONS) - set(task.held_out) == set(kept.session)
    assert not (learned(windows, task) & left_out(windows, task)).any()


def test_pairs_leave_different_thirds_out() -> None:
    windows = _windows()
    thirds = np.stack([left_out(windows, task) for task in pair_tasks() if task.look == "first"])
    others = ~np.isin(windows.session, CITY)
    assert (thirds[:, others].sum(axis=0) == 1).all()
    assert not thirds[:, ~others].any()
    assert (thirds.sum(axis=1) > 0.2 * others.sum()).all()


def test_the_synthetic_task_hears_no_recording() -> None:
    windows = _windows()
    kept = windows.take(np.flatnonzero(learned(windows, Task("synthetic", "first", 1, (), 0, True))))
    assert set(kept.session) == {"synthetic"}
    assert set(kept.noise_session) == {""}


def test_a_batch_is_composed_as_the_shares_say() -> None:
    windows = _windows()
    task = Task("all", "first", 1)
    work = lesson(windows, task)
    group = windows.group[learned(windows, task)]
    for name, share in SHARES.items():
        assert work.share[group == name].sum() == pytest.approx(share)


def test_calibration_finds_the_slope_that_was_there() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(0.0, 2.0, 20_000)
    shot = rng.random(len(z)) < probability(1.7 * z - 0.4)
    found = fit([z, z], shot, np.ones(len(z)))
    assert found.weights[0] == found.weights[1]
    assert sum(found.weights) == pytest.approx(1.7, rel=0.1)
    assert found.offset == pytest.approx(-0.4, abs=0.1)
    assert found.apply([z[:1], z[:1]])[0] == pytest.approx(sum(found.weights) * z[0] + found.offset)


def test_log_odds_of_a_shot_are_those_of_a_softmax() -> None:
    logits = np.random.default_rng(4).normal(0, 3, (50, 5)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shot_log_odds(logits), np.log(p[:, 0] / (1 - p[:, 0])), atol=1e-4)
    chances = chances_of(p[:, 0].astype(np.float64), logits)
    np.testing.assert_allclose(chances, p, atol=1e-5)


@pytest.mark.parametrize("session", CITY)
def test_settings_of_a_fold_know_nothing_of_its_session(session: str) -> None:
    windows, onsets = _windows(3000), _onsets()
    known = settings_of(_pairs(windows, onsets), onsets, session)
    assert settings_of(_pairs(windows, onsets, shifted=session), onsets, session) == known
    other = next(name for name in CITY if name != session)
    assert settings_of(_pairs(windows, onsets, shifted=other), onsets, session) != known


def test_settings_to_ship_know_all_that_was_held_out() -> None:
    windows, onsets = _windows(3000), _onsets()
    pairs = _pairs(windows, onsets)
    assert [len(pair.but("").held.windows) for pair in pairs] == [len(pair.held.windows) for pair in pairs]
    shipped = settings_of(pairs, onsets)
    for session in CITY:
        assert settings_of(_pairs(windows, onsets, shifted=session), onsets) != shipped
    assert settings_of(_pairs(windows, onsets, shifted="belize"), onsets) != shipped


def test_a_threshold_lets_through_as_many_as_it_says() -> None:
    rng = np.random.default_rng(5)
    loud = rng.normal(-3.0, 2.0, 2000)
    found = shot_threshold([Alarms(loud[:1000], 1.0), Alarms(loud[1000:], 1.0)])
    measured = found["sure"] - found["margin"]
    assert int((probability(loud) > measured + 1e-4).sum()) <= 20
    assert int((probability(loud) > measured - 0.02).sum()) >= 20
    assert found["margin"] > 0
    assert 0 < found["unsure"] < measured


def test_another_label_is_sure_where_hardly_anything_else_is() -> None:
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 5, 4000)
    chances = rng.dirichlet(np.ones(5) * 0.3, 4000)
    found = label_thresholds(chances, truth)
    assert set(found) == {"firework", "glass", "impact"}
    for number, label in enumerate(("firework", "glass", "impact"), 1):
        stray = chances[truth != number, number]
        assert float(np.mean(stray > found[label]["sure"])) <= 0.01 or found[label]["sure"] == 0.98


def test_a_clip_is_its_likeliest_onset() -> None:
    onsets = _onsets()
    odds = np.full(len(onsets.row), -3.0)
    odds[5] = 2.0
    onsets = replace(onsets, row=np.where(onsets.row == 7, 6, onsets.row).astype(np.int32))
    best = by_clip(onsets, odds)
    assert best[2] == 2.0
    assert best[7] == -np.inf
    scored = clip_scores(onsets, odds, judged_in(onsets, "FP1"))
    assert len(scored) == 80
    assert scored.score[7] == 0.0
    assert set(scored.session) == {"FP1", "510-Engine"}


def test_a_network_survives_being_written(tmp_path: Path) -> None:
    dense = Layer(Op.DENSE, 1, np.ones((2, 3), np.float32), np.zeros(3, np.float32))
    layers = [Layer(Op.DEPTHWISE, 2, np.ones((3, 3, 1), np.float32), np.ones(1, np.float32)), Layer(Op.POOL)]
    save_layers(tmp_path / "a.npz", [*layers, dense])
    again = load_layers(tmp_path / "a.npz")
    assert [(layer.op, layer.stride) for layer in again] == [(x.op, x.stride) for x in [*layers, dense]]
    assert again[1].weight is None
    np.testing.assert_array_equal(again[2].weight, dense.weight)  # type: ignore[arg-type]


def test_a_run_folder_is_of_one_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin({"seed": 1})
    run.begin({"seed": 1})
    with pytest.raises(ValueError, match=r"another kind, or of other recordings: delete that folder"):
        run.begin({"seed": 2})


def test_a_run_knows_the_recordings_that_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Onsets, trees and ends in it are not made again: they must not be those of another manifest."""
    monkeypatch.setattr(make, "build", lambda *_: _windows(1))
    for name, rows in (("one", "a.wav"), ("other", "b.wav")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(rows)
    make.run_folder(tmp_path / "run", tmp_path / "one")
    make.run_folder(tmp_path / "run", tmp_path / "one")
    for data in (tmp_path / "other", None):
        with pytest.raises(ValueError, match="delete that folder"):
            make.run_folder(tmp_path / "run", data)


def test_the_card_shows_the_committed_folds_and_they_clear_the_bar() -> None:
    folds = json.loads(gunshot.with_name("gunshot-folds.json").read_text(encoding="utf-8"))
    mean, trees = folds["mean"], folds["baseline"]
    assert mean["auc"] >= 0.97
    assert mean["auc"] > trees["auc"]
    assert mean["recall_at_60"] >= 0.85
    assert len(folds["seeds"]) == 3
    assert not {"roc", "runs_on"} & set(folds["seeds"][0]["judgement"])
    text = (gunshot / "card.md").read_text(encoding="utf-8")
    assert card.measured(folds).strip() in text
    manifest = json.loads((gunshot / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["figures"]["folds"]["auc"] == round(mean["auc"], 4)


def test_a_card_says_when_nothing_was_measured() -> None:
    calibration = {"first": Stacking((1.0,), 0.0), "second": Stacking((0.5, 0.5), 0.0)}
    settings = Settings(calibration, {"gunshot": {"sure": 0.9, "unsure": 0.6, "margin": 0.01}})
    sources = [{"name": "synthesis", "licence": "Apache-2.0", "clips": 9000}]
    about = about_of("gunshot-x", "1.0.0", "2026-11-23", 1, settings, sources, ["nobody"], {})
    text = card.write_card(about, 19_509, 40_000, None)
    assert "Not measured" in text
    assert "no recording" in text
    assert "19,509" in text
    assert "{" not in text
