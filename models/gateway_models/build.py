"""Builds the training set: synthesis and, where there are any, recordings. Seeded, resumable, on all cores.

    build(folder, seed=1, out=Path("run/windows"))      # with the recordings that `use=train` permits
    build(None, seed=1, out=Path("run/windows"))        # synthesis alone: needs nothing

The work is split into parts, each with a seed of its own; a part that is there is not made again, so
that a build goes on where it was broken off. The same arguments give the same windows.
"""

import json
import multiprocessing
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.media import Pcm
from gateway_models import cutting
from gateway_models.augment import Background
from gateway_models.cutting import Copies, Window
from gateway_models.labelled import Clip, Unreadable, read_manifest
from gateway_models.recordings import FADE_S, RATE_HZ, read_clip
from gateway_models.waves import Rng
from gateway_models.windows import FIRST_ROWS, FRONT_END, SECOND_ROWS, WindowSet, join, load

REVISION: Final = 3  # raised whenever the same arguments give other windows
_SYNTHETIC_IN_PART: Final = 250
_RECORDINGS_IN_PART: Final = 24
_PIECES_MAX: Final = 40  # of background of one session
_PIECE_MIN_S: Final = 1.0
_SYNTHETIC_CLIPS: Final = 1_000_000  # clips of synthesis are numbered from here on
# The type of each array of a WindowSet beside the pictures.
_COLUMNS: Final[dict[str, Any]] = {
    "label": np.int8,
    "kind": np.str_,
    "session": np.str_,
    "noise_session": np.str_,
    "clip": np.int32,
    "real": np.bool_,
    "plain": np.bool_,
    "prominence_db": np.float32,
    "group": np.str_,
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many synthetic clips (each gives one to three windows), and copies of real windows."""

    gun_clips: int = 4_250
    other_clips: int = 4_750
    copies: Copies = field(default_factory=Copies)


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    kind: str  # "gun", "other" or "recorded"
    first: int
    count: int


class _Work:
    """What every process needs: the clips and the backgrounds of each session."""

    def __init__(self, folder: Path | None, seed: int, out: Path, size: Size) -> None:
        self.seed, self.shards, self.size = seed, out / "parts", size
        self.front_end = FRONT_END.tables()
        self.clips: list[Clip] = []
        if folder is not None:
            self.clips = [clip for clip in read_manifest(folder) if cutting.is_fit(clip)]
        self.noises = _backgrounds(np.random.default_rng([seed, 0]), self.clips)
        self.parts = self._split()

    def _split(self) -> list[_Part]:
        plan = (
            ("recorded", len(self.clips), _RECORDINGS_IN_PART),
            ("gun", self.size.gun_clips, _SYNTHETIC_IN_PART),
            ("other", self.size.other_clips, _SYNTHETIC_IN_PART),
        )
        parts: list[_Part] = []
        for kind, count, step in plan:
            for first in range(0, count, step):
                parts.append(_Part(len(parts), kind, first, min(step, count - first)))
        return parts

    def make(self, part: _Part) -> int:
        """Make one part and write it; return how many windows it has."""
        target = self.shards / f"{part.number:04d}"
        if (target / "windows.json").exists():
            return len(load(target))
        found = stacked(self._windows(np.random.default_rng([self.seed, 1 + part.number]), part))
        found.save(target)
        return len(found)

    def _windows(self, rng: Rng, part: _Part) -> Iterable[Window]:
        numbers = range(part.first, part.first + part.count)
        if part.kind == "recorded":
            for number in numbers:
                clip = self.clips[number]
                pcm, own = _samples(clip), cutting.session_of(clip)
                noises = [noise for noise in self.noises if noise.session == own]
                if len(pcm):
                    yield from cutting.recorded(
                        rng, self.front_end, number, clip, pcm, noises, self.size.copies
                    )
            return
        draw = cutting.synthetic_gun if part.kind == "gun" else cutting.synthetic_other
        base = _SYNTHETIC_CLIPS * (1 if part.kind == "gun" else 2)
        for number in numbers:
            yield from draw(rng, self.front_end, base + number, self.noises)


def build(
    folder: Path | None,
    seed: int,
    out: Path,
    workers: int = 2,
    size: Size | None = None,
) -> WindowSet:
    """Build the set into `out` (or go on with it there), and load it.

    `folder` has a manifest.csv; only its rows with use=train are taken. Progress goes to stderr.
    """
    size = size or Size()
    config = _configuration(folder, seed, size)
    if (out / "windows.json").exists() and _read(out / "config.json") == config:
        return load(out)
    work = _Work(folder, seed, out, size)
    if _read(out / "config.json") != config:
        _empty(work.shards)
    work.shards.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(config, encoding="utf-8")
    windows = 0
    for done, count in enumerate(_made(work, workers), 1):
        windows += count
        sys.stderr.write(f"\rwindows: {done} of {len(work.parts)} parts, {windows} windows ")
        sys.stderr.flush()
    sys.stderr.write("\n")
    join([load(work.shards / f"{part.number:04d}") for part in work.parts]).save(out)
    _empty(work.shards)
    return load(out)


_work: _Work | None = None  # of this process, when it is one of a pool


def _made(work: _Work, workers: int) -> Iterable[int]:
    """Makes the parts, several at a time; yields the number of windows of each."""
    if workers <= 1:
        yield from map(work.make, work.parts)
        return
    global _work
    _work = work
    # Forked processes share the backgrounds; nothing here has threads of its own by now.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(_make, work.parts)
    _work = None


def _make(part: _Part) -> int:
    assert _work is not None
    return _work.make(part)


def stacked(windows: Iterable[Window]) -> WindowSet:
    """Rows as arrays; none at all is a set of no windows."""
    rows = list(windows)

    def column(name: str, kind: Any) -> Any:
        return np.array([getattr(row, name) for row in rows], dtype=kind)

    shapes = {"first": (FIRST_ROWS, FRONT_END.bands), "second": (SECOND_ROWS, FRONT_END.bands)}
    pictures = {name: column(name, np.uint8).reshape(-1, *shape) for name, shape in shapes.items()}
    return WindowSet(**pictures, **{name: column(name, kind) for name, kind in _COLUMNS.items()})


def _backgrounds(rng: Rng, clips: Sequence[Clip]) -> list[Background]:
    """Up to so many pieces of each session's own background."""
    by_session: dict[str, list[Clip]] = {}
    for clip in clips:
        if cutting.is_background(clip):
            by_session.setdefault(cutting.session_of(clip), []).append(clip)
    found = []
    for session, of_it in sorted(by_session.items()):
        chosen = [of_it[at] for at in rng.permutation(len(of_it))[:_PIECES_MAX]]
        fade = round(FADE_S * RATE_HZ)  # excerpts are faded in and out: no gaps in what is mixed in
        pieces = [_samples(clip)[fade:-fade].astype(np.float64) / 32768.0 for clip in chosen]
        long_enough = tuple(piece for piece in pieces if len(piece) >= _PIECE_MIN_S * RATE_HZ)
        if long_enough:
            found.append(Background(session, long_enough))
    return found


def _samples(clip: Clip) -> Pcm:
    """What a clip holds; nothing, and a line on stderr, if it cannot be read."""
    try:
        return read_clip(clip)
    except Unreadable as error:
        sys.stderr.write(f"\n{clip.file} {error}; it is passed over\n")
        return np.zeros(0, np.int16)


def _configuration(folder: Path | None, seed: int, size: Size) -> str:
    """All that the windows depend on, as text."""
    manifest = 0 if folder is None else zlib.crc32((folder / "manifest.csv").read_bytes())
    content = {"revision": REVISION, "seed": seed, "manifest": manifest, "size": asdict(size)}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _empty(shards: Path) -> None:
    """Remove the parts: they are of another configuration, or joined."""
    for part in sorted(shards.glob("[0-9]*")):
        for file in part.iterdir():
            file.unlink()
        part.rmdir()
