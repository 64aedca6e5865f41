"""One store in a process of its own: orders as JSON lines on stdin, what they cost as JSON lines on stdout.

Runs in the environment of its store, so it imports nothing but that.
"""

import ctypes
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.spool.stores import Entry, Store
from benchmarks.spool.workload import ROUND, WRITE_BACK, batches

_libc = ctypes.CDLL(None, use_errno=True)


class Cost:
    """CPU (user and system, all threads) and wall seconds of the blocks it is entered for."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.wall_s = 0.0

    def __enter__(self) -> None:
        self._cpu, self._wall = time.process_time_ns(), time.perf_counter_ns()

    def __exit__(self, *exc: object) -> None:
        self.cpu_s += (time.process_time_ns() - self._cpu) / 1e9
        self.wall_s += (time.perf_counter_ns() - self._wall) / 1e9


class Served:
    """The store, and the orders it takes."""

    def __init__(self, entry: Entry, folder: Path, size: int, group: int) -> None:
        self._folder = folder
        self._size = size
        self.group(group)
        entry.adapter()  # importing is not opening
        opening = Cost()
        with opening:
            self._store: Store = entry.open(folder, size)
            self._first = self._store.first()
        self.opened = {"open_s": opening.wall_s, "first": self._first}

    def group(self, group: int) -> dict[str, Any]:
        """From now on so many records a commit."""
        self._group = group
        self._batches = batches(self._size, group)
        return {}

    def cycle(self, commits: int) -> dict[str, Any]:
        """Append and drain in turn, as with the uplink up; unsynced pages are written back now and then."""
        append, drain = Cost(), Cost()
        accepted = delivered = 0
        turn = itertools.cycle(self._batches)
        for done in range(0, commits, ROUND):
            mine = list(itertools.islice(turn, min(ROUND, commits - done)))
            with append:
                for batch in mine:
                    accepted += self._store.append(batch)
                self._store.settle()
            with drain:
                delivered += self._store.drain(self._group, accepted - delivered)
            if (done + ROUND) % WRITE_BACK == 0:
                self.write_back()
        return _told(append, drain, accepted, delivered)

    def append(self, count: int) -> dict[str, Any]:
        """Append a backlog."""
        cost = Cost()
        accepted = 0
        turn = itertools.cycle(self._batches)
        with cost:
            for batch in itertools.islice(turn, count // self._group):
                accepted += self._store.append(batch)
            self._store.settle()
        return _told(cost, None, accepted, 0)

    def drain(self, limit: int) -> dict[str, Any]:
        """Drain a backlog; the memory it took above what was there before, at its peak."""
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
        idle_kib = _status("VmRSS")
        cost = Cost()
        with cost:
            delivered = self._store.drain(self._group, limit)
        told = _told(None, cost, 0, delivered)
        return told | {"memory_kib": _status("VmHWM") - idle_kib}

    def write_back(self) -> None:
        """What the kernel does by itself after half a minute."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _libc.syncfs(fd):
                raise OSError(ctypes.get_errno(), "syncfs")
        finally:
            os.close(fd)

    def written(self) -> dict[str, Any]:
        """Bytes that our own log asked the disk to write; for machines without a block device to spare."""
        return {"written": getattr(getattr(self._store, "disk", None), "written", None)}

    def close(self) -> dict[str, Any]:
        """Close the store."""
        self._store.close()
        return {}


def _told(append: Cost | None, drain: Cost | None, accepted: int, delivered: int) -> dict[str, Any]:
    told: dict[str, Any] = {"accepted": accepted, "delivered": delivered}
    for name, cost in (("append", append), ("drain", drain)):
        if cost is not None:
            told |= {f"{name}_cpu_s": cost.cpu_s, f"{name}_wall_s": cost.wall_s}
    return told


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    """Open the store that the arguments name, then do what stdin says until it ends."""
    served = Served(Entry(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(served.opened), flush=True)
    orders: dict[str, Callable[..., dict[str, Any]]] = {
        "group": served.group,
        "cycle": served.cycle,
        "append": served.append,
        "drain": served.drain,
        "written": served.written,
        "close": served.close,
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(orders[name](*arguments)), flush=True)


if __name__ == "__main__":
    main()
