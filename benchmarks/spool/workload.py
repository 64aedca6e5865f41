"""The records that every store gets, and how many: the same bytes for all, made before the clock starts."""

import random
from dataclasses import dataclass
from typing import Final

SIZE: Final = 118  # bytes: an 11-field event as a msgpack map, the usual yardstick
SMALL: Final = (30, 54)  # a GPS reading; the same event as an array
GROUPS: Final = (1, 25, 100, 1000)  # records a durable commit; 25 is a quiet box's one second
ROUND: Final = 16  # commits between two drains
WRITE_BACK: Final = 32  # commits after which the kernel would have written back what nobody synced (30 s)
_POOL: Final = 1000  # different records


@dataclass(frozen=True, slots=True)
class Extent:
    """How much one run of the benchmark does."""

    commits: dict[int, int]  # by records a commit, while the uplink is up
    backlogs: dict[int, int]  # records of an outage, by records a commit; drained afterwards
    pairs: int  # append against raw
    pair_commits: int
    pair_groups: tuple[int, ...]
    small_commits: int


FULL: Final = Extent(
    {1: 2048, 25: 4096, 100: 2048, 1000: 256}, {100: 1_000_000, 25: 250_000}, 24, 60, GROUPS, 1024
)
QUICK: Final = Extent(
    {1: 128, 25: 640, 100: 384, 1000: 32}, {100: 100_000, 25: 50_000}, 20, 25, (25, 100), 256
)


def records(size: int) -> list[bytes]:
    """Different records of exactly that many bytes, as they stand in a batch: time offset and array.

    The array is a reading of sensor 3 with as many random 64-bit values as fit, filled up with small ones.
    """
    draw = random.Random(size)
    large, small = divmod(size - 10, 9)
    head = b"\xdc" + (2 + large + small).to_bytes(2, "big") + b"\x01\x03"  # msgpack: array 16, two fixints
    made = []
    for turn in range(_POOL):
        values = b"".join(b"\xcf" + draw.randbytes(8) for _ in range(large))
        made.append(b"\xce" + turn.to_bytes(4, "big") + head + values + bytes(small))
    return made


def batches(size: int, group: int) -> list[list[bytes]]:
    """Commits' worth of records to be appended in turn."""
    pool = records(size)
    return [pool[at : at + group] for at in range(0, _POOL - group + 1, max(group, 25))]
