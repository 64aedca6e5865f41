"""A city's own recordings: which sessions are learned from and which judge, and the folder to train with.

Sessions are held out whole. Clips of one evening share its street, its weather and its guns: a model judged
on clips between those that it learned from would look better than it is.
"""

import csv
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError
from gateway_models.labelled import GUNSHOT, MANIFEST, NEGATIVE, Clip, read_manifest

CALIBRATE: Final = "calibrate"  # the session of clips that are not learned from, but calibrate
_CALIBRATE_ONE_IN: Final = 10
_HELD_OUT_ONE_IN: Final = 3
LEAST_TO_JUDGE: Final = 20  # shots, and negatives: with fewer, one lucky clip decides
_COLUMNS: Final = ("file", "label", "kind", "source", "use", "licence", "session", "path")


@dataclass(frozen=True, slots=True)
class Split:
    """Clips to learn from, clips that judge, and the sessions of the latter."""

    learn: tuple[Clip, ...]
    judge: tuple[Clip, ...]
    held_out: tuple[str, ...]


def split(folder: Path, held_out: Sequence[str] = ()) -> Split:
    """The clips of a folder, by session: those that `held_out` names judge, else the last third, in the order
    of their names (with dates for names: the newest), of those with both shots and negatives.

    With a column `use`, only rows with use=train are learned from. Raises ConfigError if there are not enough
    sessions to learn from some and judge by others.
    """
    clips = read_manifest(folder)
    sessions = sorted({clip.session for clip in clips})
    both = [name for name in sessions if len({clip.label for clip in clips if clip.session == name}) == 2]
    if len(both) < 2:
        raise ConfigError(
            f"{folder} has {len(both)} session{'s' * (len(both) != 1)} with both gunshots and negatives; two "
            "are needed, one to learn from and one to judge by: name evenings apart in the column session"
        )
    if unknown := sorted(set(held_out) - set(sessions)):
        raise ConfigError(f"no session is called {unknown[0]!r}; there are {', '.join(sessions)}")
    chosen = tuple(held_out) or tuple(both[-max(1, len(both) // _HELD_OUT_ONE_IN) :])
    judge = tuple(clip for clip in clips if clip.session in chosen)
    may = {"train"} if _has_column(folder, "use") else {"train", "evaluate"}
    learn = tuple(clip for clip in clips if clip.session not in chosen and clip.use in may)
    for what, part in (("judge by", judge), ("learn from", learn)):
        if len({clip.label for clip in part}) < 2:
            raise ConfigError(
                f"to {what} there must be gunshots and negatives; "
                f"with {', '.join(chosen)} held out there are not"
            )
    for label in (GUNSHOT, NEGATIVE):
        if (count := sum(clip.label == label for clip in judge)) < LEAST_TO_JUDGE:
            raise ConfigError(
                f"{', '.join(chosen)} would judge with {count} clips labelled {label}; at least "
                f"{LEAST_TO_JUDGE} are needed, or chance decides: hold out more sessions (--hold-out), or "
                "record more"
            )
    return Split(learn, judge, chosen)


def _has_column(folder: Path, name: str) -> bool:
    with (folder / MANIFEST).open(encoding="utf-8-sig", newline="") as file:
        return name in next(csv.reader(file), [])


def lay_out(target: Path, own: Split, base: Path | None) -> tuple[list[dict[str, Any]], int]:
    """Make a folder with a manifest to train with: the base's recordings and a city's own, as links.

    What judges is left out: of the base sessions of the same name, of both files of the same content. Every
    tenth clip is put into the session CALIBRATE. Returns what is in it, as a bundle's provenance names
    sources, and how many clips of that are the city's own.
    """
    target.mkdir(parents=True, exist_ok=True)
    judged = {digest for clip in own.judge if (digest := _digest(clip.file)) is not None}
    base_clips = [] if base is None else [clip for clip in read_manifest(base) if clip.use == "train"]
    kept = [
        clip for clip in base_clips if clip.session not in own.held_out and _digest(clip.file) not in judged
    ]
    known = {_digest(clip.file) for clip in kept}
    new = [clip for clip in own.learn if _digest(clip.file) not in known | judged]
    rows = [*_linked(target, "base", kept), *_linked(target, "own", new)]
    with (target / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return [*_sources(kept, ""), *_sources(new, "as their owner permits")], len(new)


def _sources(clips: Sequence[Clip], licence: str) -> Iterable[dict[str, Any]]:
    for name, count in sorted(Counter(clip.source for clip in clips).items()):
        licences = sorted({clip.licence for clip in clips if clip.source == name and clip.licence})
        yield {"name": name, "licence": "; ".join(licences) or licence or "unknown", "clips": count}


def _linked(target: Path, part: str, clips: Iterable[Clip]) -> Iterable[dict[str, str]]:
    (target / part).mkdir(exist_ok=True)
    for number, clip in enumerate(clips):
        name = f"{part}/{number:05d}_{clip.file.name}"
        link = target / name
        link.unlink(missing_ok=True)
        link.symlink_to(clip.file.resolve())
        calibrates = zlib.crc32(clip.file.name.encode()) % _CALIBRATE_ONE_IN == 0
        yield {
            "file": name,
            "label": clip.label,
            "kind": clip.kind,
            "source": clip.source,
            "use": "train",
            "licence": clip.licence,
            "session": CALIBRATE if calibrates else clip.session,
            "path": "#0s" if clip.excerpt else "",
        }


def _digest(file: Path) -> bytes | None:
    """What a file holds; None if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None
