"""Whatever a power cut leaves, the spool keeps its promise; and the enumerator would see it if it did not."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import lane, recover, segment, twopage
from gateway.lane import LaneLog
from gateway_hil.crashes.enumerate import enumerate_states
from gateway_hil.crashes.explore import Explorer, Found
from gateway_hil.crashes.images import Fault
from gateway_hil.crashes.recorder import RecordingDisk
from gateway_hil.crashes.rot import explore_rot
from gateway_hil.crashes.shrink import shrink
from gateway_hil.crashes.story import Do, Step, Story, draw_story

STATES = 50_000
GIVEN_UP = "after records were given up"
BOUND = 30_000  # states within which a broken spool must be found out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_state_breaks_the_promise() -> None:
    account = enumerate_states(STATES, seed=1, processes=min(2, os.cpu_count() or 1), progress=lambda _: None)
    assert account.found is None, shrink(account.found).told()
    assert account.states >= STATES
    assert all(account.tally[fault] > STATES // 100 for fault in Fault), account.tally
    for kind in (
        "cut again in a recovery",
        "cut again in the work after a recovery",
        "after a failed sync",
        GIVEN_UP,
    ):
        assert account.tally[kind] > STATES // 200, kind


Break = Callable[[pytest.MonkeyPatch], None]


def no_commit_sync(patch: pytest.MonkeyPatch) -> None:
    """A commit is not synced before it counts as kept."""
    sync = RecordingDisk.sync

    def skipping(disk: RecordingDisk, fd: int) -> None:
        if not disk._open[fd][1].endswith(".seg"):
            sync(disk, fd)

    patch.setattr(RecordingDisk, "sync", skipping)


def no_crc(patch: pytest.MonkeyPatch) -> None:
    """No checksum is looked at."""
    patch.setattr(segment, "zlib", SimpleNamespace(crc32=lambda *_: 0))


def no_folder_sync(patch: pytest.MonkeyPatch) -> None:
    """Names are never synced."""
    patch.setattr(RecordingDisk, "sync_folder", lambda *_: None)


def number_reused(patch: pytest.MonkeyPatch) -> None:
    """After an opening the last number is given out again."""
    find_tail = recover.find_tail

    def short(*arguments: Any) -> recover.Tail:
        tail = find_tail(*arguments)
        tail.next_seq = max(arguments[1].first_seq, tail.next_seq - 1)
        return tail

    patch.setattr(lane, "find_tail", short)


def ack_not_synced(patch: pytest.MonkeyPatch) -> None:
    """The last segment goes while the number after it is only in an unsynced ack file."""
    write = twopage.TwoPageFile.write
    patch.setattr(twopage.TwoPageFile, "write", lambda file, value, **_: write(file, value))


def ack_ahead_of_the_hub(patch: pytest.MonkeyPatch) -> None:
    """What the ack file says is believed beyond what was acknowledged: all that the box has."""
    ack = LaneLog.ack
    patch.setattr(LaneLog, "ack", lambda log, upto: ack(log, max(upto, log.next_seq - 1) if upto else 0))


def commits_share_pages(patch: pytest.MonkeyPatch) -> None:
    """A commit begins at a fresh sector, not at a fresh page."""

    def sector_after(at: int) -> int:
        return -(-at // 512) * 512

    def pack(*arguments: Any) -> bytes:
        commit = segment.pack_commit(*arguments).rstrip(b"\0")
        return commit.ljust(sector_after(len(commit)), b"\0")

    patch.setattr(segment, "page_after", sector_after)
    patch.setattr(lane, "pack_commit", pack)


def gap_not_synced(patch: pytest.MonkeyPatch) -> None:
    """What is given up goes before that is on the medium."""
    write = twopage.TwoPageFile.write

    def lazily(file: twopage.TwoPageFile, value: Any, *, sync: bool = False) -> None:
        file._sync = False
        write(file, value, sync=sync)

    patch.setattr(twopage.TwoPageFile, "write", lazily)


def cache_believed(patch: pytest.MonkeyPatch) -> None:
    """What a failed sync left in the page cache counts as stored."""
    patch.setattr(RecordingDisk, "read_afresh", lambda *_: None)


def no_marks_in_headers(patch: pytest.MonkeyPatch) -> None:
    """A new segment does not say what was kept before it."""
    patch.setattr(lane, "SegmentHeader", lambda *fields: segment.SegmentHeader(*fields[:4], {}))


BREAKS = [
    no_commit_sync,
    no_crc,
    no_folder_sync,
    number_reused,
    ack_ahead_of_the_hub,
    commits_share_pages,
    gap_not_synced,
    cache_believed,
    no_marks_in_headers,
]


def first_found(bound: int) -> tuple[Found | None, int]:
    """The first state that breaks the promise, and how many were looked at."""
    states, seed = 0, 1000
    while states < bound:
        explorer = Explorer(draw_story(seed))
        found = explorer.explore()
        states += explorer.tally["states"]
        seed += 1
        if found is not None:
            return found, states
    return None, states


@pytest.mark.slow
@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__)
def test_a_broken_spool_is_found_out(breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    found, states = first_found(BOUND)
    assert found is not None, breaks.__doc__
    print(f"{breaks.__name__}: found after {states} states: {found.violation}")
    again = Explorer(found.story, only=found.state).explore()
    assert again is not None, "the state cannot be looked at again"
    assert again.violation == found.violation
    if (
        breaks is commits_share_pages
    ):  # it is sectors that are torn, so only a page that dies as a whole tells
        assert any(line.endswith((": garbage", ": zeros")) for line in again.trail), again.told()


@pytest.mark.slow
def test_a_counterexample_becomes_a_short_story(monkeypatch: pytest.MonkeyPatch) -> None:
    no_commit_sync(monkeypatch)
    found, _ = first_found(BOUND)
    assert found is not None
    short = shrink(found)
    assert len(short.story.steps) <= 3
    assert "the power is cut" in short.told()
    assert short.violation in short.told()


@pytest.mark.slow
def test_rotten_pages_cost_what_was_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, found = explore_rot(3)
    assert found is None, found.told()
    assert tally["states"] > 100

    def up_to_the_damage(disk: Any, _: Any, where: Any, at: int, from_seq: int) -> Iterator[Any]:
        last = None
        for frame in segment.frames_in(disk, where.fd, where.seed, at, from_seq, where.end):
            if last not in {None, frame.first_seq - 1}:
                return
            last = frame.last_seq
            yield frame

    monkeypatch.setattr(lane, "living_frames", up_to_the_damage)
    assert explore_rot(3)[1] is not None


def marks_not_with_the_number(patch: pytest.MonkeyPatch) -> None:
    """When the last segment goes, only the number is noted."""
    write = twopage.TwoPageFile.write

    def without_marks(file: twopage.TwoPageFile, value: Any, *, sync: bool = False) -> None:
        write(file, {key: part for key, part in value.items() if key != "marks"}, sync=sync)

    patch.setattr(twopage.TwoPageFile, "write", without_marks)


BIG = Step(Do.APPEND, 2, sizes=((9, 700),))
SMALL = Step(Do.APPEND, 2, sizes=((2, 20),))
FOUND = {
    "a write that failed half-way is read back from the cache": (
        cache_believed,
        (SMALL, Step(Do.FAIL, operation="write", errno=5), SMALL, Step(Do.REOPEN), SMALL),
    ),
    "a name that was never synced is read back from the cache": (
        no_folder_sync,
        (Step(Do.FAIL, operation="sync folder", errno=5), SMALL, Step(Do.REOPEN), SMALL),
    ),
    "on a full disk the only segment goes, and what it knew of the workers with it": (
        marks_not_with_the_number,
        (BIG, Step(Do.WELCOME), Step(Do.SEND, 2, much=99_999), Step(Do.ACK, 2), Step(Do.FULL), BIG),
    ),
    "on a full disk the only segment goes, and the number after it was never synced": (
        ack_not_synced,
        (BIG, Step(Do.WELCOME), Step(Do.SEND, 2, much=99_999), Step(Do.ACK, 2), Step(Do.FULL), BIG),
    ),
    "a sync that failed is read back from the cache": (
        cache_believed,
        (SMALL, Step(Do.FAIL, operation="sync", errno=5), SMALL, Step(Do.REOPEN), SMALL),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, steps = FOUND[name]
    story = Story(1, 5, steps)
    found = Explorer(story, images=20).explore()
    assert found is None, found.told()
    breaks(monkeypatch)
    assert Explorer(story, images=20).explore() is not None
