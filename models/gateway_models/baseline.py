"""The baseline that the network must beat: boosted trees on pooled pictures of the same windows."""

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

from gateway_models.batches import Lesson, draw
from gateway_models.windows import Bytes

_WINDOWS: Final = 16_000  # drawn with the shares that the network's batches have
_BANDS: Final = 10  # of 40, pooled by fours
_TIMES: Final = 8


def fit_trees(lesson: Lesson, seed: int) -> Any:
    """Trees that tell shots from all else, learned from the same windows with the same shares."""
    cumulative = np.cumsum(lesson.share)
    pictures, truth = draw(lesson, cumulative, _WINDOWS, (seed, 0))
    trees = HistGradientBoostingClassifier(
        max_iter=300, learning_rate=0.06, l2_regularization=1.0, min_samples_leaf=30, random_state=seed
    )
    trees.fit(pooled(pictures), truth == 0)
    return trees


def tree_scores(trees: Any, pictures: Bytes) -> npt.NDArray[np.float64]:
    """Log-odds of a shot."""
    scores: npt.NDArray[np.float64] = trees.decision_function(pooled(pictures))
    return scores


def pooled(pictures: Bytes) -> npt.NDArray[np.float32]:
    """Means over 8 stretches of time x 10 bands, maximum and spread of every second band: 120 numbers."""
    count, rows, bands = pictures.shape
    x = pictures.astype(np.float32)
    edges = np.linspace(0, rows, _TIMES + 1).astype(int)
    means = np.stack([x[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1)
    means = means.reshape(count, _TIMES, _BANDS, bands // _BANDS).mean(axis=3).reshape(count, -1)
    pairs = x.reshape(count, rows, bands // 2, 2).mean(axis=3)
    return np.concatenate((means, pairs.max(axis=1), pairs.std(axis=1)), axis=1)
