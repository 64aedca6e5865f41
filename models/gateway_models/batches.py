"""What a training run is given, and how a batch is drawn from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Lesson:
    """What to learn from: `pictures` uint8 [n, rows, bands] (value / 127.5 - 1 is the picture), `truth`
    index of the label, `share` how often each window is drawn (they sum to 1).
    """

    pictures: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.integer[Any]]
    share: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a training run."""

    steps: int = 1500
    batch: int = 192
    rate: float = 3e-3  # learning rate at the top of the cycle
    decay: float = 0.05
    average: float = 0.99
    smooth: float = 0.02
    mix: float = 0.4  # of the beta distribution that mixes two windows
    dropout: float = 0.2


def draw(
    lesson: Lesson, cumulative: npt.NDArray[np.float64], count: int, seed: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]:
    """Windows by their shares, evenly spread over the shares' sum, in random order."""
    rng = np.random.default_rng(seed)
    at = rng.permutation((np.arange(count) + rng.random(count)) / count)
    chosen = np.minimum(np.searchsorted(cumulative, at), len(cumulative) - 1)
    return lesson.pictures[chosen], lesson.truth[chosen]
