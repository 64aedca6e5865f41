"""Does the second look lean on where recordings end? The folds' test again with all ends made alike.

The city's shots are cut two seconds after the last round at the latest, other sounds go on for longer; after
the end there is noise like the quietest moment of the clip. No street does that. So here every shot is
followed by real background of its own night, and every other sound ends as soon after its onset as shots do.
"""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.features import as_sound
from gateway.media import Pcm
from gateway_models.lessons import CITY
from gateway_models.onsets import AFTER, BEFORE, OnsetSet
from gateway_models.recordings import EDGE_S, RATE_HZ, Clip, prepare, read_clip, read_manifest
from gateway_models.triggers import triggers
from gateway_models.windows import FRONT_END, Bytes, looks, pack

_LEAD: Final = round(0.4 * RATE_HZ)  # of a cut clip, before its onset
_BACKGROUND_LEAST_S: Final = 0.5

Pictures = tuple[list[Bytes], list[Bytes]]


def with_equal_ends(folder: Path, onsets: OnsetSet, workers: int = 2) -> OnsetSet:
    """The onsets of the same clips, in the same order, with other sound after the clips' ends."""
    clips = read_manifest(folder)
    after = _shots_end_after(clips)
    backgrounds = {session: _background(clips, session) for session in CITY}
    jobs = [(number, clip, after, backgrounds.get(clip.session)) for number, clip in enumerate(clips)]
    wanted = [job for job in jobs if _is_tested(job[1])]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = dict(
            zip((job[0] for job in wanted), pool.starmap(_pictures, wanted, chunksize=16), strict=True)
        )
    first, second = onsets.first.copy(), onsets.second.copy()
    for number, (firsts, seconds) in found.items():
        rows = np.flatnonzero(onsets.row == number)
        if len(rows) != len(firsts):
            raise ValueError(
                f"{clips[number].file} has other onsets than before; delete onsets.npz of the run"
            )
        for row, one, two in zip(rows, firsts, seconds, strict=True):
            first[row], second[row] = one, two
    return replace(onsets, first=first, second=second)


def _is_tested(clip: Clip) -> bool:
    return clip.use == "evaluate" or (clip.session in CITY and clip.is_gunshot)


def _shots_end_after(clips: list[Clip]) -> npt.NDArray[np.float64]:
    """Seconds from the loudest onset to the end, of each of the city's shots."""
    found = []
    for clip in clips:
        if clip.session in CITY and clip.is_gunshot:
            longer, begin, end = prepare(read_clip(clip), RATE_HZ)
            inside = [t for t in triggers(as_sound(longer), RATE_HZ) if begin <= t.first < end]
            if inside:
                found.append((end - max(inside, key=lambda t: t.level_db).first) / RATE_HZ)
    return np.array(found)


def _background(clips: list[Clip], session: str) -> Pcm:
    """Background of a night, one piece after the other."""
    pieces = [read_clip(clip) for clip in clips if clip.session == session and not clip.is_gunshot]
    return np.concatenate([piece for piece in pieces if len(piece) > _BACKGROUND_LEAST_S * RATE_HZ])


def _pictures(number: int, clip: Clip, after: npt.NDArray[np.float64], background: Pcm | None) -> Pictures:
    """First and second pictures of the onsets of one clip."""
    rng = np.random.default_rng([7, number])
    pictures: Pictures = ([], [])
    pcm = read_clip(clip)
    if not len(pcm):
        return pictures
    longer, begin, end = prepare(pcm, RATE_HZ)
    earliest = begin + (round(EDGE_S * RATE_HZ) if clip.excerpt else 0)
    for trigger in triggers(as_sound(longer), RATE_HZ):
        if earliest <= trigger.first < end:
            if background is not None:
                heard, at = _followed(rng, longer, end, background), trigger.first
            else:
                cut = trigger.first + round(float(rng.choice(after)) * RATE_HZ)
                from_ = max(begin, trigger.first - _LEAD)
                piece = longer[from_ : min(end, max(cut, trigger.first + 1))]
                heard, start, _ = prepare(piece, RATE_HZ)
                at = trigger.first - from_ + start - int(np.argmax(piece != 0))
            sound = as_sound(heard)[at - BEFORE : at + AFTER]
            first, second = looks(sound, RATE_HZ, FRONT_END.tables())
            pictures[0].append(pack(first))
            pictures[1].append(pack(second))
    return pictures


def _followed(rng: np.random.Generator, longer: Pcm, end: int, background: Pcm) -> Pcm:
    """The clip, and from its end on background from somewhere."""
    heard = longer.copy()
    missing = len(longer) - end
    start = int(rng.integers(max(1, len(background) - missing)))
    tail = background[start : start + missing]
    heard[end : end + len(tail)] = tail
    return heard
