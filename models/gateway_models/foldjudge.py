"""Judges the folds through a box's own path: `python -m gateway_models.foldjudge RUN DATA`.

Runs in a box's environment (TFLite), on the bundles that `crossval` packed in the training environment. Each
bundle hears the clips of its fold; what the three folds of a seed heard is pooled and judged as one.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.bundle import load_bundle
from gateway_models.evaluate import as_json
from gateway_models.hearing import hear
from gateway_models.judgement import Heard, Judged, Reported, Subject, judge, scored
from gateway_models.labelled import GUNSHOT, Clip, read_manifest
from gateway_models.scores import Scored, auc, recall_at

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


def heard_by(run: Path, clips: Sequence[Clip], session: str, seed: int, workers: int) -> list[Heard]:
    """What a fold's bundle makes of its clips; remembered in the run folder, by the bundle's hash."""
    folder = bundle_of(run, session, seed)
    model = load_bundle(folder).manifest.hash
    file = run / "heard" / f"{folder.name}.json"
    mine = clips_of(clips, session)
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["model"] == model and len(known["heard"]) == len(mine):
            return [_recalled(clip, plain) for clip, plain in zip(mine, known["heard"], strict=True)]
    heard, _ = hear(folder, mine, "f32", workers)
    file.parent.mkdir(exist_ok=True)
    plain = [{"seconds": h.seconds, "problem": h.problem, **_plain(h)} for h in heard]
    file.write_text(json.dumps({"model": model, "heard": plain}) + "\n", encoding="utf-8")
    return heard


def _plain(heard: Heard) -> dict[str, Any]:
    return {"bangs": [asdict(b) for b in heard.bangs], "events": [asdict(e) for e in heard.events]}


def _recalled(clip: Clip, plain: Mapping[str, Any]) -> Heard:
    bangs = tuple(Judged(**each) for each in plain["bangs"])
    events = tuple(Reported(**each) for each in plain["events"])
    return Heard(clip, plain["seconds"], bangs, events, plain["problem"])


def judge_folds(run: Path, clips: Sequence[Clip], workers: int = 2) -> dict[str, Any]:
    """The figures of every seed, their means, and those of the baseline from `trees.json` of the run."""
    seeds = []
    for seed in SEEDS:
        parts = {session: heard_by(run, clips, session, seed, workers) for session in CITY}
        seeds.append(_seed(run, seed, parts))
    trees = json.loads((run / "trees.json").read_text(encoding="utf-8"))
    ends = json.loads((run / "ends.json").read_text(encoding="utf-8"))
    return {
        "mean": _mean([seed["figures"] for seed in seeds]),
        "ends": {name: _mean(each) for name, each in ends.items()},
        "first_look": _mean([seed["judgement"]["first_look"] for seed in seeds]),
        "baseline": _mean(trees),
        "baseline_seeds": trees,
        "seeds": seeds,
    }


def _seed(run: Path, seed: int, parts: Mapping[str, Sequence[Heard]]) -> dict[str, Any]:
    heard = [one for part in parts.values() for one in part if not one.problem]
    whole = scored(heard)
    manifests = {session: load_bundle(bundle_of(run, session, seed)).manifest for session in CITY}
    first = manifests[CITY[0]]
    mine = first.thresholds[first.labels[0]]
    subject = Subject(
        first.name, first.version, first.model, mine.sure, mine.unsure or mine.sure, first.labels
    )
    shots = [one for one in heard if one.clip.is_gunshot]
    others = [one for one in heard if not one.clip.is_gunshot]
    return {
        "seed": seed,
        "figures": figures_of(whole),
        "folds": {session: figures_of(scored(part)) for session, part in parts.items()},
        "thresholds": {session: manifests[session].thresholds["gunshot"].sure for session in CITY},
        "reported": {
            "recall": float(np.mean([one.verdict == GUNSHOT for one in shots])),
            "false_alarms_per_hour": sum(e.alarm for one in others for e in one.events) / whole.hours,
        },
        "called": {kind: _share_called(heard, kind) for kind in sorted({one.clip.kind for one in heard})},
        "judgement": judge(subject, heard),
    }


def _share_called(heard: Sequence[Heard], kind: str) -> float:
    """Share of the clips of a kind that a box called a shot in the end, by its own fold's thresholds."""
    return float(np.mean([one.verdict == GUNSHOT for one in heard if one.clip.kind == kind]))


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
    print(json.dumps(found["mean"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
