"""Which processes of a box run, found by their command lines: whoever kills one must find it first."""

from collections.abc import Iterator
from pathlib import Path


def processes_of(plan: Path) -> Iterator[tuple[int, str, str]]:
    """(pid, module, port number) of each process that runs by this plan; only a worker has a number."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended just now
        if str(plan) in words and "-m" in words:
            yield int(entry.name), words[words.index("-m") + 1], words[words.index(str(plan)) + 1]
