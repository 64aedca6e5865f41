"""From what networks say to what is told: calibrated probabilities, and from which one on a box is sure.

The log-odds of a shot in the looks so far are averaged and scaled by a logistic regression (Platt 1999),
fitted on windows that the network did not learn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_FARTHEST: Final = 20.0  # log-odds beyond which a softmax in float32 says nothing more
_RIDGE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Stacking:
    """log-odds = offset + sum of weights * log-odds of the looks so far."""

    weights: tuple[float, ...]
    offset: float

    def apply(self, log_odds: Sequence[Numbers]) -> Numbers:
        """Calibrated log-odds of the looks' raw ones."""
        parts = [weight * each for weight, each in zip(self.weights, log_odds, strict=True)]
        return np.asarray(np.sum(parts, axis=0) + self.offset)


Calibration = Mapping[str, Stacking]


def shot_log_odds(logits: npt.NDArray[np.float32]) -> Numbers:
    """log(p / (1 - p)) of the first label, of logits [n, labels]."""
    z = logits.astype(np.float64)
    others = z[:, 1:]
    top = others.max(axis=1)
    rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    return np.asarray(np.clip(z[:, 0] - rest, -_FARTHEST, _FARTHEST))


def fit(log_odds: Sequence[Numbers], shot: npt.NDArray[np.bool_], weight: Numbers) -> Stacking:
    """Weighted logistic regression on the mean of the looks, by Newton's method; the loss is convex.

    Every look has an equal say: weights of their own swing from fold to fold, as the windows that they could
    be fitted on come from a few sessions.
    """
    columns = np.stack([np.mean(log_odds, axis=0), np.ones(len(shot))], axis=1)
    weight = weight / weight.sum()
    found = np.zeros(2)
    for _ in range(30):
        chance = probability(columns @ found)
        slope = columns.T @ (weight * (chance - shot)) + _RIDGE * found
        bend = (columns.T * (weight * chance * (1.0 - chance))) @ columns + _RIDGE * np.eye(2)
        found -= np.linalg.solve(bend, slope)
    return Stacking((float(found[0]) / len(log_odds),) * len(log_odds), float(found[1]))


def probability(log_odds: Numbers) -> Numbers:
    """1 / (1 + exp(-x))."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))))
