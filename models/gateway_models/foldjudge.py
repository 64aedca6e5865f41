"""Judges the folds through a box's own path: `python -m gateway_models.foldjudge RUN DATA`.

Runs in a box's environment (TFLite), on the bundles that `crossval` packed in the training environment. Each
bundle hears the clips of its fold; what the three folds of a seed heard is pooled and judged as one.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.bundle import load_bundle
from gateway_models.evaluate import as_json
from gateway_models.hearing import hear
from gateway_models.judgement import Heard, Subject, judge, scored
from gateway_models.labelled import Clip, read_manifest
from gateway_models.scores import Scored, alarms_per_hour, auc, recall_at, recall_over

FOLDS: Final = "folds.json"
BUNDLES: Final = "bundles"
CITY: Final = ("FP1", "FP2", "FP3")
SEEDS: Final = (1, 2, 3)


def bundle_of(run: Path, session: str, seed: int) -> Path:
    """Where the bundle of a fold is."""
    return run / BUNDLES / f"without-{session}-{seed}"


def clips_of(clips: Sequence[Clip], session: str) -> list[Clip]:
    """The clips that a fold is judged on: its session's, and those that may only be tested with."""
    return [clip for clip in clips if clip.session == session or clip.use == "evaluate"]


def judge_folds(run: Path, clips: Sequence[Clip], workers: int = 2) -> dict[str, Any]:
    """The figures of every seed, their means, and those that `crossval` left in the run: of the baseline, and
    of the networks by themselves with clips' ends as they are and made alike.
    """
    seeds = [_seed(run, seed, _heard(run, clips, seed, "f32", workers)) for seed in SEEDS]
    int8 = _heard(run, clips, SEEDS[0], "int8", workers)
    trees = json.loads((run / "trees.json").read_text(encoding="utf-8"))
    ends = json.loads((run / "ends.json").read_text(encoding="utf-8"))
    return {
        "mean": _mean([seed["figures"] for seed in seeds]),
        "int8": figures_of(Scored.pooled([scored(part) for part in int8.values()])),
        "ends": {name: _mean(each) for name, each in ends.items()},
        "first_look": _mean([seed["judgement"]["first_look"] for seed in seeds]),
        "baseline": _mean(trees),
        "baseline_seeds": trees,
        "seeds": seeds,
    }


def _heard(run: Path, clips: Sequence[Clip], seed: int, variant: str, workers: int) -> dict[str, list[Heard]]:
    """What each fold's bundle makes of its clips."""
    found = {}
    for session in CITY:
        heard, _ = hear(bundle_of(run, session, seed), clips_of(clips, session), variant, workers)
        found[session] = [one for one in heard if not one.problem]
    return found


def _seed(run: Path, seed: int, parts: Mapping[str, Sequence[Heard]]) -> dict[str, Any]:
    heard = [one for part in parts.values() for one in part]
    manifests = {session: load_bundle(bundle_of(run, session, seed)).manifest for session in CITY}
    first = manifests[CITY[0]]
    sure = {session: each.thresholds[first.labels[0]].sure for session, each in manifests.items()}
    judgement = judge(Subject(first.name, first.version, first.model, 1.0, 1.0, first.labels), heard)
    # Each fold has a threshold of its own, so that nothing can be told of one for all.
    over = Scored.pooled([scored(part).over(sure[session]) for session, part in parts.items()])
    by_itself = {"recall": recall_over(over, 1.0), "false_alarms_per_hour": alarms_per_hour(over, 1.0)}
    at = {name: value for name, value in judgement["threshold"].items() if name != "unsure"}
    return {
        "seed": seed,
        "figures": figures_of(scored(heard)),
        "folds": {session: figures_of(scored(part)) for session, part in parts.items()},
        "distinct": distinct(heard),
        "judgement": judgement | {"threshold": at | {"sure": sure, "after_last_look": by_itself}},
    }


def distinct(heard: Sequence[Heard]) -> dict[str, Any]:
    """What is heard by one fold or by all three, counted once: a sound heard thrice is no three sounds."""
    once = list({one.clip.file: one for one in heard}.values())
    negatives = [one for one in once if not one.clip.is_gunshot]
    return {
        "shots": len(once) - len(negatives),
        "negatives": len(negatives),
        "negative_hours": sum(one.seconds for one in negatives) / 3600.0,
        "kinds": {
            kind: sum(one.clip.kind == kind for one in once) for kind in sorted({o.clip.kind for o in once})
        },
    }


def figures_of(clips: Scored) -> dict[str, float | None]:
    """The three figures of the bar."""
    return {"auc": auc(clips), "recall_at_10": recall_at(clips, 10), "recall_at_60": recall_at(clips, 60)}


def _mean(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = [one[name] for one in each if one[name] is not None]
        return float(np.mean(values)) if values else None

    flat = [
        {k: v for k, v in one.items() if not isinstance(v, dict)}
        | {
            f"{k}_{rate}": v
            for k, rates in one.items()
            if isinstance(rates, dict)
            for rate, v in rates.items()
        }
        for one in each
    ]
    each = flat
    return {name: mean(name) for name in flat[0]}


def main() -> int:
    """Judge, and write RUN/folds.json."""
    run, data = Path(sys.argv[1]), Path(sys.argv[2])
    found = judge_folds(run, read_manifest(data))
    (run / FOLDS).write_text(as_json(found) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
