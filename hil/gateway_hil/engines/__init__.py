"""Engines boot a guest, run one command in it, and bring back what came of it.

How host and guest talk, the same for every engine: the guest sees the host's files as they are and may write
to none of them but those of the job's out folder, which is /run/out there. Its first process (guest/init.sh)
runs OUT/job.sh and writes the exit status to OUT/rc. No rc means that the guest died: that is a failure,
whatever else it left behind.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from gateway.errors import GatewayError

# Exit status of a run whose guest left none.
NO_RESULT: Final = 99
# Where the guest sees the job's out folder.
GUEST_OUT: Final = Path("/run/out")
# The first process of every guest.
INIT: Final = Path(__file__).parent.parent / "guest" / "init.sh"


class EngineError(GatewayError):
    """A guest cannot be booted here; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command to run as root in a fresh guest.

    `keep` are folders of the host that the command needs (the project, its Python): they may lie anywhere,
    also where the guest has a file system of its own (/tmp, /run). `line` is called with each line of the
    console as it comes, without its end. `limit_s` is wall time, boot included.
    """

    command: tuple[str, ...]
    folder: Path
    out: Path
    keep: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    time_travel: bool = False
    memory_mib: int = 768
    limit_s: float = 900.0
    line: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back. `rc` is the exit status, None if the guest left none; `why` says then what happened."""

    rc: int | None
    why: str
    seconds: float
    out: Path

    @property
    def status(self) -> int:
        """The exit status to leave with: a missing result is a failure."""
        return NO_RESULT if self.rc is None else self.rc

    @property
    def junit(self) -> Path:
        """The test report, if the command wrote one."""
        return self.out / "junit.xml"

    @property
    def console(self) -> Path:
        """All that the guest's console showed."""
        return self.out / "console.log"


class Engine(Protocol):
    """UML or QEMU."""

    name: str

    def prepare(self, say: Callable[[str], None]) -> None:
        """Have a kernel, built or fetched if need be; `say` gets lines of progress. Raises EngineError."""
        ...

    def run(self, job: Job) -> Outcome:
        """Boot, run the job, power off. Never raises for what goes wrong in the guest. Raises EngineError."""
        ...


def write_job(job: Job) -> None:
    """Lay the job into its out folder, where the guest looks for it; old results go."""
    job.out.mkdir(parents=True, exist_ok=True)
    for name in ("rc", "junit.xml", "console.log"):
        (job.out / name).unlink(missing_ok=True)
    lines = ["# Written for the guest's first process; it runs as root in there.", "set -eu"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(job.environment.items())]
    lines += [f"cd {shlex.quote(str(job.folder))}", f"exec {shlex.join(job.command)}"]
    (job.out / "job.sh").write_text("\n".join(lines) + "\n")
    (job.out / "keep").write_text("".join(f"{path}\n" for path in job.keep))


def read_outcome(job: Job, seconds: float, why: str) -> Outcome:
    """What the guest left in its out folder. `why` is what the engine saw of its end."""
    try:
        text = (job.out / "rc").read_text().strip()
    except FileNotFoundError:
        return Outcome(None, why or "the guest ended without a result", seconds, job.out)
    try:
        return Outcome(int(text), "", seconds, job.out)
    except ValueError:
        return Outcome(None, f"the guest's result is cut off: {text!r}", seconds, job.out)


def python_folders() -> tuple[Path, ...]:
    """What a job needs to run this very Python: the environment, what it was made from, and this package."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3]}
    return tuple(sorted(path.resolve() for path in found))


def last_lines(console: Path, count: int = 12) -> str:
    """The end of a console log, for an error's text."""
    try:
        with console.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line for line in lines[-count:] if line.strip())
