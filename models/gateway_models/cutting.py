"""From clips to windows: where the onset finder goes off, which of those places count, and their pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.features import FrontEnd, Samples, as_sound
from gateway.media import Pcm
from gateway_models import clips, recordings
from gateway_models.augment import RECORDED, SYNTHETIC, Background, alter
from gateway_models.labelled import Clip
from gateway_models.recordings import RATE_HZ, fill
from gateway_models.triggers import Trigger, triggers
from gateway_models.waves import Rng, Wave
from gateway_models.windows import BEFORE_MS, LABELS, SECOND_AFTER_MS, Bytes, looks, pack

BEFORE: Final = BEFORE_MS * RATE_HZ // 1000
AFTER: Final = SECOND_AFTER_MS * RATE_HZ // 1000
_AROUND_S: Final = (0.9, 3.7)  # what an alteration is given: it may change the speed and shift the window
_MARGIN_DB: Final = 9.0  # a shot's triggers: up to so much under the loudest of the clip
_FOREST_MARGIN_DB: Final = 3.0  # where echoes are weak and monkeys are not
_NEGATIVES_MAX: Final = 8
_ROUNDS_MAX: Final = 2
_BANGS_MAX: Final = 3
_TRUTH_S: Final = (-0.010, 0.030)
_RANDOM: Final = 0.15  # of synthetic negatives: a window that nothing set off
_CITY: Final = "city"
_NO_SHOT: Final = ("brass_eject", "fire_gun_empty")  # filed under gunshots, and none


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a WindowSet before it is put into arrays."""

    first: Bytes
    second: Bytes
    label: int
    kind: str
    session: str
    noise_session: str
    clip: int
    real: bool
    plain: bool
    prominence_db: float
    group: str


@dataclass(frozen=True, slots=True)
class Copies:
    """How many altered copies are made of each real window, beside the plain one."""

    city_guns: int = 8
    other_guns: int = 3
    city_background: int = 5
    other_negatives: int = 3

    def of(self, group: str) -> int:
        """For a group of GROUPS."""
        return int(getattr(self, group))


def synthetic_gun(
    rng: Rng, front_end: FrontEnd, number: int, noises: Sequence[Background]
) -> Iterator[Window]:
    """Windows of one synthetic clip with shots: at arrivals that the onset finder finds, echoes left out."""
    drawn = clips.gunshots(rng)
    sound, _, noise = alter(rng, drawn.wave, drawn.first, RATE_HZ, noises, SYNTHETIC)
    low, high = (int(s * RATE_HZ) for s in _TRUTH_S)
    found = [t for t in triggers(sound, RATE_HZ) if any(low <= t.first - a <= high for a in drawn.arrivals)]
    for trigger in _some(rng, found, _ROUNDS_MAX):
        first, second = _pictures(rng, sound, trigger.first, front_end)
        yield Window(
            first, second, 0, drawn.kind, "synthetic", noise, number, False, False,
            trigger.prominence_db, "synthetic_guns",
        )  # fmt: skip


def synthetic_other(
    rng: Rng, front_end: FrontEnd, number: int, noises: Sequence[Background]
) -> Iterator[Window]:
    """Windows of one synthetic clip without a shot; now and then one from anywhere in it."""
    drawn = clips.something_else(rng)
    sound, _, noise = alter(rng, drawn.wave, drawn.first, RATE_HZ, noises, SYNTHETIC)
    chosen = _some(rng, triggers(sound, RATE_HZ), _BANGS_MAX)
    if rng.random() < _RANDOM:
        chosen = [*chosen, _anywhere(rng, len(sound))]
    label = LABELS.index(clips.CLASSES.get(drawn.kind, "other"))
    for trigger in chosen:
        first, second = _pictures(rng, sound, trigger.first, front_end)
        yield Window(
            first, second, label, drawn.kind, "synthetic", noise, number, False, False,
            trigger.prominence_db, "synthetic_negatives",
        )  # fmt: skip


def recorded(
    rng: Rng,
    front_end: FrontEnd,
    number: int,
    clip: Clip,
    pcm: Pcm,
    noises: Sequence[Background],
    copies: Copies,
) -> Iterator[Window]:
    """Windows of one recording: each as it is, and altered copies of it."""
    longer, begin, end = recordings.prepare(pcm, RATE_HZ)
    sound = as_sound(longer)
    label, group = LABELS.index(recordings.class_of(clip)), group_of(clip)
    for trigger in windows_of(rng, clip, sound, begin, end):
        from_, to = (trigger.first + int(s * RATE_HZ) for s in (-_AROUND_S[0], _AROUND_S[1]))
        around = sound[max(0, from_) : to].astype(np.float64)
        bang = trigger.first - max(0, from_)
        for copy in range(1 + copies.of(group)):
            altered, at, noise = sound, trigger.first, ""
            if copy:
                altered, at, noise = alter(rng, around, bang, RATE_HZ, noises, RECORDED)
                at += _shift(rng)
            first, second = _pictures(rng, altered, at, front_end)
            yield Window(
                first, second, label, clip.kind, session_of(clip), noise, number, True, copy == 0,
                trigger.prominence_db, group,
            )  # fmt: skip


def windows_of(rng: Rng, clip: Clip, sound: Samples, begin: int, end: int) -> list[Trigger]:
    """The places in a prepared clip that are trained on."""
    edge = begin + int(recordings.EDGE_S * RATE_HZ) if clip.excerpt else begin - BEFORE
    found = [t for t in triggers(sound, RATE_HZ) if edge <= t.first < end]
    if clip.is_gunshot:
        margin = _FOREST_MARGIN_DB if "forest" in clip.kind else _MARGIN_DB
        loudest = max((t.level_db for t in found), default=0.0)
        return [t for t in found if t.level_db >= loudest - margin]
    chosen = _some(rng, found, _NEGATIVES_MAX)
    if is_background(clip):
        chosen = chosen + [_anywhere(rng, end, begin) for _ in range(2)]
    return chosen


def is_background(clip: Clip) -> bool:
    """Whether it is the sound of a place, not of a thing: to be mixed into others."""
    return not clip.is_gunshot and any(word in clip.kind for word in ("background", "environment"))


def is_fit(clip: Clip) -> bool:
    """Whether it may be trained on."""
    return clip.use == "train" and not (clip.is_gunshot and any(n in clip.file.stem for n in _NO_SHOT))


def session_of(clip: Clip) -> str:
    """Its session; sound effects have none of their own."""
    return "cdda" if clip.source.startswith("cdda") else clip.session


def group_of(clip: Clip) -> str:
    """Which of GROUPS a recording belongs to: a forest and sound effects are not the city."""
    city = "forest" not in clip.kind and not clip.source.startswith("cdda")
    if clip.is_gunshot:
        return "city_guns" if city else "other_guns"
    return "city_background" if city and is_background(clip) else "other_negatives"


def _some(rng: Rng, found: list[Trigger], most: int) -> list[Trigger]:
    """The first and the loudest of them, others at random, in order of time."""
    if len(found) <= most:
        return found
    loudest = max(found, key=lambda t: t.level_db)
    kept = {found[0].first: found[0], loudest.first: loudest}
    for at in rng.permutation(len(found)):
        if len(kept) == most:
            break
        kept.setdefault(found[at].first, found[at])
    return sorted(kept.values(), key=lambda t: t.first)


def _anywhere(rng: Rng, end: int, begin: int = 0) -> Trigger:
    return Trigger(int(rng.integers(begin, max(begin + 1, end - RATE_HZ // 2))), -100.0, 0.0)


def _shift(rng: Rng) -> int:
    """How far an altered window lies beside its bang; the onset finder is seldom off by more than 1 ms."""
    draw = rng.random()
    span_ms = (-3.0, 3.0) if draw < 0.4 else (-60.0, 60.0) if draw < 0.9 else (-150.0, 230.0)
    return int(rng.uniform(*span_ms) * RATE_HZ / 1000)


def _pictures(rng: Rng, sound: Samples, at: int, front_end: FrontEnd) -> tuple[Bytes, Bytes]:
    """Both pictures of the bang at `at`; what the sound lacks before or after is filled."""
    lacks_before, lacks_after = max(0, BEFORE - at), max(0, at + AFTER - len(sound))
    piece = sound[max(0, at - BEFORE) : at + AFTER]
    if lacks_before or lacks_after:
        wave: Wave = piece.astype(np.float64)
        noise = fill(rng, wave, lacks_before + lacks_after, RATE_HZ).astype(np.float32)
        piece = np.concatenate((noise[:lacks_before], piece, noise[lacks_before:]))
    first, second = looks(piece, RATE_HZ, front_end)
    return pack(first), pack(second)
