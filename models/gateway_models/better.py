"""Whether a new model is better than the old one on the same clips, by more than chance.

Both are scored on clips of sessions that the new one did not learn from. The clips are drawn anew a
thousand times, for both alike (paired bootstrap: Efron & Tibshirani 1993); a figure has changed by more than
chance if 98.3 % of the draws agree: three figures decide, so each must be three times as sure (Bonferroni).
With fewer than five sessions, clips are drawn within them, and the answer holds for those sessions only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway_models.scores import DRAWS, Figure, Scored, alarms_per_hour, auc, gain, recall_at, recall_over

_SESSIONS_TO_DRAW: Final = 5
_SURE: Final = 1 - 0.05 / 3


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both models. `low`..`high`: how much better the new one is, in 98.3 % of the draws; None
    where the clips cannot say.
    """

    name: str
    old: float | None
    new: float | None
    low: float | None
    high: float | None
    decides: bool

    @property
    def is_better(self) -> bool:
        """By more than chance."""
        return self.low is not None and self.low > 0.0

    @property
    def is_worse(self) -> bool:
        """By more than chance."""
        return self.high is not None and self.high < 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, and what was drawn for them: "sessions" or "clips"."""

    changes: tuple[Change, ...]
    drawn: str

    @property
    def is_better(self) -> bool:
        """One of the deciding figures is better by more than chance, and none at all is worse."""
        return any(each.is_better and each.decides for each in self.changes) and not any(
            each.is_worse for each in self.changes
        )

    def verdict(self) -> str:
        """In a sentence."""
        worse = [each.name for each in self.changes if each.is_worse]
        better = [each.name for each in self.changes if each.is_better]
        if self.is_better:
            return f"the new model is better by more than chance: {', '.join(better)}"
        if worse:
            return f"the new model is worse by more than chance: {', '.join(worse)}"
        return "the new model is not better by more than chance"

    def told(self) -> dict[str, Any]:
        """As an object of JSON."""
        rows = {
            each.name: {"old": each.old, "new": each.new, "better_by": _pair(each)} for each in self.changes
        }
        return {"is_better": self.is_better, "verdict": self.verdict(), "drawn": self.drawn, "figures": rows}


def compare(old: Scored, new: Scored, sure: Mapping[str, float], count: int = DRAWS) -> Comparison:
    """Old and new on the same clips; `sure` {"old", "new"}: from which score on each of them is sure;
    `count` draws.
    """
    whole = len(np.unique(old.session)) >= _SESSIONS_TO_DRAW
    # A score as how far it lies over its own model's threshold, so that one figure serves both.
    old_over, new_over = old.over(sure["old"]), new.over(sure["new"])
    rows: list[tuple[str, Scored, Scored, Figure, bool, bool]] = [
        ("AUC", old, new, auc, True, False),
        ("recall at 10 false alarms/h", old, new, lambda clips: recall_at(clips, 10), True, False),
        ("recall at 60 false alarms/h", old, new, lambda clips: recall_at(clips, 60), True, False),
        ("shots found", old_over, new_over, lambda clips: recall_over(clips, 1.0), False, False),
        ("false alarms/h", old_over, new_over, lambda clips: alarms_per_hour(clips, 1.0), False, True),
    ]
    changes = []
    for name, before, after, figure, decides, is_cost in rows:
        spread = gain(before, after, figure, count=count, whole_sessions=whole, sure=_SURE)
        low, high = (None, None) if spread is None else (spread.low, spread.high)
        if is_cost and low is not None and high is not None:
            low, high = 0.0 - high, 0.0 - low
        changes.append(Change(name, figure(before), figure(after), low, high, decides))
    return Comparison(tuple(changes), "sessions" if whole else "clips")


def _pair(change: Change) -> list[float] | None:
    return None if change.low is None or change.high is None else [change.low, change.high]
