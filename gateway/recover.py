"""Opening a lane's folder after anything: which segments there are, and where the newest one ends.

Reads only; what to do about it is `gateway.lane`'s. A file that is no segment of ours is left alone.
"""

import contextlib
import errno
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.disk import PAGE, Disk
from gateway.segment import SegmentHeader, StoredFrame, frames_in, read_header

SEGMENT_NAME: Final = re.compile(r"([0-9]{20})\.seg")
FREE_NAME: Final = re.compile(r"[0-9a-f]{16}\.free")

_COMMIT_PAGES: Final = 64  # the most that a commit takes (gateway.lane)
RECORD_MIN: Final = 4  # bytes; no record of a batch takes less
_OWN_LIMITS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

ReadMarks = Callable[[bytes], Mapping[int, int]]
CountKinds = Callable[[bytes], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class LaneFormat:
    """What a lane's log needs to know. `read_marks` tells the highest n per incarnation in a payload,
    `count_kinds` its records by Kind.
    """

    lane: int
    epoch: bytes
    segment_bytes: int
    segments_max: int
    read_marks: ReadMarks
    count_kinds: CountKinds


@dataclass(slots=True)
class Segment:
    """A segment in use. `end` is the offset behind its last commit, or behind all where that is not known."""

    path: Path
    fd: int  # open as long as the segment is in use; pread and pwrite need no position
    header: SegmentHeader
    seed: int
    end: int
    moved: int = 0  # how much further it counts than it says (gateway.losses)

    @property
    def first_seq(self) -> int:
        """Sequence number of its first record."""
        return self.header.first_seq + self.moved


@dataclass(slots=True)
class Found:
    """What is in a lane's folder. `unreadable` segments come with the number their names begin at;
    `foreign` ones are of another epoch or lane, such as an exchanged card's.
    """

    segments: list[Segment] = field(default_factory=list)
    unreadable: list[tuple[Path, int]] = field(default_factory=list)
    foreign: list[Segment] = field(default_factory=list)
    free: list[Path] = field(default_factory=list)


def look(disk: Disk, folder: Path, form: LaneFormat, moved_by: Callable[[int], int]) -> Found:
    """Go through a lane's folder; segments in order of their numbers."""
    found = Found()
    for name in disk.list_folder(folder):
        path = folder / name
        named = SEGMENT_NAME.fullmatch(name)
        if FREE_NAME.fullmatch(name):
            found.free.append(path)
        elif named:
            segment = _segment(disk, path, form.segment_bytes)
            if segment is None:
                number = int(named[1])
                found.unreadable.append((path, number + moved_by(number)))
            elif (segment.header.epoch, segment.header.lane) == (form.epoch, form.lane):
                segment.moved = moved_by(segment.header.first_seq)
                found.segments.append(segment)
            else:
                found.foreign.append(segment)
    found.segments.sort(key=lambda segment: segment.first_seq)
    return found


def _segment(disk: Disk, path: Path, size: int) -> Segment | None:
    try:
        fd = disk.open(path)
    except OSError as error:
        if error.errno in _OWN_LIMITS:
            raise  # that says nothing of the file, which would be given up for damaged
        return None
    header = read_header(disk, fd, size)
    if header is None:
        disk.close(fd)
        return None
    return Segment(path, fd, header, header.seed, size - PAGE)


def count_kinds(disk: Disk, segment: Segment, first: int, last: int, form: LaneFormat) -> Counter[int]:
    """How many records of each Kind a segment holds from `first` to `last`, as far as it can be read."""
    counts: Counter[int] = Counter()
    with contextlib.suppress(OSError):
        first, last = first - segment.moved, last - segment.moved
        frames = frames_in(disk, segment.fd, segment.seed, PAGE, first, segment.end)
        for frame in itertools.takewhile(lambda frame: frame.first_seq <= last, frames):
            counts.update(form.count_kinds(frame.content))
    return counts


def living_frames(
    disk: Disk, segments: Sequence[Segment], segment: Segment, at: int, from_seq: int
) -> Iterator[StoredFrame]:
    """Frames of one of `segments`, as `gateway.segment.frames_in` finds them from offset `at` on.

    They end early if that segment answers nothing and another one does: a dead region of the disk must
    not keep the rest from the hub. Raises OSError if the whole disk is silent.
    """
    try:
        yield from frames_in(disk, segment.fd, segment.seed, at, from_seq, segment.end)
    except OSError:
        if not any(disk.answers(other.fd, other.end) for other in segments if other is not segment):
            raise


def epoch_in(disk: Disk, folder: Path, size: int) -> bytes | None:
    """The epoch that most segments of a lane name; None if there are none."""
    epochs: Counter[bytes] = Counter()
    for name in disk.list_folder(folder):
        if SEGMENT_NAME.fullmatch(name):
            segment = _segment(disk, folder / name, size)
            if segment is not None:
                epochs[segment.header.epoch] += 1
                disk.close(segment.fd)
    return epochs.most_common(1)[0][0] if epochs else None


@dataclass(slots=True)
class Tail:
    """Where the newest segment ends: the next number, the offset, the marks; `torn` if leftovers follow."""

    next_seq: int
    end: int
    marks: dict[int, int]
    torn: bool = False

    def accept(self, commit: Sequence[StoredFrame], read_marks: ReadMarks) -> None:
        """Count a commit in."""
        for frame in commit:
            for incarnation, n in read_marks(frame.content).items():
                self.marks[incarnation] = max(n, self.marks.pop(incarnation, 0))  # newest last
        self.end = commit[-1].next_at
        self.next_seq = commit[-1].last_seq + 1


def find_tail(disk: Disk, segment: Segment, read_marks: ReadMarks) -> Tail:
    """Find the last whole commit; one that is not whole was never acknowledged to anyone."""
    first = segment.header.first_seq
    tail = Tail(first, PAGE, dict(segment.header.marks))
    commit: list[StoredFrame] = []
    for frame in frames_in(disk, segment.fd, segment.seed, PAGE, first, segment.end):
        if commit and commit[-1].commit_first != frame.commit_first:
            # A later commit follows, so this one had been synced: what is missing of it is damage.
            tail.accept(commit, read_marks)
            commit = []
        commit.append(frame)
    if commit and _is_whole(commit) and _on_medium(disk, segment, commit):
        tail.accept(commit, read_marks)
    else:
        tail.torn = bool(commit)
    tail.next_seq += segment.moved
    bad_pages = _unreadable_pages(disk, segment, tail.end)
    if bad_pages:
        # Perhaps torn, perhaps kept and rotten since: its numbers are not given out again, but declared.
        tail.next_seq += bad_pages * PAGE // RECORD_MIN
        tail.torn = True
    return tail


def _unreadable_pages(disk: Disk, segment: Segment, at: int) -> int:
    """How many pages cannot be read where the next commit would be."""
    bad = 0
    for page in range(at, min(at + _COMMIT_PAGES * PAGE, segment.end), PAGE):
        try:
            disk.read(segment.fd, 1, page)
        except OSError:
            bad += 1
    return bad


def _is_whole(commit: Sequence[StoredFrame]) -> bool:
    whole = commit[-1].ends_commit and commit[0].first_seq == commit[0].commit_first
    return whole and all(a.last_seq + 1 == b.first_seq for a, b in itertools.pairwise(commit))


def _on_medium(disk: Disk, segment: Segment, commit: Sequence[StoredFrame]) -> bool:
    """Whether a commit is there past the page cache too, where a sync that failed may have left it."""
    at, end = commit[0].commit_at, commit[-1].next_at
    disk.read_afresh(segment.fd, end - at, at)
    again = frames_in(disk, segment.fd, segment.seed, at, commit[0].first_seq, end)
    return [frame.content for frame in again] == [frame.content for frame in commit]
