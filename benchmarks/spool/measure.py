"""One store through both of a box's lives: the uplink is up and drains it at once, or was down for days."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.spool.blockdisk import BlockDisk, Written
from benchmarks.spool.stores import Entry
from benchmarks.spool.workload import GROUPS, ROUND, SIZE, Extent

_ROOT: Final = Path(__file__).parents[2]
# Records a commit, commits: 24 MB, so that every store's files have been used before.
_WARM: Final = (1000, 208)
_SLOW_GROUPS: Final = (25, 100)
_REOPENINGS: Final = 3


@dataclass(frozen=True, slots=True)
class Life:
    """What a number of records cost: seconds, and octets on the device where they can be counted."""

    accepted: int
    delivered: int
    append_cpu_us: float
    drain_cpu_us: float
    append_s: float  # records a second
    drain_s: float
    octets: float | None  # written to the device per octet of payload, append and drain together
    append_octets: float | None = None
    flushes: float | None = None  # per commit, of appending alone


@dataclass(slots=True)
class Figures:
    """All about one store."""

    entry: Entry
    up: dict[int, Life] = field(default_factory=dict)  # by records a commit
    outages: dict[int, Life] = field(default_factory=dict)  # the same
    open_ms: float = 0.0
    memory_mib: float = 0.0

    @property
    def durable(self) -> bool | None:
        """Whether every commit waited for the medium; None where flushes cannot be counted."""
        flushes = next(iter(self.outages.values())).flushes
        return None if flushes is None else flushes >= 0.99


class Child:
    """A process with one open store; see child.py. Leaving it closes the store."""

    def __init__(self, entry: Entry, folder: Path, size: int, group: int) -> None:
        python = _ROOT / ".venv-peer" / "bin" / "python" if entry.peer else Path(sys.executable)
        words = (str(folder), str(size), str(group))
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.spool.child", json.dumps(asdict(entry)), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self.opened = self._answer()

    def ask(self, *order: Any) -> dict[str, Any]:
        """Give an order, wait for what it cost."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a store ended: {self._process.args!r}")
        told: dict[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.ask("close")
        else:
            self._process.kill()
        self._process.communicate()


class Bench:
    """Measures stores in `folder`, which is on `disk` if this machine allows one."""

    def __init__(self, folder: Path, disk: BlockDisk | None, extent: Extent, *, quick: bool) -> None:
        self._folder = folder
        self._disk = disk
        self._extent = extent
        self._quick = quick

    def store(self, entry: Entry) -> Figures:
        """Both lives of a store."""
        figures = Figures(entry)
        figures.up = self.uplink_up(entry, SIZE, GROUPS if entry.slow is None else _SLOW_GROUPS)
        first, *others = self._extent.backlogs if entry.slow is None else [_SLOW_GROUPS[-1]]
        self._outage(figures, first)
        for group in others:
            figures.outages[group] = self._used_outage(entry, group)
        return figures

    def uplink_up(self, entry: Entry, size: int, groups: tuple[int, ...]) -> dict[int, Life]:
        """Append and drain in turn, in a store that has been in use for a while."""
        folder = self._folder / f"{entry.name}-{size}"
        lives = {}
        with Child(entry, folder, size, _WARM[0]) as store:
            if entry.slow is None:
                store.ask("cycle", _WARM[1] * SIZE // size)
            for group in groups:
                store.ask("group", group)
                commits = self._commits(entry, group)
                before = self._written(store)
                told = store.ask("cycle", commits)
                lives[group] = _life(told, size, commits, before, self._written(store))
        shutil.rmtree(folder)
        return lives

    def _commits(self, entry: Entry, group: int) -> int:
        commits = self._extent.commits[group]
        if entry.slow is not None:
            commits = max(ROUND, min(commits, entry.slow[self._quick] // group))
        return commits

    def _outage(self, figures: Figures, group: int) -> None:
        """Append a backlog, close the store, open it again cold, drain it."""
        entry = figures.entry
        count = self._backlog(entry, group)
        folder = self._folder / f"{entry.name}-backlog"
        with Child(entry, folder, SIZE, _WARM[0]) as store:
            self._use(entry, store, count)
            store.ask("group", group)
            start = self._written(store)
            appended = store.ask("append", count)
            full = self._written(store)
        openings = []
        for _ in range(_REOPENINGS - 1):
            _forget(folder)
            with Child(entry, folder, SIZE, group) as store:
                openings.append(store.opened["open_s"])
        _forget(folder)
        with Child(entry, folder, SIZE, group) as store:
            openings.append(store.opened["open_s"])
            again = self._written(store)
            drained = store.ask("drain", count)
            empty = self._written(store)
        shutil.rmtree(folder)
        commits = count if entry.slow else count // group
        told = appended | {key: drained[key] for key in ("delivered", "drain_cpu_s", "drain_wall_s")}
        end = None if full is None or again is None or empty is None else full.and_between(again, empty)
        figures.outages[group] = _life(told, SIZE, commits, start, end, full)
        figures.open_ms = statistics.median(openings) * 1000
        figures.memory_mib = drained["memory_kib"] / 1024

    def _used_outage(self, entry: Entry, group: int) -> Life:
        """The same without closing it in between."""
        count = self._backlog(entry, group)
        folder = self._folder / f"{entry.name}-backlog-{group}"
        with Child(entry, folder, SIZE, _WARM[0]) as store:
            self._use(entry, store, count)
            store.ask("group", group)
            start = self._written(store)
            told = store.ask("append", count)
            full = self._written(store)
            drained = store.ask("drain", count)
            end = self._written(store)
        shutil.rmtree(folder)
        told |= {key: drained[key] for key in ("delivered", "drain_cpu_s", "drain_wall_s")}
        return _life(told, SIZE, count // group, start, end, full)

    def _use(self, entry: Entry, store: Child, count: int) -> None:
        """A longer outage went before: every store's files are there and have been used."""
        if entry.slow is None:
            before = max(_WARM[0] * _WARM[1], 2 * count)
            store.ask("append", before)
            store.ask("drain", before)

    def _backlog(self, entry: Entry, group: int) -> int:
        return self._extent.backlogs[group] if entry.slow is None else entry.slow[self._quick]

    def _written(self, store: Child) -> Written | None:
        if self._disk is not None:
            return self._disk.written()
        octets = store.ask("written")["written"]
        return None if octets is None else Written(octets, None)


def _life(
    told: dict[str, Any],
    size: int,
    commits: int,
    start: Written | None,
    end: Written | None,
    full: Written | None = None,
) -> Life:
    accepted, delivered = told["accepted"], max(1, told["delivered"])
    payload = accepted * size
    flushes = None
    if full is not None and start is not None and full.flushes is not None and start.flushes is not None:
        flushes = (full.flushes - start.flushes) / commits
    return Life(
        accepted=accepted,
        delivered=told["delivered"],
        append_cpu_us=told["append_cpu_s"] / accepted * 1e6,
        drain_cpu_us=told["drain_cpu_s"] / delivered * 1e6,
        append_s=accepted / told["append_wall_s"],
        drain_s=delivered / told["drain_wall_s"],
        octets=None if end is None or start is None else (end.octets - start.octets) / payload,
        append_octets=None if full is None or start is None else (full.octets - start.octets) / payload,
        flushes=flushes,
    )


def _forget(folder: Path) -> None:
    """Drop a store's files from the page cache, so that an opening reads the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
