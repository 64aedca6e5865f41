"""From which probability on a box is sure, and from which on unsure: found on what was not learned from.

Recordings set the shots' threshold: so many false alarms per hour of their negatives, and then a margin,
because sounds that nobody recorded set off more (research: a threshold of 10 per hour gave 14 to 34
elsewhere). The other labels have too few recordings: of each it is the probability that hardly any other
sound reaches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway_models.calibrate import Numbers, probability
from gateway_models.scores import threshold_at
from gateway_models.windows import LABELS

SURE_PER_HOUR: Final = 10.0
UNSURE_PER_HOUR: Final = 60.0
MARGIN: Final = 0.693  # added to the log-odds of `sure`: odds twice as high
_OTHERS_SHARE: Final = 0.003  # of windows of another kind that may pass for a label
_LEAST, _MOST = 0.05, 0.98
_OTHER_LEAST: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Alarms:
    """Negatives that were not learned from: the highest calibrated log-odds of each clip (minus infinity
    where nothing set off the onset), and how long they last together.
    """

    log_odds: Numbers
    hours: float


def shot_threshold(parts: Sequence[Alarms]) -> dict[str, float]:
    """`sure`, `unsure` and `margin` of the first label, as a manifest has them."""
    others = probability(np.concatenate([part.log_odds for part in parts]))
    hours = sum(part.hours for part in parts)
    measured = min(_MOST, max(_LEAST, threshold_at(others, hours, SURE_PER_HOUR)))
    sure = min(_MOST, float(probability(np.log(measured / (1.0 - measured)) + MARGIN)))
    unsure = max(_LEAST / 2, threshold_at(others, hours, UNSURE_PER_HOUR))
    return {
        "sure": round(sure, 4),
        "unsure": round(min(unsure, 0.9 * measured), 4),
        "margin": round(sure - measured, 4),
    }


def label_thresholds(
    chances: npt.NDArray[np.float64], truth: npt.NDArray[np.integer[Any]]
) -> Mapping[str, dict[str, float]]:
    """`sure` of the other labels that a window may be reported as; `chances` [n, labels], calibrated."""
    found = {}
    for number, label in enumerate(LABELS[1:-1], 1):
        stray = chances[truth != number, number]
        measured = float(np.quantile(stray, 1.0 - _OTHERS_SHARE)) if len(stray) else _OTHER_LEAST
        sure = min(_MOST, max(_OTHER_LEAST, measured))
        found[label] = {"sure": round(sure, 4), "margin": 0.0}
    return found


def chances_of(shot: Numbers, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Probabilities [n, labels]: that of a shot as calibrated, what is left shared as the logits say."""
    others = logits[:, 1:].astype(np.float64)
    share = np.exp(others - others.max(axis=1, keepdims=True))
    share *= ((1.0 - shot) / share.sum(axis=1))[:, None]
    return np.concatenate((shot[:, None], share), axis=1)
