"""What one process, and one environment, take of a machine."""

import os
import re
import time
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from gateway_hil.wakeups import wakeups

_PUNCTUATION = re.compile("[-_.]+")  # of a package's name, all the same
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Idle:
    """A process that was watched for a while."""

    pss_mib: float
    cpu_percent: float  # of one core
    wakeups_s: float


def idle(pid: int, seconds: float) -> Idle:
    """Watch a process for so long."""
    cpu_before_s, woken_before = cpu_s(pid), wakeups(pid)
    time.sleep(seconds)
    return Idle(
        pss_mib(pid),
        round((cpu_s(pid) - cpu_before_s) / seconds * 100, 2),
        round((wakeups(pid) - woken_before) / seconds, 2),
    )


def cpu_s(pid: int) -> float:
    """CPU time a process has used, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pss_mib(pid: int) -> float:
    """Its memory: private pages, and its share of the shared ones."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024, 1)


def on_disk(paths: list[str] | None = None, names: frozenset[str] | None = None) -> tuple[int, float]:
    """Packages installed at these paths, all or those named, and the MB of their files, bytecode included."""
    packages, octets = 0, 0
    for package in distributions(path=paths) if paths else distributions():
        if names is None or _PUNCTUATION.sub("-", package.name.lower()) in names:
            packages += 1
            octets += sum(path.stat().st_size for path in _files(package) if path.is_file())
    return packages, round(octets / 1e6, 1)


def _files(package: object) -> list[Path]:
    return [Path(str(file.locate())) for file in getattr(package, "files", None) or ()]
