"""What `gateway model learn` asks of the training environment, as a file both sides read without JAX."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

RECORDINGS: Final = "recordings"  # of a run folder: what to learn from, with a manifest.csv
CANDIDATE: Final = "candidate"  # of a run folder: the bundle that came out
_JOB: Final = "job.json"


@dataclass(frozen=True, slots=True)
class Job:
    """What to make: from which bundle's recipe, under which name and version, how large."""

    old: str  # the folder of the bundle that gives thresholds, budgets and credits
    name: str
    version: str
    seed: int
    recordings: int  # CRC-32 of the manifest that it learns from
    own_clips: int
    sources: list[dict[str, Any]]  # recordings that it learns from: name, licence, clips
    gun_clips: int
    other_clips: int
    steps: int | None
    workers: int

    def learns(self) -> dict[str, Any]:
        """All that decides which networks come out: a run folder goes on only with the same."""
        passed_over = ("name", "version", "workers")
        return {name: value for name, value in asdict(self).items() if name not in passed_over}

    def write(self, run: Path) -> None:
        """Into a run folder."""
        (run / _JOB).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, run: Path) -> "Job":
        """From a run folder."""
        return cls(**json.loads((run / _JOB).read_text(encoding="utf-8")))
