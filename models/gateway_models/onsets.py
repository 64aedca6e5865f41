"""Every onset of every recording of a folder, as the product hears it: what folds are judged on.

The pictures depend on no model, so they are made once. What is here is heard through the product's own
onset finder and front end; that it equals the product's whole path is a test of `evaluate`.
"""

import multiprocessing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.features import as_sound
from gateway_models.cutting import is_fit
from gateway_models.recordings import EDGE_S, RATE_HZ, Clip, prepare, read_clip, read_manifest
from gateway_models.triggers import triggers
from gateway_models.windows import BEFORE_MS, FRONT_END, SECOND_AFTER_MS, Bytes, Texts, looks, pack

BEFORE: Final = BEFORE_MS * RATE_HZ // 1000
AFTER: Final = (SECOND_AFTER_MS + 20) * RATE_HZ // 1000


@dataclass(frozen=True, slots=True, eq=False)
class OnsetSet:
    """Onsets (`first` and `second` pictures, `row` of their clip, `prominence_db`), and per clip: `shot`,
    `kind`, `source`, `session`, `use`, `seconds`, and its `number` in the training set (-1: not in it).
    """

    first: Bytes
    second: Bytes
    row: npt.NDArray[np.int32]
    prominence_db: npt.NDArray[np.float32]
    shot: npt.NDArray[np.bool_]
    kind: Texts
    source: Texts
    session: Texts
    use: Texts
    seconds: npt.NDArray[np.float64]
    number: npt.NDArray[np.int32]

    def save(self, file: Path) -> None:
        """Write to one .npz file."""
        beside = file.with_suffix(".part.npz")
        np.savez(beside, **{field.name: getattr(self, field.name) for field in fields(self)})
        beside.rename(file)


def load_onsets(file: Path) -> OnsetSet:
    """What `save` wrote."""
    with np.load(file) as content:
        return OnsetSet(*(content[field.name] for field in fields(OnsetSet)))


def onsets_of(folder: Path, workers: int = 2) -> OnsetSet:
    """The onsets of every clip in a folder with a manifest.csv."""
    clips = read_manifest(folder)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = pool.map(_onsets, clips, chunksize=32)
    fit = np.array([is_fit(clip) for clip in clips])
    first = [pictures for _, pair in found for pictures in pair[0]]
    second = [pictures for _, pair in found for pictures in pair[1]]
    prominence = [value for _, pair in found for value in pair[2]]
    return OnsetSet(
        first=np.stack(first),
        second=np.stack(second),
        row=np.repeat(np.arange(len(clips), dtype=np.int32), [len(pair[2]) for _, pair in found]),
        prominence_db=np.array(prominence, np.float32),
        shot=np.array([clip.is_gunshot for clip in clips]),
        kind=np.array([clip.kind for clip in clips]),
        source=np.array([clip.source for clip in clips]),
        session=np.array([clip.session for clip in clips]),
        use=np.array([clip.use for clip in clips]),
        seconds=np.array([seconds for seconds, _ in found]),
        number=np.where(fit, np.cumsum(fit) - 1, -1).astype(np.int32),
    )


def _onsets(clip: Clip) -> tuple[float, tuple[list[Bytes], list[Bytes], list[float]]]:
    """Duration of a clip; first and second pictures and prominence of each onset in it."""
    firsts: list[Bytes] = []
    seconds: list[Bytes] = []
    prominences: list[float] = []
    pcm = read_clip(clip)
    if not len(pcm):
        return 0.0, (firsts, seconds, prominences)
    longer, begin, end = prepare(pcm, RATE_HZ)
    sound = as_sound(longer)
    front_end = FRONT_END.tables()
    earliest = begin + (round(EDGE_S * RATE_HZ) if clip.excerpt else 0)
    for trigger in triggers(sound, RATE_HZ):
        if earliest <= trigger.first < end:
            piece = sound[trigger.first - BEFORE : trigger.first + AFTER]
            first, second = looks(piece, RATE_HZ, front_end)
            firsts.append(pack(first))
            seconds.append(pack(second))
            prominences.append(trigger.prominence_db)
    return len(pcm) / RATE_HZ, (firsts, seconds, prominences)
