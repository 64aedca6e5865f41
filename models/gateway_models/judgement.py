"""What a model is worth, from what it made of every bang in a folder of labelled clips.

The figures are a plain object of JSON (docs/evaluation.md explains each): numbers, null where the clips
cannot say, and intervals as pairs. A negative that is longer than ten seconds counts as one clip per ten
seconds, so that an hour of street in one file is not one chance of a false alarm.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from gateway_models.labelled import GUNSHOT, NEGATIVE, Clip
from gateway_models.recordings import class_of
from gateway_models.scores import (
    BANDS_DB,
    RATES_PER_H,
    Figure,
    Interval,
    Scored,
    alarms_per_hour,
    auc,
    band_of,
    calibration,
    calibration_error,
    intervals,
    recall_at,
    recall_over,
    roc,
    threshold_at,
)

PIECE_S: Final = 10.0
NOTHING: Final = "nothing"  # the box reported no event
UNSURE: Final = "unsure"
_CURVE_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Judged:
    """One onset as the product judged it, `at_s` after the clip's first sample.

    `first` and `final` are the calibrated probabilities of a shot after the first and after the last look.
    """

    at_s: float
    first: float
    final: float
    prominence_db: float


@dataclass(frozen=True, slots=True)
class Reported:
    """One event that a box would have reported: what it was called in the end, with which score, and whether
    it was called a shot at any time, which is an `alarm`.
    """

    label: str
    score: float
    alarm: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What the product made of one clip of `seconds`. `problem` says why it could not be judged at all."""

    clip: Clip
    seconds: float = 0.0
    bangs: tuple[Judged, ...] = ()
    events: tuple[Reported, ...] = ()
    problem: str = ""

    @property
    def verdict(self) -> str:
        """Of the event that counts: a shot before a doubt, a doubt before the rest, then the likeliest."""
        order = {GUNSHOT: 3, UNSURE: 2}
        best = max(self.events, key=lambda event: (order.get(event.label, 1), event.score), default=None)
        return best.label if best is not None else NOTHING

    @property
    def alarms(self) -> int:
        """Events that were called a shot at any time: what wakes somebody up."""
        return sum(event.alarm for event in self.events)

    @property
    def prominence_db(self) -> float:
        """Of its strongest bang; minus infinity if nothing set off the onset."""
        return max((bang.prominence_db for bang in self.bangs), default=-math.inf)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: the bundle, what ran it, and from which probability on it is sure of a shot."""

    name: str
    version: str
    model: str
    sure: float
    unsure: float
    classes: tuple[str, ...]
    runs_on: Mapping[str, Any] = field(default_factory=dict)


def scored(heard: Iterable[Heard], of: Callable[[Judged], float] = lambda bang: bang.final) -> Scored:
    """The clips' scores; long negatives in pieces of ten seconds. `of` picks the score of a bang."""
    rows: list[tuple[float, bool, str, float]] = []
    for one in heard:
        pieces = 1 if one.clip.is_gunshot else max(1, math.ceil(one.seconds / PIECE_S - 0.5))
        best = [0.0] * pieces
        for bang in one.bangs:
            place = min(pieces - 1, int(bang.at_s / one.seconds * pieces)) if pieces > 1 else 0
            best[place] = max(best[place], of(bang))
        rows += [(score, one.clip.is_gunshot, one.clip.session, one.seconds / pieces) for score in best]
    score, shot, session, seconds = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Scored(
        np.array(score, np.float64),
        np.array(shot, bool),
        np.array(session, str),
        np.array(seconds, np.float64),
    )


def judge(subject: Subject, heard: Sequence[Heard]) -> dict[str, Any]:
    """Every figure. `heard` may hold clips with problems: they are named and count nowhere."""
    good = [one for one in heard if not one.problem]
    final, first, alarms = scored(good), scored(good, lambda bang: bang.first), _alarms(good)
    spread = intervals(alarms, _REPORTED)
    value = {name: figure(alarms) for name, figure in _REPORTED.items()}
    bins = calibration(final)
    return {
        **_ranked(final),
        "first_look": {
            "auc": auc(first),
            "recall_at": {str(rate): recall_at(first, rate) for rate in RATES_PER_H},
        },
        "threshold": {
            "sure": subject.sure,
            "unsure": subject.unsure,
            "recall": value["recall"],
            "recall_95": _pair(spread["recall"]),
            "false_alarms_per_hour": value["alarms"],
            "false_alarms_per_hour_95": _alarms_95(value["alarms"], spread["alarms"], final.hours),
            "after_last_look": {
                "recall": recall_over(final, subject.sure),
                "false_alarms_per_hour": alarms_per_hour(final, subject.sure),
            },
            "unsure_shots": _share(one.verdict == UNSURE for one in good if one.clip.is_gunshot),
            "unsure_negatives": _share(one.verdict == UNSURE for one in good if not one.clip.is_gunshot),
        },
        "per_kind": _per_kind(good),
        "per_source": _per_source(good),
        "per_prominence": _per_prominence(good, final),
        "calibration": {
            "error": calibration_error(bins),
            "bins": [{"score": b.score, "share": b.share, "clips": b.count} for b in bins],
        },
        "confusion": _confusion(good, subject.classes),
        "roc": _curve(final),
        "clips": {
            "shots": int(sum(one.clip.is_gunshot for one in good)),
            "negatives": int(sum(not one.clip.is_gunshot for one in good)),
            "negative_hours": final.hours,
            "sessions": len({one.clip.session for one in good}),
            "unreadable": [{"file": str(one.clip.file), "why": one.problem} for one in heard if one.problem],
        },
        "bundle": {"name": subject.name, "version": subject.version, "model": subject.model},
        "runs_on": dict(subject.runs_on),
    }


def _at(rate: int) -> Figure:
    return lambda clips: recall_at(clips, rate)


_FIGURES: Final[dict[str, Figure]] = {"auc": auc} | {f"recall_at_{rate}": _at(rate) for rate in RATES_PER_H}
# Of clips whose score is how many alarms a box raised in them.
_REPORTED: Final[dict[str, Figure]] = {
    "recall": lambda clips: recall_over(clips, 1.0),
    "alarms": lambda clips: float(clips.others.sum()) / clips.hours if clips.hours > 0 else None,
}


def _ranked(clips: Scored) -> dict[str, Any]:
    """How well the scores tell shots from the rest, with intervals; null where the clips cannot say."""
    value = {name: figure(clips) for name, figure in _FIGURES.items()}
    spread = intervals(clips, _FIGURES)
    return {
        "auc": value["auc"],
        "recall_at": {str(rate): value[f"recall_at_{rate}"] for rate in RATES_PER_H},
        "auc_95": _pair(spread["auc"]),
        "recall_at_95": {str(rate): _pair(spread[f"recall_at_{rate}"]) for rate in RATES_PER_H},
    }


def _alarms(good: Sequence[Heard]) -> Scored:
    """The clips with how many alarms a box raised in each as their score."""
    return Scored(
        np.array([one.alarms for one in good], np.float64),
        np.array([one.clip.is_gunshot for one in good], bool),
        np.array([one.clip.session for one in good], str),
        np.array([one.seconds for one in good], np.float64),
    )


def _per_kind(good: Sequence[Heard]) -> dict[str, dict[str, Any]]:
    """Each kind against everything of the other label: fireworks first, then what is confused most."""
    rows: dict[str, dict[str, Any]] = {}
    for kind, shot in sorted({(one.clip.kind, one.clip.is_gunshot) for one in good}):
        inside = [one for one in good if (one.clip.kind, one.clip.is_gunshot) == (kind, shot)]
        name = kind if kind not in rows else f"{kind} ({GUNSHOT if shot else NEGATIVE})"
        against = [one for one in good if one.clip.is_gunshot != shot]
        label = GUNSHOT if shot else NEGATIVE
        rows[name] = {"label": label} | _counts(inside) | _ranked(scored([*inside, *against]))

    def order(name: str) -> tuple[Any, ...]:
        row = rows[name]
        shot = row["label"] == GUNSHOT
        return ("firework" not in name, shot, row["auc"] if row["auc"] is not None else 1.0, name)

    return {name: rows[name] for name in sorted(rows, key=order)}


def _per_source(good: Sequence[Heard]) -> dict[str, dict[str, Any]]:
    """Each source: shots found, and what came of its negatives per hour."""
    rows: dict[str, dict[str, Any]] = {}
    for source in sorted({one.clip.source for one in good}):
        inside = [one for one in good if one.clip.source == source]
        shots = [one for one in inside if one.clip.is_gunshot]
        negatives = [one for one in inside if not one.clip.is_gunshot]
        rows[source] = {
            "shots": len(shots),
            "recall": _share(one.alarms > 0 for one in shots),
            "negatives": len(negatives),
            **_ranked(scored(inside)),
        } | rates(negatives)
    return rows


def _counts(inside: Sequence[Heard]) -> dict[str, Any]:
    row = {
        "n": len(inside),
        "sessions": len({one.clip.session for one in inside}),
        "share": _share(one.alarms > 0 for one in inside),
        "unsure": _share(one.verdict == UNSURE for one in inside),
        "set_off": _share(bool(one.bangs) for one in inside),
    }
    return row | (rates(inside) if inside and not inside[0].clip.is_gunshot else {})


def rates(negatives: Sequence[Heard]) -> dict[str, Any]:
    """How often negatives set off the onset, made a pulse (a shot or a doubt), and an alarm."""
    hours = sum(one.seconds for one in negatives) / 3600.0
    events = [event for one in negatives for event in one.events]
    counts = {
        "onsets": sum(len(one.bangs) for one in negatives),
        "pulses": sum(event.alarm or event.label in (GUNSHOT, UNSURE) for event in events),
        "alarms": sum(one.alarms for one in negatives),
    }
    per_hour = {f"{name}_per_hour": n / hours if hours else None for name, n in counts.items()}
    return {"hours": hours} | counts | per_hour


def _per_prominence(good: Sequence[Heard], final: Scored) -> list[dict[str, Any]]:
    """Shots by how far they stood out: what is lost in the noise no model can find."""
    shots = [one for one in good if one.clip.is_gunshot]
    rows = []
    for number, (low, high) in enumerate(BANDS_DB):
        mine = [one for one in shots if band_of(one.prominence_db) == number]
        inside = scored(mine).score
        row: dict[str, Any] = {
            "from_db": low if np.isfinite(low) else None,
            "to_db": high if np.isfinite(high) else None,
            "n": len(inside),
            "recall": _share(one.alarms > 0 for one in mine),
        }
        for rate in RATES_PER_H:
            is_told = len(inside) > 0 and recall_at(final, rate) is not None
            over = threshold_at(final.others, final.hours, rate)
            row[f"recall_at_{rate}"] = float(np.mean(inside > over)) if is_told else None
        rows.append(row)
    return rows


def _confusion(good: Sequence[Heard], classes: Sequence[str]) -> dict[str, Any]:
    """Clips by what they were (rows) and what the box reported (columns)."""
    known = {class_of(one.clip) for one in good}
    truths = [*(name for name in classes if name in known), *sorted(known - set(classes))]
    reported = {one.verdict for one in good}
    columns = [GUNSHOT, *(name for name in classes if name != GUNSHOT and name in reported), UNSURE, NOTHING]
    columns += sorted(reported - set(columns))
    counts = [
        [sum(class_of(one.clip) == truth and one.verdict == column for one in good) for column in columns]
        for truth in truths
    ]
    return {"rows": truths, "columns": columns, "counts": counts}


def _curve(final: Scored) -> list[list[float]]:
    """The ROC curve in at most 200 points: false alarm share, recall."""
    false, true = roc(final)
    keep = np.unique(np.linspace(0, len(false) - 1, min(len(false), _CURVE_POINTS)).astype(int))
    return [[round(float(false[i]), 5), round(float(true[i]), 5)] for i in keep]


def _share(which: Iterable[bool]) -> float | None:
    found = list(which)
    return sum(found) / len(found) if found else None


def _pair(spread: Interval | None) -> list[float] | None:
    return None if spread is None else [spread.low, spread.high]


def _alarms_95(rate: float | None, spread: Interval | None, hours: float) -> list[float] | None:
    """The bootstrap's interval; where no alarm was heard, up to three in those hours.

    Draws of clips without an alarm have none, so that one quiet minute would seem to prove that there never
    is any. Three is what may be expected and still not be seen in 5 % of such hours (the rule of three).
    """
    pair = _pair(spread)
    return [0.0, 3.0 / hours] if pair is not None and rate == 0.0 else pair
