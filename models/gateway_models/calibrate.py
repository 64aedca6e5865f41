"""From what networks say to what is told: calibrated probabilities, and from which one on a box is sure.

The log-odds of a shot in each look are weighed together by a logistic regression (stacking: Wolpert 1992;
with one look it is Platt's scaling, 1999), fitted on windows that the network did not learn from.
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
        total = np.full(len(log_odds[0]), self.offset)
        for weight, each in zip(self.weights, log_odds, strict=True):
            total += weight * each
        return total

    def manifest(self) -> dict[str, object]:
        """Its entry in a bundle's manifest."""
        return {"weights": [round(weight, 5) for weight in self.weights], "offset": round(self.offset, 5)}


Calibration = Mapping[str, Stacking]


def shot_log_odds(logits: npt.NDArray[np.float32]) -> Numbers:
    """log(p / (1 - p)) of the first label, of logits [n, labels]."""
    z = logits.astype(np.float64)
    others = z[:, 1:]
    top = others.max(axis=1)
    rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    return np.clip(z[:, 0] - rest, -_FARTHEST, _FARTHEST)


def fit(log_odds: Sequence[Numbers], shot: npt.NDArray[np.bool_], weight: Numbers) -> Stacking:
    """Weighted logistic regression by Newton's method; the loss is convex. No look gets a negative weight."""
    columns = np.stack([*log_odds, np.ones(len(shot))], axis=1)
    weight = weight / weight.sum()
    found = np.zeros(columns.shape[1])
    for _ in range(30):
        chance = probability(columns @ found)
        slope = columns.T @ (weight * (chance - shot)) + _RIDGE * found
        bend = (columns.T * (weight * chance * (1.0 - chance))) @ columns + _RIDGE * np.eye(len(found))
        found -= np.linalg.solve(bend, slope)
    if len(log_odds) > 1 and (found[:-1] < 0.0).any():
        keep = int(np.argmax(found[:-1]))
        alone = fit([log_odds[keep]], shot, weight)
        weights = [0.0] * len(log_odds)
        weights[keep] = alone.weights[0]
        return Stacking(tuple(weights), alone.offset)
    return Stacking(tuple(float(w) for w in found[:-1]), float(found[-1]))


def probability(log_odds: Numbers) -> Numbers:
    """1 / (1 + exp(-x))."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))))
