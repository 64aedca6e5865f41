"""What model a sensor runs, noted by its worker for `gateway doctor`: `run/model-<sensor>.json`."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelNote:
    """`asked` is what the site file names; `runs` is name and version, "" if none does.

    `why` says why it is another version than it should be, or none; "" if all is well.
    """

    asked: str
    runs: str
    why: str


def write_note(state: Path, sensor: str, note: ModelNote) -> None:
    """A disk that refuses costs only the note."""
    path = _path(state, sensor)
    beside = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(asdict(note)) + "\n", encoding="utf-8")
        os.replace(beside, path)


def read_note(state: Path, sensor: str) -> ModelNote | None:
    """What the sensor's worker noted last; None if it never did, or the file is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        fields = json.loads(_path(state, sensor).read_bytes())
        return ModelNote(str(fields["asked"]), str(fields["runs"]), str(fields["why"]))
    return None


def _path(state: Path, sensor: str) -> Path:
    return state / "run" / f"model-{sensor}.json"
