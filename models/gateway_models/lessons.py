"""What is learned from and what is held out: the tasks of the folds, and the composition of a batch.

A fold holds one session of the city out. Its thresholds must not know that session either, so they come
from networks that held out two: `PAIRS`, each of which also leaves a third of all other clips out. Fold FP1
takes its thresholds from the pairs with FP1 in them, and of what those held out all but FP1 itself.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway_models.batches import Lesson, Recipe
from gateway_models.windows import GROUPS, SYNTHETIC, WindowSet

CITY: Final = ("FP1", "FP2", "FP3")
PAIRS: Final = (("FP1", "FP2"), ("FP1", "FP3"), ("FP2", "FP3"))
LOOKS: Final = ("first", "second")
SEEDS: Final = (1, 2, 3)
FINAL: Final = "final"
SYNTHETIC_ONLY: Final = "synthetic"
# Of a batch (research: few real recordings of cities are worth more than all else).
SHARES: Final = dict(zip(GROUPS, (0.20, 0.10, 0.07, 0.18, 0.16, 0.29), strict=True))
STEPS: Final = 1500
_TENTH: Final = 10  # the part of a synthetic set that calibrates and is not learned from
_SPREAD: Final = 2_654_435_761  # Knuth's multiplicative hash: neighbouring clips fall into different parts

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Task:
    """One network to train: `held_out` sessions, `part` of the other clips left out too (None: none)."""

    name: str
    look: str
    seed: int
    held_out: tuple[str, ...] = ()
    part: int | None = None
    synthetic: bool = False

    @property
    def file(self) -> str:
        """Its name in a run folder, without an ending."""
        return f"{self.name}-{self.look}-{self.seed}"


def pair_tasks() -> list[Task]:
    """The networks whose scores give thresholds and calibration."""
    return [
        Task("-".join(pair), look, SEEDS[0], pair, part) for part, pair in enumerate(PAIRS) for look in LOOKS
    ]


def fold_tasks(seed: int) -> list[Task]:
    """The networks that are judged on the session that they never heard."""
    return [Task(f"without-{session}", look, seed, (session,)) for session in CITY for look in LOOKS]


def final_tasks(name: str = FINAL) -> list[Task]:
    """The networks that are shipped. The seed is fixed beforehand: nothing is chosen among several."""
    synthetic = name == SYNTHETIC_ONLY
    return [Task(name, look, SEEDS[0], (), 0 if synthetic else None, synthetic) for look in LOOKS]


def part_of(clip: npt.NDArray[np.integer[Any]], parts: int) -> npt.NDArray[np.int64]:
    """Which of so many parts each clip falls into."""
    return (clip.astype(np.int64) * _SPREAD % (1 << 32) >> 8) % parts


def left_out(windows: WindowSet, task: Task) -> Mask:
    """Clips that are left out besides the held-out sessions."""
    if task.part is None:
        return np.zeros(len(windows), np.bool_)
    parts = _TENTH if task.synthetic else len(PAIRS)
    mask: Mask = part_of(windows.clip, parts) == task.part
    return mask & ~np.isin(windows.session, CITY)


def learned(windows: WindowSet, task: Task) -> Mask:
    """The windows that a task learns from."""
    mask = windows.clear_of(task.held_out) & ~left_out(windows, task)
    if task.synthetic:
        mask &= (windows.session == SYNTHETIC) & np.isin(windows.noise_session, ("", SYNTHETIC))
    return mask


def lesson(windows: WindowSet, task: Task) -> Lesson:
    """The windows of a task and how often each is drawn."""
    rows = np.flatnonzero(learned(windows, task))
    pictures = getattr(windows, task.look)[rows]
    group, session, clip = windows.group[rows], windows.session[rows], windows.clip[rows]
    share = np.zeros(len(rows))
    for name, part in SHARES.items():
        inside = group == name
        if inside.any():
            weight = _by_session(session[inside], clip[inside])
            share[inside] = part * weight / weight.sum()
    return Lesson(pictures, windows.label[rows].astype(np.int32), share / share.sum())


def _by_session(session: npt.NDArray[np.str_], clip: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """A session weighs as the root of its number of clips: many clips of one forest are much alike."""
    weight = np.zeros(len(session))
    for name in np.unique(session):
        inside = session == name
        weight[inside] = np.sqrt(len(np.unique(clip[inside]))) / inside.sum()
    return weight


def recipe(steps: int) -> Recipe:
    """The recipe of every task."""
    return Recipe(steps=steps)
