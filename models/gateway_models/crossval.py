"""Cross-validation: train the folds' networks, calibrate them, pack them as bundles, fit the baseline.

What comes out is judged through a box's own path by `foldjudge`, in a box's environment.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_models.calibrate import Numbers
from gateway_models.ends import with_equal_ends
from gateway_models.export import GOLDEN_SOUNDS, golden_sound, nets_of, range_pictures
from gateway_models.foldjudge import bundle_of, figures_of
from gateway_models.folds import (
    PairScores,
    Settings,
    clip_scores,
    judged_in,
    raw_log_odds,
    score_pair,
    settings_of,
)
from gateway_models.lessons import CITY, LOOKS, PAIRS, SEEDS, Task, fold_tasks, lesson, pair_tasks
from gateway_models.onsets import OnsetSet, load_onsets, onsets_of
from gateway_models.pack import About, Net, pack
from gateway_models.runfolder import RunFolder, train_all
from gateway_models.scores import Scored
from gateway_models.windows import WindowSet

TREES: Final = "trees.json"
ENDS: Final = "ends.json"
TOLERANCE: Final = {"f32": 0.02, "int8": 0.6}  # logits: another runtime; one rounds otherwise
LATENCY_MS: Final = {"first": 20.0, "second": 40.0}
_FOLD_SOURCES: Final = ({"name": "one fold of a cross-validation", "licence": "not for use", "clips": 0},)


def crossvalidate(run: RunFolder, windows: WindowSet, data: Path, workers: int = 2) -> list[PairScores]:
    """Everything up to the folds' bundles and the baseline's figures. What is there is not made again, as the
    run folder is of one manifest and one kind of windows.
    """
    train_all(run, [*pair_tasks(), *(task for seed in SEEDS for task in fold_tasks(seed))], workers=workers)
    onsets = onsets_in(run, data, workers)
    pairs = [score_pair(run, windows, onsets, part) for part in range(len(PAIRS))]
    for session in CITY:
        settings = settings_of(pairs, onsets, session)
        for seed in SEEDS:
            pack_fold(run, windows, settings, session, seed)
    if not (run.path / TREES).exists():
        trees = [figures_of(tree_folds(windows, onsets, seed)) for seed in SEEDS]
        (run.path / TREES).write_text(json.dumps(trees) + "\n", encoding="utf-8")
    if not (run.path / ENDS).exists():
        equal = with_equal_ends(data, onsets, workers)
        ends = {name: oracle_folds(run, pairs, each) for name, each in (("as_is", onsets), ("equal", equal))}
        (run.path / ENDS).write_text(json.dumps(ends) + "\n", encoding="utf-8")
    return pairs


def oracle_folds(run: RunFolder, pairs: Sequence[PairScores], onsets: OnsetSet) -> list[dict[str, Any]]:
    """The figures of each seed, by the networks themselves instead of a box's runtime."""
    known = onsets_in(run, Path())
    settings = {session: settings_of(pairs, known, session) for session in CITY}
    found = []
    for seed in SEEDS:
        parts = []
        for session in CITY:
            odds = raw_log_odds(run, [t for t in fold_tasks(seed) if t.held_out == (session,)], onsets)
            calibrated = settings[session].calibration["second"].apply(odds)
            parts.append(clip_scores(onsets, calibrated, judged_in(onsets, session)))
        found.append(figures_of(Scored.pooled(parts)))
    return found


def onsets_in(run: RunFolder, data: Path, workers: int = 2) -> OnsetSet:
    """The recordings' onsets, made once."""
    file = run.path / "onsets.npz"
    if not file.exists():
        onsets_of(data, workers).save(file)
    return load_onsets(file)


def pack_fold(run: RunFolder, windows: WindowSet, settings: Settings, session: str, seed: int) -> None:
    """The bundle of one fold."""
    tasks = [task for task in fold_tasks(seed) if task.held_out == (session,)]
    name = f"fold-{session.lower()}-{seed}"
    about = about_of(name, "0.0.0", "1980-01-01", seed, settings, _FOLD_SOURCES, ["not for use"], {})
    pack_bundle(
        bundle_of(run.path, session, seed),
        about,
        run,
        tasks,
        windows,
        f"# {name}\n",
        Ed25519PrivateKey.generate(),
    )


def pack_bundle(
    folder: Path,
    about: About,
    run: RunFolder,
    tasks: Sequence[Task],
    windows: WindowSet,
    card: str,
    key: Ed25519PrivateKey | None = None,
) -> None:
    """Export the networks of both looks and write their bundle, signed with `key` or the maker's own."""
    nets: list[Net] = []
    for task in tasks:
        pictures = range_pictures(np.random.default_rng(task.seed), windows, task.look)
        nets += nets_of(task.look, run.layers(task), pictures, f"{about.name} {about.version} {task.look}")
    sounds = [golden_sound(about.seed, number) for number in range(GOLDEN_SOUNDS)]
    pack(folder, about, nets, sounds=sounds, sounds_hz=16_000, card=card, key=key)


def about_of(
    name: str,
    version: str,
    created: str,
    seed: int,
    settings: Settings,
    sources: Sequence[dict[str, Any]],
    thanks: Sequence[str],
    figures: dict[str, Any],
) -> About:
    """The manifest's contents."""
    calibration = {look: settings.calibration[look] for look in LOOKS}
    return About(
        name=name,
        version=version,
        created=created,
        licence="Apache-2.0",
        credits=list(thanks),
        recipe="./dev models",
        seed=seed,
        sources=list(sources),
        calibration={look: (each.weights, each.offset) for look, each in calibration.items()},
        thresholds=settings.thresholds,
        tolerance=TOLERANCE,
        latency_ms=LATENCY_MS,
        figures=figures,
    )


def tree_folds(windows: WindowSet, onsets: OnsetSet, seed: int) -> Scored:
    """The baseline in the same folds: both looks' trees, their log-odds added."""
    from gateway_models.baseline import fit_trees, tree_scores

    parts = []
    for session in CITY:
        total: Numbers = np.zeros(len(onsets.row))
        for task in fold_tasks(seed):
            if task.held_out == (session,):
                trees = fit_trees(lesson(windows, task), seed)
                total = total + tree_scores(trees, getattr(onsets, task.look)) / len(LOOKS)
        parts.append(clip_scores(onsets, total, judged_in(onsets, session)))
    whole = Scored.pooled(parts)
    print(f"baseline, seed {seed}: {figures_of(whole)}", file=sys.stderr)
    return whole
