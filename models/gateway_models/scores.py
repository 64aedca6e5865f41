"""Figures of a detector that gives each clip a score in 0..1: how well it tells shots from the rest.

A clip's score is the highest of its bangs; a clip in which nothing set off the onset has score 0 and is an
alarm at no threshold. False alarms are counted in clips, per hour of the negatives' own duration. Intervals
are drawn by session (Efron & Tibshirani 1993, ch. 8): clips of one evening at one place are not independent,
so whole sessions are drawn, never clips, and an interval is as wide as the sessions are few.

Plain numpy: the training environment and a box compute the same numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]

RATES_PER_H: Final = (1, 10, 60)
LEAST_FALSE_ALARMS: Final = 3  # a rate is only stated where the negatives are long enough to allow so many
BANDS_DB: Final = ((25.0, np.inf), (18.0, 25.0), (13.0, 18.0), (-np.inf, 13.0))
DRAWS: Final = 1000
_BINS: Final = 10
_SECONDS_PER_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The scores of n clips: `score` 0..1, `shot` (the truth), `session` and `seconds` (duration) of each."""

    score: npt.NDArray[np.float64]
    shot: npt.NDArray[np.bool_]
    session: npt.NDArray[np.str_]
    seconds: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def shots(self) -> npt.NDArray[np.float64]:
        """Scores of the clips with shots."""
        return self.score[self.shot]

    @property
    def others(self) -> npt.NDArray[np.float64]:
        """Scores of the clips without."""
        return self.score[~self.shot]

    @property
    def hours(self) -> float:
        """Duration of the clips without shots."""
        return float(self.seconds[~self.shot].sum()) / _SECONDS_PER_HOUR

    def take(self, chosen: npt.NDArray[Any]) -> "Scored":
        """Some of the clips: a mask, or indices (which may repeat)."""
        return Scored(self.score[chosen], self.shot[chosen], self.session[chosen], self.seconds[chosen])

    def over(self, threshold: float) -> "Scored":
        """The same clips with score 1 for what reaches a threshold and 0 for the rest."""
        reported = (self.score >= threshold).astype(np.float64)
        return Scored(reported, self.shot, self.session, self.seconds)

    @staticmethod
    def pooled(parts: Sequence["Scored"]) -> "Scored":
        """The clips of several detectors as those of one."""
        names = ("score", "shot", "session", "seconds")
        return Scored(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


Figure = Callable[[Scored], float | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """95 % of the draws lie in `low`..`high`. There is none where sessions of a kind are fewer than two."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Clips whose score lies in `low`..`high`: how many, their mean score, the share that are shots."""

    low: float
    high: float
    count: int
    score: float
    share: float


def auc(scored: Scored) -> float | None:
    """The chance that a shot scores higher than something else, ties half; None without one of the two."""
    shots, others = scored.shots, np.sort(scored.others)
    if not len(shots) or not len(others):
        return None
    below = np.searchsorted(others, shots, "left") + np.searchsorted(others, shots, "right")
    return float(below.mean() / (2 * len(others)))


def roc(scored: Scored) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The ROC curve's corners: share of negatives and share of shots at or over each threshold, from 0, 0."""
    thresholds = np.unique(scored.score)[::-1]
    shots, others = np.sort(scored.shots), np.sort(scored.others)
    over_shots = len(shots) - np.searchsorted(shots, thresholds, "left")
    over_others = len(others) - np.searchsorted(others, thresholds, "left")
    false = np.concatenate(([0.0], over_others / max(1, len(others))))
    true = np.concatenate(([0.0], over_shots / max(1, len(shots))))
    return false, true


def enough_for(hours: float, per_hour: float) -> bool:
    """Whether negatives of this duration can say anything about this rate: 1/h needs 3 h, 10/h 18 min."""
    return per_hour * hours >= LEAST_FALSE_ALARMS - 1e-9


def threshold_at(others: Numbers, hours: float, per_hour: float) -> float:
    """The score that an alarm must exceed so that there are at most `per_hour` false alarms per hour."""
    allowed = int(np.floor(per_hour * hours + 1e-9))
    if allowed >= len(others):
        return 0.0
    return max(0.0, float(np.sort(others)[::-1][allowed]))


def recall_at(scored: Scored, per_hour: float) -> float | None:
    """Share of shots found at so many false alarms per hour; None where the negatives are too short."""
    if not len(scored.shots) or not len(scored.others) or not enough_for(scored.hours, per_hour):
        return None
    return float(np.mean(scored.shots > threshold_at(scored.others, scored.hours, per_hour)))


def recall_over(scored: Scored, threshold: float) -> float | None:
    """Share of shots that score `threshold` or more; None without shots."""
    return float(np.mean(scored.shots >= threshold)) if len(scored.shots) else None


def alarms_per_hour(scored: Scored, threshold: float) -> float | None:
    """Negatives that score `threshold` or more, per hour of negatives; None without any."""
    return float(np.sum(scored.others >= threshold)) / scored.hours if scored.hours > 0 else None


def calibration(scored: Scored) -> tuple[Bin, ...]:
    """Ten bins of equal width; the empty ones are left out. Clips that set off nothing are left out too."""
    heard = scored.take(scored.score > 0.0)
    place = np.minimum((heard.score * _BINS).astype(int), _BINS - 1)
    bins = []
    for number in np.unique(place):
        inside = place == number
        bins.append(
            Bin(
                float(number) / _BINS,
                float(number + 1) / _BINS,
                int(inside.sum()),
                float(heard.score[inside].mean()),
                float(heard.shot[inside].mean()),
            )
        )
    return tuple(bins)


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error (Naeini et al. 2015): |score - share| of the bins, weighted by counts."""
    count = sum(b.count for b in bins)
    return sum(b.count * abs(b.score - b.share) for b in bins) / count if count else None


def draws(scored: Scored, seed: int = 0, count: int = DRAWS) -> Iterator[npt.NDArray[np.intp]]:
    """Indices of the clips of so many draws of whole sessions.

    Sessions with shots and sessions without are drawn apart, so that no draw lacks either. The same seed
    gives the same draws, so that two detectors can be compared on each of them.
    """
    rng = np.random.default_rng(seed)
    clips = {session: np.flatnonzero(scored.session == session) for session in np.unique(scored.session)}
    strata = _strata(scored)
    for _ in range(count):
        drawn = [
            clips[stratum[i]] for stratum in strata for i in rng.integers(0, len(stratum) or 1, len(stratum))
        ]
        yield np.concatenate(drawn) if drawn else np.zeros(0, np.intp)


def intervals(
    scored: Scored, figures: Mapping[str, Figure], seed: int = 0, count: int = DRAWS
) -> dict[str, Interval | None]:
    """The 95 % interval of each figure, by sessions; None where those are too few, or it has no value."""
    found: dict[str, list[float]] = {name: [] for name in figures}
    if _says_something(scored):
        for chosen in draws(scored, seed, count):
            drawn = scored.take(chosen)
            for name, figure in figures.items():
                if (value := figure(drawn)) is not None:
                    found[name].append(value)
    return {
        name: _middle(found[name], count) if figure(scored) is not None else None
        for name, figure in figures.items()
    }


def _says_something(scored: Scored) -> bool:
    """Whether draws of sessions differ in their shots and in their negatives, or else would seem certain."""
    with_shots, without = _strata(scored)
    others_vary = len(without) != 1 or bool((~scored.shot & np.isin(scored.session, with_shots)).any())
    return len(with_shots) + len(without) >= 2 and len(with_shots) != 1 and others_vary


def _strata(scored: Scored) -> tuple[list[str], list[str]]:
    """Sessions with shots, and those without."""
    with_shots = set(scored.session[scored.shot].tolist())
    return sorted(with_shots), sorted(set(scored.session.tolist()) - with_shots)


def interval(scored: Scored, figure: Figure, seed: int = 0, count: int = DRAWS) -> Interval | None:
    """The 95 % interval of one figure; see `intervals`."""
    return intervals(scored, {"": figure}, seed, count)[""]


def clip_draws(scored: Scored, seed: int = 0, count: int = DRAWS) -> Iterator[npt.NDArray[np.intp]]:
    """Indices of so many draws of clips, shots and others of each session apart."""
    rng = np.random.default_rng(seed)
    strata = [
        np.flatnonzero((scored.session == session) & (scored.shot == shot))
        for session in np.unique(scored.session)
        for shot in (True, False)
    ]
    for _ in range(count):
        drawn = [each[rng.integers(0, len(each), len(each))] for each in strata if len(each)]
        yield np.concatenate(drawn) if drawn else np.zeros(0, np.intp)


def gain(
    old: Scored,
    new: Scored,
    figure: Figure,
    seed: int = 0,
    count: int = DRAWS,
    *,
    whole_sessions: bool = True,
    sure: float = 0.95,
) -> Interval | None:
    """How much higher a figure of `new` is than that of `old`, draw by draw: in `sure` of the draws.

    Both are scores of the same clips. Draws are of whole sessions, or of the clips within each.
    """
    if not (np.array_equal(old.shot, new.shot) and np.array_equal(old.session, new.session)):
        raise ValueError("old and new must be scores of the same clips")
    found = []
    for chosen in (draws if whole_sessions else clip_draws)(old, seed, count):
        before, after = figure(old.take(chosen)), figure(new.take(chosen))
        if before is not None and after is not None:
            found.append(after - before)
    return _middle(found, count, sure)


def _middle(found: Sequence[float], count: int, sure: float = 0.95) -> Interval | None:
    """What `sure` of the draws lie in, the middle ones, if at least every other draw gave a value."""
    if len(found) < max(1, count // 2):
        return None
    low, high = np.quantile(found, (0.5 - sure / 2, 0.5 + sure / 2))
    return Interval(float(low), float(high))


def band_of(prominence_db: float) -> int:
    """The number of the prominence band in BANDS_DB that a bang belongs to."""
    return next(number for number, (low, _) in enumerate(BANDS_DB) if prominence_db >= low)
