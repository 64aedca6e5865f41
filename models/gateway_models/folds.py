"""What a calibration may know: scores of windows and clips that the networks behind them did not learn from.

A fold holds one session of the city out and is judged on it. What turns its networks' answers into
probabilities, and those into verdicts, comes from the pairs (gateway_models.lessons): networks that held out
that session and another one, asked about the other one and about a third of all other clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway_models.calibrate import Calibration, Numbers, fit, probability, shot_log_odds
from gateway_models.lessons import CITY, LOOKS, PAIRS, Task, left_out, pair_tasks, part_of
from gateway_models.onsets import OnsetSet
from gateway_models.runfolder import RunFolder
from gateway_models.scores import Scored
from gateway_models.thresholds import Alarms, chances_of, label_thresholds, shot_threshold
from gateway_models.windows import GUNSHOT, WindowSet

# Of all bangs, as far as calibration goes: a clip without shots has several, and the likeliest counts.
_SHOTS_SHARE: Final = 0.1

Answers = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Windows that some networks did not learn from: both looks' log-odds of a shot, what the windows
    are, and the logits of the second look where they are wanted.
    """

    log_odds: tuple[Numbers, ...]
    windows: WindowSet
    logits: Answers | None = None

    @property
    def shot(self) -> Mask:
        """Which are shots."""
        mask: Mask = self.windows.label == GUNSHOT
        return mask

    def take(self, chosen: Mask) -> "Held":
        """Some of them."""
        logits = None if self.logits is None else self.logits[chosen]
        return Held(tuple(each[chosen] for each in self.log_odds), self.windows.take(chosen), logits)


@dataclass(frozen=True, slots=True)
class PairScores:
    """What the two networks of a pair (number `part` of PAIRS) make of what they did not learn from:
    windows, and every onset of the recordings (both looks' log-odds).
    """

    part: int
    held: Held
    onsets: tuple[Numbers, ...]

    def but(self, session: str) -> "PairScores":
        """Without the windows of a session, nor any that has its noise in it; all of them without a name."""
        if not session:
            return self
        return replace(self, held=self.held.take(self.held.windows.clear_of((session,))))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a bundle's manifest says of its networks' answers."""

    calibration: Calibration
    thresholds: dict[str, dict[str, float]]


def score_pair(run: RunFolder, windows: WindowSet, onsets: OnsetSet, part: int) -> PairScores:
    """Ask the networks of a pair about the plain and the synthetic windows they did not learn from."""
    tasks = [task for task in pair_tasks() if task.part == part]
    held = hold(run, windows, tasks)
    return PairScores(part, held, tuple(raw_log_odds(run, tasks, onsets)))


def hold(run: RunFolder, windows: WindowSet, tasks: Sequence[Task]) -> Held:
    """What the networks of both looks make of the windows that they did not learn from."""
    from gateway_models.train import logits

    out = np.isin(windows.session, tasks[0].held_out) | left_out(windows, tasks[0])
    rows = windows.take(np.flatnonzero(out & (windows.plain | ~windows.real)))
    answers = [logits(run.layers(task), getattr(rows, task.look)) for task in tasks]
    return Held(tuple(shot_log_odds(each) for each in answers), rows, answers[-1])


def raw_log_odds(run: RunFolder, tasks: Sequence[Task], onsets: OnsetSet) -> list[Numbers]:
    """Both looks' raw log-odds of a shot, for every onset."""
    from gateway_models.train import logits

    return [shot_log_odds(logits(run.layers(task), getattr(onsets, task.look))) for task in tasks]


def settings_of(pairs: Sequence[PairScores], onsets: OnsetSet, session: str = "") -> Settings:
    """Calibration and thresholds for networks that are to be judged on `session`, of which nothing is used;
    without one, for networks that are to be shipped.
    """
    chosen = [pair.but(session) for pair in pairs if not session or session in PAIRS[pair.part]]
    calibration = calibration_of([pair.held for pair in chosen])
    alarms = [alarms_of(pair, onsets, calibration, session) for pair in chosen]
    chances = [_chances(pair.held, calibration) for pair in chosen]
    truth = np.concatenate([pair.held.windows.label for pair in chosen])
    thresholds = {"gunshot": shot_threshold(alarms)} | dict(label_thresholds(np.concatenate(chances), truth))
    return Settings(calibration, thresholds)


def calibration_of(parts: Sequence[Held]) -> Calibration:
    """How to weigh the looks: of the first alone, and of both. Synthesis does not count where there are
    recordings.
    """
    real = any(part.windows.real.any() for part in parts)
    kept = [part.take(part.windows.real) for part in parts] if real else list(parts)
    odds = [np.concatenate([part.log_odds[look] for part in kept]) for look in range(len(LOOKS))]
    shot = np.concatenate([part.shot for part in kept])
    weight = np.where(shot, _SHOTS_SHARE / shot.sum(), (1 - _SHOTS_SHARE) / (~shot).sum())
    return {"first": fit(odds[:1], shot, weight), "second": fit(odds, shot, weight)}


def alarms_of(pair: PairScores, onsets: OnsetSet, calibration: Calibration, session: str = "") -> Alarms:
    """Calibrated log-odds of the negatives that a pair did not learn from, clip by clip."""
    city = np.isin(onsets.session, [name for name in PAIRS[pair.part] if name != session])
    third = (part_of(onsets.number, len(PAIRS)) == pair.part) & ~np.isin(onsets.session, CITY)
    clips = (onsets.number >= 0) & ~onsets.shot & (city | third)
    return Alarms(
        by_clip(onsets, calibration["second"].apply(pair.onsets))[clips],
        float(onsets.seconds[clips].sum()) / 3600.0,
    )


def by_clip(onsets: OnsetSet, log_odds: Numbers) -> Numbers:
    """The highest log-odds among each clip's onsets; minus infinity where there is none."""
    best = np.full(len(onsets.shot), -np.inf)
    np.maximum.at(best, onsets.row, log_odds)
    return best


def judged_in(onsets: OnsetSet, session: str) -> Mask:
    """The clips that a fold is judged on: its session's, and those that may only be tested with."""
    mask: Mask = (onsets.session == session) | (onsets.use == "evaluate")
    return mask


def clip_scores(onsets: OnsetSet, log_odds: Numbers, clips: Mask) -> Scored:
    """The score of each of some clips: the probability of its likeliest onset, 0 where there is none."""
    best = by_clip(onsets, log_odds)
    score = np.where(np.isfinite(best), probability(best), 0.0)
    return Scored(score[clips], onsets.shot[clips], onsets.session[clips], onsets.seconds[clips])


def _chances(held: Held, calibration: Calibration) -> npt.NDArray[np.float64]:
    assert held.logits is not None
    shot = probability(calibration["second"].apply(held.log_odds))
    return chances_of(shot, held.logits)
