"""One run of the ladder's tests on one bench: the command line of pytest, the engine, and what came back."""

import compileall
import importlib.util
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway_hil.benches.real import read_rig
from gateway_hil.engines import (
    GUEST_OUT,
    NO_RESULT,
    Engine,
    Job,
    Outcome,
    python_folders,
    read_outcome,
    write_job,
)
from gateway_hil.engines.watch import watch
from gateway_hil.report import Report, ReportError, read_report

__all__ = ["GUESTS", "Result", "Rung", "climb", "engine_named", "ladder_folder"]

# Benches that are guests, each by an engine of its name.
GUESTS: Final = ("uml", "qemu")
# Wall time of a whole run, boot included, and of one test. Virtual time is no measure of a test.
_LIMIT_S: Final = {"local": 600.0, "real": 3600.0, "uml": 1500.0, "qemu": 1500.0}
_TEST_LIMIT_S: Final = {"local": 120, "real": 600, "uml": 240, "qemu": 600}
# What a test may know of the host.
_PASSED_ON: Final = ("GATEWAY_TEST_DATA", "CI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What to run where. `select` is pytest's -k, `marks` its -m; no paths means the whole ladder."""

    bench: str
    time_travel: bool = False
    paths: tuple[str, ...] = ()
    select: str | None = None
    marks: str | None = None
    seed: int | None = None
    chaos: int | None = None
    rig: Path | None = None
    out: Path | None = None

    @property
    def name(self) -> str:
        """As it is called in the summary."""
        return f"{self.bench}, time travel" if self.time_travel else self.bench


@dataclass(frozen=True, slots=True)
class Result:
    """What came back. `report` is None if the tests' report is missing or cut off: a failure, too."""

    rung: Rung
    outcome: Outcome
    report: Report | None
    seed: int
    why: str

    @property
    def status(self) -> int:
        """The exit status of the run; 99 if there is no result to believe."""
        if self.outcome.rc == 0 and self.report is None:
            return NO_RESULT
        return self.outcome.status


def climb(rung: Rung, line: Callable[[str], None], say: Callable[[str], None]) -> Result:
    """Run it. Raises ConfigError, or EngineError if a guest cannot be booted here."""
    if rung.time_travel and rung.bench != "uml":
        raise ConfigError(
            f"the bench {rung.bench} cannot skip idle time; --time-travel goes with --bench uml"
        )
    if rung.rig is not None and rung.bench != "real":
        raise ConfigError("--rig goes with --bench real")
    if rung.bench == "real":
        read_rig(rung.rig)  # what is wrong with it is said before pytest starts
    seed = random.SystemRandom().getrandbits(31) if rung.seed is None else rung.seed
    folder = project_folder()
    paths = [_resolved(path) for path in rung.paths] or [str(ladder_folder(folder))]
    out = (rung.out or Path(tempfile.mkdtemp(prefix="gateway-hil-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "seed").write_text(f"{seed}\n")
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    keep = {*python_folders(), folder, *(_folder(path) for path in paths)}
    if "GATEWAY_TEST_DATA" in passed_on:
        keep.add(Path(passed_on["GATEWAY_TEST_DATA"]).resolve())
    is_guest = rung.bench in GUESTS
    job = Job(
        command=(*_command(rung, seed, GUEST_OUT if is_guest else out), *paths),
        folder=folder,
        out=out,
        keep=tuple(sorted(keep)),
        environment=passed_on,
        time_travel=rung.time_travel,
        limit_s=_LIMIT_S[rung.bench],
        line=line,
    )
    if is_guest:
        engine = engine_named(rung.bench)
        engine.prepare(say)
        _compile_ahead()
        outcome = engine.run(job)
    else:
        outcome = _here(job)
    return _judged(rung, outcome, seed)


def engine_named(name: str) -> Engine:
    """The engine of a guest bench."""
    if name == "uml":
        from gateway_hil.engines.uml import Uml

        return Uml()
    from gateway_hil.engines.qemu import Qemu

    return Qemu()


def project_folder() -> Path:
    """The project that we are in, by its pyproject.toml; the current folder if there is none above it."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)


def ladder_folder(project: Path) -> Path:
    """Where the tests are that climb all benches. Raises ConfigError if there is no such folder."""
    folder = project / "hil" / "ladder"
    if not folder.is_dir():
        raise ConfigError(f"there is no {folder}; name the tests to run, or run this in the project's folder")
    return folder


def _command(rung: Rung, seed: int, out: Path) -> tuple[str, ...]:
    """pytest's command line; in a User-Mode Linux guest, after a look at whether it computes right."""
    check = (sys.executable, "-m", "gateway_hil.guest.selfcheck") if rung.bench == "uml" else ()
    command = [*check, sys.executable, "-m", "pytest", "-vv", "-p", "gateway_hil.plugin"]
    # Hypothesis is not used on the ladder; importing it takes two thirds of pytest's start, in QEMU 10 s.
    command += ["-p", "no:hypothesispytest"]
    command += ["--bench", rung.bench, "--seed", str(seed), f"--junitxml={out / 'junit.xml'}"]
    command += ["--timeout", "0" if rung.time_travel else str(_TEST_LIMIT_S[rung.bench])]
    if rung.time_travel:
        command.append("--time-travel")
    if rung.chaos is not None:
        command += ["--chaos", str(rung.chaos)]
    if rung.rig is not None:
        command += ["--rig", str(rung.rig.resolve())]
    if rung.select is not None:
        command += ["-k", rung.select]
    if rung.marks is not None:
        command += ["-m", rung.marks]
    return tuple(command)


def _resolved(path: str) -> str:
    """A test's path from any folder; "::name" stays. Raises ConfigError if there is no such file."""
    file, *names = path.split("::")
    if not Path(file).exists():
        raise ConfigError(f"there is no {file}")
    return "::".join([str(Path(file).resolve()), *names])


def _folder(path: str) -> Path:
    """The folder that a test's path lies in, or is."""
    named = Path(path.partition("::")[0])
    return named if named.is_dir() else named.parent


def _here(job: Job) -> Outcome:
    """The same on this machine: a shell in place of a guest."""
    write_job(job)
    script = '/bin/sh "$0/job.sh"; echo $? >"$0/rc"'
    why, seconds = watch(
        ("/bin/sh", "-c", script, str(job.out)), job.out / "console.log", job.line, job.limit_s
    )
    return read_outcome(job, seconds, why)


def _judged(rung: Rung, outcome: Outcome, seed: int) -> Result:
    """Read the tests' report; none that can be read is a failure, whatever the exit status says."""
    if outcome.rc is None:
        return Result(rung, outcome, None, seed, outcome.why)
    try:
        return Result(rung, outcome, read_report(outcome.junit), seed, "")
    except ReportError as error:
        return Result(rung, outcome, None, seed, str(error))


def _compile_ahead() -> None:
    """A guest forgets what it compiled, and each of its processes would compile the project again."""
    for package in ("gateway", "gateway_drivers", "gateway_models", "gateway_hil"):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=2)
