"""The marks that the spool remembers are those in its batches; a commit is whole pages."""

import queue
from pathlib import Path

from gateway.clock import SystemClock
from gateway.lanes import marks_of
from gateway.plan import SpoolPlan
from gateway.reading import Lane
from gateway.records import Item
from gateway.segment import Payload, pack_commit
from gateway.spool import Kept, Spool, StoredFrame

RECORD = b"\x93\x01\x01\x07"


def items(count: int) -> list[Item]:
    return [(1_000_000 * n, RECORD) for n in range(1, count + 1)]


def test_marks_of_several_workers_in_one_commit_are_those_in_its_batches(tmp_path: Path) -> None:
    kept: queue.SimpleQueue[Kept] = queue.SimpleQueue()
    spool = Spool(tmp_path, SpoolPlan(reserve_mib=0), b"table", SystemClock(), kept.put)
    for incarnation, first_n, count in ((7, 1, 900), (8, 41, 3), (7, 901, 600)):
        assert spool.put(Lane.TELEMETRY, incarnation, first_n, items(count))
    spool.finish()
    told: dict[int, int] = {}
    while not kept.empty():
        told |= kept.get().marks
    frames = spool.logs[Lane.TELEMETRY].peek(0, 1 << 20)
    found: dict[int, int] = {}
    for frame in frames:
        assert isinstance(frame, StoredFrame)
        for incarnation, n in marks_of(frame.content).items():
            found[incarnation] = max(n, found.get(incarnation, 0))
    remembered = dict(spool.logs[Lane.TELEMETRY].marks)
    spool.close()
    assert told == found == remembered == {7: 1500, 8: 43}

    again = Spool(tmp_path, SpoolPlan(reserve_mib=0), b"table", SystemClock(), kept.put)
    assert again.logs[Lane.TELEMETRY].marks == remembered
    again.close()


def test_a_commit_is_whole_pages_and_nothing_more() -> None:
    for size in (1, 4072, 4073, 8000):  # 4072 and the 24 octets of a frame's head fill a page
        commit = pack_commit(5, 1, [Payload(1, b"x" * size)])
        assert len(commit) == -(-(size + 24) // 4096) * 4096
        assert commit[24 : 24 + size] == b"x" * size
        assert not any(commit[24 + size :])
