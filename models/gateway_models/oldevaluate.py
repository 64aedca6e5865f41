"""How shot-v1 was judged: leaves with it (gateway_models.judgement judges bundles of schema 2)."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.features import as_sound
from gateway.media import Pcm
from gateway_models.examples import RATE_HZ, SHAPE, ExampleSet, cut_all
from gateway_models.network import Array

_RISES_DB: Final = ((9, 20), (20, 30), (30, 40), (40, 90))
_FILL_S: Final = 0.4  # a recording is continued backwards, so that a shot in its first moment is heard


# Scores [n] of pictures [n, frames, bands]: a network in numpy, or a bundle's model on its runtime.
Scorer = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what it is about, how many, and the share that scored over the threshold."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Area under the ROC curve, and the share over the threshold by kind and by how far shots rise."""

    auc: float
    threshold: float
    kinds: tuple[Row, ...]
    rises: tuple[Row, ...]


def auc(of_shots: Array, of_others: Array) -> float:
    """The chance that a shot scores higher than something else; ties count half."""
    ordered = np.sort(of_others)
    below = np.searchsorted(ordered, of_shots, "left") + np.searchsorted(ordered, of_shots, "right")
    return float(below.mean() / (2 * len(ordered)))


def judge(scorer: Scorer, examples: ExampleSet, threshold: float) -> Judgement:
    """How the network does on a set of windows."""
    score = scorer(examples.pictures)
    is_shot = examples.truth == 1
    kinds = [_row(kind, score[examples.kinds == kind], threshold) for kind in np.unique(examples.kinds)]
    rises = [
        _row(
            f"{low}-{high} dB",
            score[is_shot & (examples.rise_db >= low) & (examples.rise_db < high)],
            threshold,
        )
        for low, high in _RISES_DB
    ]
    return Judgement(auc(score[is_shot], score[~is_shot]), threshold, tuple(kinds), tuple(rises))


def _row(name: str, score: Array, threshold: float) -> Row:
    return Row(str(name), len(score), float(np.mean(score >= threshold)) if len(score) else 0.0)


def judge_recordings(scorer: Scorer, folder: Path, threshold: float) -> Judgement:
    """How it does on a folder of clips with a manifest.csv (columns file, label, kind).

    A clip's score is the highest of its bangs, 0 if nothing in it set off the onset. None of these
    recordings was trained on.
    """
    found: dict[str, list[float]] = {}
    shot_kinds: set[str] = set()
    for file, label, kind in _clips(folder):
        cuts = cut_all(_recording(folder / file), RATE_HZ, over_db=12.0)
        pictures = np.stack([SHAPE.picture(as_sound(cut.pcm)) for cut in cuts]) if cuts else None
        best = 0.0 if pictures is None else float(scorer(pictures).max())
        found.setdefault(kind, []).append(best)
        if label == "gunshot":
            shot_kinds.add(kind)
    arrays: dict[str, npt.NDArray[np.float32]] = {k: np.array(v, np.float32) for k, v in found.items()}
    of_shots = np.concatenate([v for k, v in arrays.items() if k in shot_kinds])
    of_others = np.concatenate([v for k, v in arrays.items() if k not in shot_kinds])
    kinds = [
        _row(kind, arrays[kind], threshold) for kind in sorted(arrays, key=lambda k: (k not in shot_kinds, k))
    ]
    return Judgement(auc(of_shots, of_others), threshold, tuple(kinds), ())


def _clips(folder: Path) -> Iterator[tuple[str, str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["file"], row["label"], row["kind"]


def _recording(path: Path) -> Pcm:
    """A clip without the digital silence around it, led in by its own first moments mirrored."""
    import soundfile  # only this command needs it

    pcm, rate_hz = soundfile.read(path, dtype="int16")
    if rate_hz != RATE_HZ:
        raise ValueError(f"{path}: {rate_hz} Hz; the recordings are expected at {RATE_HZ} Hz")
    sounding = np.flatnonzero(pcm)
    trimmed: Pcm = pcm[sounding[0] : sounding[-1] + 1] if len(sounding) else pcm
    return np.pad(trimmed, (int(_FILL_S * RATE_HZ), 0), "symmetric")
