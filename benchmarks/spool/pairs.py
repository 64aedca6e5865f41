"""Our durable append against the physical limit: pwrite and fdatasync of the very same padded bytes.

Pairs, interleaved, each begun by the other side than the one before, so that a neighbour's load or a
disk that warms up meets both alike. Run as a process: FOLDER GROUP PAIRS COMMITS; JSON on stdout.
"""

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.spool.child import Cost
from benchmarks.spool.stores.ours import Ours
from benchmarks.spool.workload import SIZE, batches
from gateway.segment import pack_commit

_FILE: Final = 8 << 20  # bytes, as large as a telemetry segment
_WARM: Final = 24 << 20


class Raw:
    """A file whose blocks are there, overwritten from front to back."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._fd, bytes(_FILE), 0)
        os.fsync(self._fd)
        self._at = 0

    def append(self, commit: bytes) -> None:
        """One write, one sync."""
        if self._at + len(commit) > _FILE:
            self._at = 0
        os.pwrite(self._fd, commit, self._at)
        os.fdatasync(self._fd)
        self._at += len(commit)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def measure(folder: Path, group: int, pairs: int, commits: int) -> dict[str, Any]:
    """Our speed as a share of raw's, one ratio a pair, and the CPU of both. Both work on recycled blocks.

    What is timed of ours begins with batches, as raw begins with a padded commit: framing, checksums,
    padding, accounts and the change of segments are in it, the packing of records is not.
    """
    store, raw = Ours(folder / "ours", SIZE), Raw(folder / "raw")
    made = batches(SIZE, group)
    payloads = [store.payloads(batch) for batch in made]
    packed = [pack_commit(1, 1, commit) for commit in payloads]
    turn = itertools.cycle(range(len(made)))
    (wide,) = batches(SIZE, 1000)

    def ours() -> None:
        for which in mine:
            store.log.append(payloads[which])

    def physical() -> None:
        for which in mine:
            raw.append(packed[which])

    for _ in range(_WARM // len(b"".join(wide))):  # until every segment is one that was used before
        store.append(wide)
    store.drain(len(wide), 1 << 30)
    ratios = []
    sides = {ours: Cost(), physical: Cost()}
    for number in range(pairs):
        mine = list(itertools.islice(turn, commits))
        before = {side: cost.wall_s for side, cost in sides.items()}
        for side in (ours, physical) if number % 2 else (physical, ours):
            with sides[side]:
                side()
        took = {side: cost.wall_s - before[side] for side, cost in sides.items()}
        ratios.append(took[physical] / took[ours])
        store.drain(group, commits * group)
    store.close()
    raw.close()
    per_record = 1e6 / (pairs * commits * group)
    return {
        "ratios": ratios,
        "ours_cpu_us": sides[ours].cpu_s * per_record,
        "raw_cpu_us": sides[physical].cpu_s * per_record,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5]))))
