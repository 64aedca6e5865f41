"""Labelled windows to train and calibrate on: two pictures of each bang, what it was, and where it is from.

`session` names the place and night a window was recorded in, `noise_session` those of the background that
was mixed into it: whoever holds a session out (`without`) is rid of both. Pictures are stored as bytes; a
network is given `unpack(...)`, which is within 1/255 of what the box computes.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.features import FrontEnd, LogMel, MelStream, Samples, picture

LABELS: Final = ("gunshot", "firework", "glass", "impact", "other")
GUNSHOT, FIREWORK, GLASS, IMPACT, OTHER = range(len(LABELS))
SYNTHETIC: Final = "synthetic"  # the session of what was never recorded
# What a batch is composed of (research: real city recordings matter most, then synthesis).
GROUPS: Final = (
    "city_guns",
    "other_guns",
    "city_background",
    "other_negatives",
    "synthetic_guns",
    "synthetic_negatives",
)
FRONT_END: Final = LogMel()
BEFORE_MS: Final = 250
FIRST_AFTER_MS: Final = 500
SECOND_AFTER_MS: Final = 2_750
SECOND_POOL: Final = 2
FIRST_ROWS: Final = FRONT_END.frames_in(BEFORE_MS + FIRST_AFTER_MS)
SECOND_ROWS: Final = FRONT_END.frames_in(BEFORE_MS + SECOND_AFTER_MS) // SECOND_POOL
_HALF: Final = 127.5

Bytes = npt.NDArray[np.uint8]
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class WindowSet:
    """n windows, one row of each array per window.

    `first` uint8 [n, 73, 40] and `second` uint8 [n, 149, 40] are pictures (`unpack` gives -1..1); `label`
    int8 indexes LABELS; `kind` is what was recorded or drawn ("firework", "gun_forest"); `clip` numbers the
    clip (windows and copies of one clip share it, over the whole set); `real` is False for synthesis;
    `plain` windows are as they were recorded, others are altered copies; `prominence_db` is the level of the
    bang over the median before it; `group` is one of GROUPS.
    """

    first: Bytes
    second: Bytes
    label: npt.NDArray[np.int8]
    kind: Texts
    session: Texts
    noise_session: Texts
    clip: npt.NDArray[np.int32]
    real: npt.NDArray[np.bool_]
    plain: npt.NDArray[np.bool_]
    prominence_db: npt.NDArray[np.float32]
    group: Texts

    def __len__(self) -> int:
        return len(self.label)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "WindowSet":
        """The windows of a mask or of indices."""
        return WindowSet(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def without(self, held_out: Collection[str]) -> "WindowSet":
        """The windows that neither come from a held-out session nor have its background mixed in."""
        return self.take(self.clear_of(held_out))

    def clear_of(self, held_out: Collection[str]) -> npt.NDArray[np.bool_]:
        """Mask of what `without` keeps: to index big arrays by, where a copy would be too much."""
        names = list(held_out)
        mask: npt.NDArray[np.bool_] = ~(np.isin(self.session, names) | np.isin(self.noise_session, names))
        return mask

    def save(self, folder: Path) -> None:
        """Write one .npy file per array into `folder`; complete once `windows.json` is there."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "windows.json").unlink(missing_ok=True)
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))
        content = {"windows": len(self), "labels": LABELS, "input": FRONT_END.manifest()}
        (folder / "windows.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def load(folder: Path) -> WindowSet:
    """What `save` wrote. The pictures stay on disk and are mapped; several processes share them.

    Raises FileNotFoundError if the set is not there or not complete, ValueError if it was made for
    another front end or other labels.
    """
    content = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    if content["labels"] != list(LABELS) or content["input"] != FRONT_END.manifest():
        raise ValueError(
            f"{folder}: these windows are of another front end or of other labels; build them anew"
        )
    arrays = {field.name: folder / f"{field.name}.npy" for field in fields(WindowSet)}
    pictures = {name: np.load(arrays.pop(name), mmap_mode="r") for name in ("first", "second")}
    return WindowSet(**pictures, **{name: np.load(path) for name, path in arrays.items()})


def join(sets: Sequence[WindowSet]) -> WindowSet:
    """All windows of several sets, in order. Clips keep their numbers."""
    return WindowSet(
        *(np.concatenate([getattr(one, field.name) for one in sets]) for field in fields(WindowSet))
    )


def pack(pictures: Samples) -> Bytes:
    """Pictures in -1..1 as bytes."""
    packed: Bytes = np.clip(np.round((pictures + 1.0) * _HALF), 0, 255).astype(np.uint8)
    return packed


def unpack(pictures: Bytes) -> Samples:
    """Bytes as pictures in -1..1, float32."""
    return pictures.astype(np.float32) / np.float32(_HALF) - np.float32(1.0)


def looks(sound: Samples, rate_hz: int, front_end: FrontEnd) -> tuple[Samples, Samples]:
    """First and second picture of `sound`, which begins BEFORE_MS before a bang, as the box makes them.

    `sound` holds at least BEFORE_MS + SECOND_AFTER_MS.
    """
    stream = MelStream(front_end, rate_hz)
    power = np.concatenate((stream.push(sound), stream.end()))
    floor_db = front_end.shape.floor_db
    first = picture(power[:FIRST_ROWS], 1, floor_db)
    second = picture(power[: SECOND_ROWS * SECOND_POOL], SECOND_POOL, floor_db)
    return first, second
