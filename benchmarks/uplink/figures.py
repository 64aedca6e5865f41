"""From stamps to figures."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

_STEP_NS: Final = 2_000_000  # a wall clock that moved more against the monotonic one spoils its stamps


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds, None of nothing. `missing` never came within the run."""

    count: int
    p50: float | None
    p99: float | None
    longest: float | None
    missing: int = 0

    def text(self) -> str:
        """As a cell of a table."""
        if not self.count:
            return f"never ({self.missing} waited)"
        never = f" ({self.missing} never)" if self.missing else ""
        return f"{self.p50:.0f} / {self.p99:.0f} / {self.longest:.0f}{never}"


def latency(values_ns: Sequence[float], missing: int = 0) -> Latency:
    """Of latencies in ns."""
    if not values_ns:
        return Latency(0, None, None, None, missing)
    return Latency(
        len(values_ns),
        quantile(values_ns, 0.5) / 1e6,
        quantile(values_ns, 0.99) / 1e6,
        max(values_ns) / 1e6,
        missing,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]


def until_receipt(appended: list[list[int]], rows: list[Any]) -> tuple[list[tuple[int, int]], int]:
    """(append in ns of CLOCK_MONOTONIC, ns from append to receipt) by record, and how many never came.

    Both ends stamp CLOCK_REALTIME, which is one clock on one machine. Raises RuntimeError if it was stepped.
    """
    if not appended:
        return [], 0
    offsets = [wall - mono for mono, wall in appended]
    if any(abs(b - a) > _STEP_NS for a, b in pairwise(offsets)):
        raise RuntimeError("somebody set this machine's clock during the measurement; try again")
    came: dict[int, int] = {}
    for first_seq, count, _, received_ns in rows:
        for seq in range(first_seq, first_seq + count):
            came.setdefault(seq, received_ns)
    found = [(mono, came[seq] - wall) for seq, (mono, wall) in enumerate(appended, 1) if seq in came]
    return found, len(appended) - len(found)


def until_said(appended: list[list[int]], said: list[list[int]]) -> list[tuple[int, int]]:
    """(append in ns of CLOCK_MONOTONIC, ns from append) by record that was kept or acked.

    `said` is when the spool or the hub said so, and up to which record.
    """
    upto = [seq for _, seq in said]
    found = []
    for seq, (mono, _) in enumerate(appended, 1):
        at = bisect_left(upto, seq)
        if at < len(said):
            found.append((mono, said[at][0] - mono))
    return found
