"""One lane of the spool: a log of segments, appended by one thread, read and acknowledged by another.

Sequence numbers start at 1 and are never given out twice. A commit is on the medium when `append`
returns. What the hub has is forgotten by `ack`; what must go because the disk is full, or cannot be
read any more, comes out of `peek` as a Lost range in its place, so nothing disappears unsaid.
"""

import contextlib
import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.disk import PAGE, Disk
from gateway.errors import SpoolError
from gateway.segment import (
    FRAME_HEAD,
    MARKS_MAX,
    Payload,
    SegmentHeader,
    StoredFrame,
    frames_in,
    pack_commit,
    read_header,
)
from gateway.twopage import TwoPageFile

COMMIT_MAX: Final = 256 * 1024  # bytes in one commit
FREE_KEPT: Final = 2  # recycled segments held ready


@dataclass(frozen=True, slots=True)
class Lost:
    """Records first_seq..last_seq that the box no longer has; `counts` is by Kind where known."""

    first_seq: int
    last_seq: int
    reason: str
    counts: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Segment:
    path: Path
    fd: int  # open as long as the segment is in use; pread and pwrite need no position
    header: SegmentHeader
    seed: int
    end: int  # offset behind its last commit; the file's size where that is not known


ReadMarks = Callable[[bytes], Mapping[int, int]]
CountKinds = Callable[[bytes], Mapping[int, int]]


class LaneLog:
    """The log of one lane. Opening it recovers from any crash; it never refuses to open.

    `read_marks` tells the highest n per incarnation in a payload, `count_kinds` the records by Kind.
    `append` is for one thread, `peek` and `ack` for one other; `held` and the numbers are for any.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        lane: int,
        epoch: bytes,
        segment_bytes: int,
        segments_max: int,
        read_marks: ReadMarks,
        count_kinds: CountKinds,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._lane = lane
        self._epoch = epoch
        self._segment_bytes = segment_bytes
        self._segments_max = max(2, segments_max)
        self._read_marks = read_marks
        self._count_kinds = count_kinds
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._free: list[Path] = []
        self._spoilt = False  # the active segment must not be written again
        self._corrupt_to = 0  # highest damaged record counted so far
        self._cursor: tuple[Path, int, int] | None = None  # segment, offset, sequence number there
        self.marks: dict[int, int] = {}
        self.counters: Counter[str] = Counter()
        disk.make_folder(folder)
        self._ack_file = TwoPageFile(disk, folder / "ack", sync=False)
        self._gap_file = TwoPageFile(disk, folder / "gap", sync=True)
        self.acked: int = self._ack_file.value or 0
        self.next_seq = 1
        self._recover()
        self._make_ready()

    # ---- opening ----

    def _recover(self) -> None:
        found: list[_Segment] = []
        for name in self._disk.list_folder(self._folder):
            path = self._folder / name
            if name.endswith(".seg"):
                fd = self._disk.open(path)
                header = read_header(self._disk.read(fd, PAGE, 0))
                if header is None or header.epoch != self._epoch or header.lane != self._lane:
                    self.counters["segments_unreadable"] += 1
                    self._recycle(path, fd)
                else:
                    found.append(_Segment(path, fd, header, header.seed, self._segment_bytes))
            elif name.endswith(".free"):
                self._free.append(path)
            elif name not in {"ack", "gap"}:
                self._disk.unlink(path)  # half-made by a crash
        found.sort(key=lambda segment: segment.header.first_seq)
        self._segments = found
        gap_last = self._gap_file.value["last"] if self._gap_file.value else 0
        self.next_seq = max(self.acked, gap_last) + 1
        if found:
            self._recover_tail(found[-1])
        # An eviction that was declared but not carried out when the power went.
        while len(found) > 1 and found[1].header.first_seq - 1 <= gap_last:
            self._recycle_first()
        self._drop_acked()

    def _recover_tail(self, tail: _Segment) -> None:
        """Find the last whole commit; a commit that is not whole was never acknowledged to anyone."""
        self.marks = dict(tail.header.marks)
        commit: list[StoredFrame] = []
        tail.end = PAGE
        seq = tail.header.first_seq
        for frame in frames_in(self._disk, tail.fd, tail.seed, PAGE, seq, self._segment_bytes):
            if commit and commit[-1].commit_first != frame.commit_first:
                # A later commit follows, so this one had been synced: what is missing is damage.
                self._accept(tail, commit)
                commit = []
            commit.append(frame)
        whole = bool(commit) and commit[-1].ends_commit and commit[0].first_seq == commit[0].commit_first
        contiguous = all(a.last_seq + 1 == b.first_seq for a, b in itertools.pairwise(commit))
        if whole and contiguous:
            self._accept(tail, commit)
        elif commit:
            # Its leftovers would still validate in this segment, so the next commit begins another.
            self.counters["commits_torn"] += 1
            self._spoilt = True
        self.next_seq = max(self.next_seq, seq)

    def _accept(self, tail: _Segment, commit: Sequence[StoredFrame]) -> None:
        for frame in commit:
            self._remember(self._read_marks(frame.content))
        tail.end = commit[-1].next_at
        self.next_seq = max(self.next_seq, commit[-1].last_seq + 1)

    def _make_ready(self) -> None:
        """Have a segment ready, so that the first alert does not wait for a megabyte of zeros."""
        if self._segments or self._free:
            return
        ready = self._folder / f"{secrets.token_hex(8)}.free"
        with contextlib.suppress(OSError):  # a full disk is dealt with when there is something to append
            self._disk.create(ready, self._segment_bytes)
            self._free.append(ready)

    # ---- appending (one thread) ----

    def append(self, payloads: Sequence[Payload]) -> int:
        """Write one commit; returns the sequence number of its first record, all of it on the medium.

        Raises SpoolError when the disk refuses; nothing was appended then, and the next try starts
        a new segment (a failed fdatasync must never be tried again on the same pages).
        """
        first_seq = self.next_seq
        try:
            segment = self._segment_for(sum(FRAME_HEAD.size + len(p.content) for p in payloads))
            commit = pack_commit(segment.seed, first_seq, payloads)
            self._disk.write(segment.fd, commit, segment.end)
            self._disk.sync(segment.fd)
        except OSError as error:
            self._spoilt = True
            self.counters["append_errors"] += 1
            raise SpoolError(
                f"the spool's disk refuses to write ({error.strerror}): {self._folder}"
            ) from error
        with self._lock:
            if self.next_seq != first_seq:  # an ack from the future moved the lane on meanwhile
                raise SpoolError("the hub already has these sequence numbers; the commit is numbered anew")
            for payload in payloads:
                self._remember(self._read_marks(payload.content))
            segment.end += len(commit)
            self.next_seq = first_seq + sum(p.count for p in payloads)
        self.counters["commits"] += 1
        self.counters["bytes"] += len(commit)
        return first_seq

    def _segment_for(self, size: int) -> _Segment:
        """The active segment, or a new one if the commit does not fit or the active one is spoilt."""
        if size > COMMIT_MAX:
            raise SpoolError(f"a commit of {size} bytes is over the limit of {COMMIT_MAX}")
        if self._segments and not self._spoilt:
            active = self._segments[-1]
            if active.end + size <= self._segment_bytes:
                return active
        return self._begin_segment()

    def _begin_segment(self) -> _Segment:
        with self._lock:
            while len(self._segments) >= self._segments_max:
                self._evict()
            if self._segments and self._segments[-1].header.first_seq == self.next_seq:
                spoilt = self._segments.pop()  # it holds no whole commit
                self._recycle(spoilt.path, spoilt.fd)
            free = self._free.pop(0) if self._free else None
        header = SegmentHeader(self._epoch, self._lane, self.next_seq, secrets.randbits(63), dict(self.marks))
        path = self._folder / f"{self.next_seq:020d}.seg"
        if free is not None:
            self._disk.rename(free, path)
        else:
            beside = self._folder / "new"
            try:
                self._disk.create(beside, self._segment_bytes)
            except OSError:
                if not self.evict_oldest():
                    raise
                return self._begin_segment()
            self._disk.rename(beside, path)
        fd = self._disk.open(path)
        try:
            self._disk.write(fd, header.pack(), 0)
            self._disk.sync(fd)
            self._disk.sync_folder(self._folder)
        except OSError:
            self._disk.close(fd)
            raise
        segment = _Segment(path, fd, header, header.seed, PAGE)
        with self._lock:
            self._segments.append(segment)
        self._spoilt = False
        return segment

    # ---- losing, in the open ----

    def evict_oldest(self) -> bool:
        """Give up the oldest segment, declared as lost; False if only the active one is left."""
        with self._lock:
            return self._evict()

    def _evict(self) -> bool:
        if len(self._segments) < 2:
            return False
        oldest, following = self._segments[0], self._segments[1]
        last = following.header.first_seq - 1
        if last > self.acked:
            first = max(self.acked + 1, oldest.header.first_seq)
            before = self._gap_file.value
            counts: Counter[int] = Counter()
            if before and before["last"] > self.acked:
                counts.update(before["counts"])
            for frame in self._frames_of(oldest, first, last):
                counts.update(self._count_kinds(frame.content))
            # Declared first, then done: a crash between the two is finished at the next opening.
            self._gap_file.write({"last": last, "counts": dict(counts)})
            self.counters["records_evicted"] += last - first + 1
        self._recycle_first()
        return True

    def _recycle_first(self) -> None:
        oldest = self._segments.pop(0)
        self._recycle(oldest.path, oldest.fd)

    def _recycle(self, path: Path, fd: int) -> None:
        """A segment's file is free to be overwritten, or removed if enough are waiting."""
        self._disk.close(fd)
        if self._cursor is not None and self._cursor[0] == path:
            self._cursor = None
        if len(self._free) < FREE_KEPT:
            free = self._folder / f"{secrets.token_hex(8)}.free"
            self._disk.rename(path, free)
            self._free.append(free)
        else:
            self._disk.unlink(path)

    # ---- reading and forgetting (the uplink's thread) ----

    def peek(self, after_seq: int, max_bytes: int) -> list[StoredFrame | Lost]:
        """What follows `after_seq`, in order: whole frames, and ranges that are lost. At least one if any."""
        found: list[StoredFrame | Lost] = []
        size = 0
        with self._lock:
            seq = after_seq + 1
            last_held = self.next_seq - 1
            if self._segments and seq < self._segments[0].header.first_seq:
                found.append(self._head_gap(seq))
                seq = found[-1].last_seq + 1
            for index, segment in enumerate(self._segments):
                final = index + 1 == len(self._segments)
                last = last_held if final else self._segments[index + 1].header.first_seq - 1
                if last < seq:
                    continue
                for frame in self._frames_of(segment, seq, last):
                    if frame.first_seq > seq:
                        found.append(self._corrupt(seq, frame.first_seq - 1))
                    if size and size + len(frame.content) > max_bytes:
                        return found
                    found.append(frame)
                    size += len(frame.content)
                    seq = frame.last_seq + 1
                    self._cursor = (segment.path, frame.next_at, seq)
                    if size >= max_bytes:
                        return found
                if seq <= last:
                    found.append(self._corrupt(seq, last))
                    seq = last + 1
            if not self._segments and seq <= last_held:
                found.append(self._head_gap(seq, last_held))
        return found

    def _frames_of(self, segment: _Segment, seq: int, last: int) -> Iterator[StoredFrame]:
        """Frames of one segment from `seq` to `last`, read as they are asked for."""
        at = PAGE
        if self._cursor is not None and self._cursor[0] == segment.path and self._cursor[2] == seq:
            at = self._cursor[1]
        frames = frames_in(self._disk, segment.fd, segment.seed, at, seq, segment.end)
        return itertools.takewhile(lambda frame: frame.first_seq <= last, frames)

    def _head_gap(self, seq: int, last: int | None = None) -> Lost:
        if last is None:
            last = self._segments[0].header.first_seq - 1
        declared = self._gap_file.value
        if last <= self.acked:
            return Lost(seq, last, "forgotten")  # a hub acknowledged them once and no longer has them
        if declared and declared["last"] >= last:
            return Lost(seq, last, "evicted", dict(declared["counts"]))
        return Lost(seq, last, "disk")

    def _corrupt(self, first: int, last: int) -> Lost:
        self.counters["records_corrupt"] += max(0, last - max(first - 1, self._corrupt_to))
        self._corrupt_to = max(self._corrupt_to, last)
        return Lost(first, last, "corrupt")

    def ack(self, upto_seq: int) -> None:
        """The hub has everything up to `upto_seq`: forget it. A number from the future moves the lane on.

        It can only come from a hub that knows more than this disk, which lost its newest segment;
        numbers the hub has seen must never be used for other records.
        """
        with self._lock:
            if upto_seq <= self.acked:
                return
            if upto_seq >= self.next_seq:
                self.counters["acks_ahead"] += 1
                self.next_seq = upto_seq + 1
                self._spoilt = True
            self.acked = upto_seq
            with contextlib.suppress(OSError):  # losing an ack means sending again, which the hub drops
                self._ack_file.write(upto_seq)
            self._drop_acked()

    def _drop_acked(self) -> None:
        while len(self._segments) > 1 and self._segments[1].header.first_seq - 1 <= self.acked:
            self._recycle_first()

    # ---- small things ----

    @property
    def first_held(self) -> int:
        """Sequence number of the first record the hub does not have yet."""
        return self.acked + 1

    @property
    def held(self) -> int:
        """Records not yet acknowledged, lost ones included."""
        return self.next_seq - 1 - self.acked

    def _remember(self, marks: Mapping[int, int]) -> None:
        for incarnation, n in marks.items():
            before = self.marks.pop(incarnation, 0)  # newest last: the oldest are forgotten first
            self.marks[incarnation] = max(n, before)
        while len(self.marks) > MARKS_MAX:
            del self.marks[next(iter(self.marks))]

    def close(self) -> None:
        """Close every file."""
        for segment in self._segments:
            self._disk.close(segment.fd)
        self._segments.clear()
        self._ack_file.close()
        self._gap_file.close()
