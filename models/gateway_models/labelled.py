"""A folder of labelled recordings: manifest.csv names the clips, soundfile reads them.

    file,label,kind,source,session,path
    shots/a.flac,gunshot,gun_city_1r,elm_street,2026-07-04,
    other/b.wav,negative,fireworks,elm_street,2026-07-04,night.wav#12.5s

`file` and `label` (gunshot or negative) must be there; every other column may be missing or empty, and
columns of other names are passed over. Clips without a `session` count as one session per source. A `path`
that ends in a time ("#12.5s") says that the clip was cut out of a longer recording.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gateway.errors import ConfigError
from gateway.features import Samples
from gateway.media import Pcm

GUNSHOT: Final = "gunshot"
NEGATIVE: Final = "negative"
MANIFEST: Final = "manifest.csv"
SHORTEST_S: Final = 0.02
LONGEST_S: Final = 3600.0
RATES_HZ: Final = (4_000, 192_000)
_BLOCK_S: Final = 10
_EXCERPT: Final = re.compile(r"#\d+(\.\d+)?s$")


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest. `session` is the place and time it was recorded in, `use` "train" or
    "evaluate"; `excerpt`: it was cut out of a longer recording (its `path` names a time: "#2.88s").
    """

    file: Path
    label: str
    kind: str
    source: str
    session: str
    use: str
    licence: str
    excerpt: bool

    @property
    def is_gunshot(self) -> bool:
        """Whether the manifest calls it a gunshot."""
        return self.label == GUNSHOT


class Unreadable(RuntimeError):
    """A clip that cannot be judged; the text says why. The others go on."""


def read_manifest(folder: Path) -> list[Clip]:
    """The clips of `folder`/manifest.csv. Raises ConfigError, naming the line."""
    path = folder / MANIFEST
    clips: list[Clip] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise ConfigError(_no_columns(rows.fieldnames or ()), str(path))
            lines: dict[Path, int] = {}
            for row in rows:
                clip = _clip(folder, row, f"{path}:{rows.line_num}")
                if (before := lines.setdefault(clip.file, rows.line_num)) != rows.line_num:
                    text = f"line {before} names {row['file']} already: a clip must count once"
                    raise ConfigError(text, f"{path}:{rows.line_num}")
                clips.append(clip)
    except FileNotFoundError:
        raise ConfigError(f"there is no {MANIFEST} in {folder}; its columns: docs/evaluation.md") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot be read as CSV in UTF-8: {error}", str(path)) from error
    if not clips:
        raise ConfigError("names no clips", str(path))
    return clips


def _no_columns(names: Sequence[str]) -> str:
    text = "the first line must name at least the columns file and label"
    (only,) = names if len(names) == 1 else ("",)
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if mark in only:
            return f"{text}, with commas between them: these are {word}"
    return text


def _clip(folder: Path, row: Mapping[str, str | None], where: str) -> Clip:
    def cell(name: str) -> str:
        return (row.get(name) or "").strip()

    file, label = cell("file"), cell("label")
    if not file:
        raise ConfigError("needs a file: the path of a clip, from the manifest's folder on", where)
    if label not in (GUNSHOT, NEGATIVE):
        raise ConfigError(
            f'needs as label "{GUNSHOT}" or "{NEGATIVE}", in small letters, not "{label}"', where
        )
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ConfigError(f"file {file!r} must lie in the manifest's own folder", where)
    source = cell("source") or "recordings"
    return Clip(
        file=folder / file,
        label=label,
        kind=cell("kind") or label,
        source=source,
        session=cell("session") or source,
        use=cell("use") or "evaluate",
        licence=cell("licence"),
        excerpt=_EXCERPT.search(cell("path")) is not None,
    )


def read_pcm(path: Path) -> tuple[Pcm, int]:
    """The first channel of a recording as int16 [samples], and its rate in Hz. Raises Unreadable.

    FLAC, WAV, OGG and what else libsndfile reads, in any sample format.
    """
    import soundfile  # only recordings need it: not a dependency of the box

    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, length = int(file.samplerate), int(file.frames)
            if not SHORTEST_S * rate_hz <= length <= LONGEST_S * rate_hz:
                raise Unreadable(f"is {length / rate_hz:.3g} s long; {SHORTEST_S} s to an hour can be judged")
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise Unreadable(
                    f"has {rate_hz} samples a second; {RATES_HZ[0]} to {RATES_HZ[1]} can be judged"
                )
            # As float32: libsndfile does not scale a float file that is read as int16.
            blocks = file.blocks(rate_hz * _BLOCK_S, dtype="float32", always_2d=True)
            pcm = np.concatenate([_as_pcm(block[:, 0]) for block in blocks])
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise Unreadable(f"cannot be read ({error})") from error
    if len(pcm) < SHORTEST_S * rate_hz:
        raise Unreadable("is cut short")
    return pcm, rate_hz


def _as_pcm(sound: Samples) -> Pcm:
    if not np.isfinite(sound).all():
        raise Unreadable("holds samples that are no numbers")
    pcm: Pcm = np.clip(np.round(sound * 32768.0), -32768, 32767).astype(np.int16)
    return pcm
