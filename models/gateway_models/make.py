"""Makes the shipped bundles: `gunshot` from recordings and synthesis, `gunshot-synthetic` from seeds alone.

Each step is made once in its run folder; a run that was broken off goes on. The same machine makes the same
networks from the same recordings.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway_models import card
from gateway_models.build import REVISION, build
from gateway_models.bundles import gunshot, gunshot_synthetic
from gateway_models.calibrate import probability
from gateway_models.crossval import about_of, crossvalidate, onsets_in, pack_bundle
from gateway_models.cutting import is_fit
from gateway_models.foldjudge import FOLDS
from gateway_models.folds import Held, Settings, calibration_of, hold, score_pair, settings_of
from gateway_models.labelled import MANIFEST
from gateway_models.lessons import FINAL, PAIRS, SEEDS, STEPS, SYNTHETIC_ONLY, final_tasks, pair_tasks
from gateway_models.network import weights_in
from gateway_models.pack import SYNTHESIS
from gateway_models.recordings import read_manifest
from gateway_models.runfolder import RunFolder, train_all
from gateway_models.thresholds import chances_of, label_thresholds
from gateway_models.windows import WindowSet

VERSION: Final = "1.0.0"
CREATED: Final = "2026-11-23"
SEED: Final = SEEDS[0]
FIGURES: Final = gunshot.with_name("gunshot-folds.json")
# Where the recordings came from; the licences ask for it.
CREDITS: Final = {
    "pittsburgh_live": "ShotSpotter, 'Accuracy of gunshot location' (research.accuracy-of-gunshot-location)",
    "belize_forest": "Katsis et al., Belize forest gunshots (by RosameliaCarioni/gunshot_detection)",
    "cdda_cc_sounds": "CDDA-Soundpacks (Fris0uman) and the Freesound authors named in its credits.md",
}


def run_folder(path: Path, data: Path | None) -> tuple[RunFolder, WindowSet]:
    """The run's folder, with its training set. Raises ValueError if it is of other recordings."""
    run = RunFolder(path)
    manifest = None if data is None else hashlib.sha256((data / MANIFEST).read_bytes()).hexdigest()
    run.begin({"steps": STEPS, "seed": SEED, "windows": REVISION, "manifest": manifest})
    return run, build(data, SEED, run.windows)


def make_folds(path: Path, data: Path, python: Path) -> dict[str, Any]:
    """Cross-validation, judged by a box's own path in `python`'s environment; the figures, which the card
    of the shipped bundle shows from then on.
    """
    run, windows = run_folder(path, data)
    crossvalidate(run, windows, data)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [str(python), "-m", "gateway_models.foldjudge", str(path), str(data)]
    subprocess.run(command, env=environment, check=True)
    found: dict[str, Any] = json.loads((path / FOLDS).read_text(encoding="utf-8"))
    FIGURES.write_text(json.dumps(_kept(found), indent=1) + "\n", encoding="utf-8")
    return found


def make(path: Path, data: Path) -> Path:
    """The bundle `gunshot`: trained on everything that may be trained on."""
    run, windows = run_folder(path, data)
    train_all(run, [*final_tasks(), *pair_tasks()])
    onsets = onsets_in(run, data)
    pairs = [score_pair(run, windows, onsets, part) for part in range(len(PAIRS))]
    settings = settings_of(pairs, onsets)
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else None
    sources = [*_recorded(data), _synthesis(windows)]
    about = about_of(
        gunshot.name, VERSION, CREATED, SEED, settings, sources, list(CREDITS.values()), _in_manifest(known)
    )
    text = card.write_card(about, _weights(run, FINAL), len(windows), known)
    pack_bundle(gunshot, about, run, final_tasks(), windows, text)
    return gunshot


def make_synthetic(path: Path) -> Path:
    """The bundle `gunshot-synthetic`: needs no recording, so anybody can make it again."""
    run, windows = run_folder(path, None)
    tasks = final_tasks(SYNTHETIC_ONLY)
    train_all(run, tasks)
    settings = _synthetic_settings(hold(run, windows, tasks))
    about = about_of(
        gunshot_synthetic.name,
        VERSION,
        CREATED,
        SEED,
        settings,
        [_synthesis(windows)],
        ["no recording of anybody is in it"],
        {},
    )
    text = card.write_card(about, _weights(run, SYNTHETIC_ONLY), len(windows), None)
    pack_bundle(gunshot_synthetic, about, run, tasks, windows, text)
    return gunshot_synthetic


def _synthetic_settings(held: Held) -> Settings:
    """Thresholds from synthetic windows, that hardly any other synthetic sound reaches: no rate per hour."""
    assert held.logits is not None
    calibration = calibration_of([held])
    shot = probability(calibration["second"].apply(held.log_odds))
    sure = float(np.clip(np.quantile(shot[~held.shot], 0.99), 0.5, 0.98))
    others = label_thresholds(chances_of(shot, held.logits), held.windows.label)
    mine = {"sure": round(sure, 4), "unsure": round(0.5 * sure, 4), "margin": 0.0}
    return Settings(calibration, {"gunshot": mine} | dict(others))


def _recorded(data: Path) -> list[dict[str, Any]]:
    clips = [clip for clip in read_manifest(data) if is_fit(clip)]
    counts = Counter((clip.source, clip.licence) for clip in clips)
    return [
        {"name": source, "licence": licence, "clips": count}
        for (source, licence), count in sorted(counts.items())
    ]


def _synthesis(windows: WindowSet) -> dict[str, Any]:
    count = len(np.unique(windows.clip[~windows.real]))
    return {"name": SYNTHESIS, "licence": "Apache-2.0", "clips": count}


def _weights(run: RunFolder, name: str) -> int:
    return weights_in(run.layers(final_tasks(name)[0]))


def _in_manifest(known: dict[str, Any] | None) -> dict[str, Any]:
    """What a box shows of how good the bundle is."""
    if known is None:
        return {}
    names = ("auc", "recall_at_10", "recall_at_60")
    return {"folds": {name: round(known["mean"][name], 4) for name in names}}


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    """What is committed of the folds: without the curves and the machine."""
    seeds = []
    for seed in found["seeds"]:
        judgement = {k: v for k, v in seed["judgement"].items() if k not in ("roc", "runs_on", "bundle")}
        seeds.append({k: v for k, v in seed.items() if k != "judgement"} | {"judgement": judgement})
    return found | {"seeds": seeds}


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
