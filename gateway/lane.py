"""One lane of the spool: a log of segments, appended by one thread, read and acknowledged by another.

Sequence numbers start at 1 and are never given out twice. A commit is on the medium when `append`
returns. What the hub has is forgotten by `ack`; what must go because the disk is full, or cannot be
read any more, comes out of `peek` as a Lost range in its place, so nothing disappears unsaid.
"""

import contextlib
import errno
import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gateway.blanks import Blanks
from gateway.disk import PAGE, Disk
from gateway.diskwords import FULL, why_refused
from gateway.errors import SpoolError
from gateway.losses import Losses
from gateway.recover import RECORD_MIN, LaneFormat, Segment, count_kinds, find_tail, living_frames, look
from gateway.room import Room
from gateway.segment import (
    FRAME_HEAD,
    Lost,
    Payload,
    SegmentHeader,
    StoredFrame,
    pack_commit,
    remember,
    write_header,
)
from gateway.twopage import TwoPageFile

COMMIT_MAX: Final = 256 * 1024  # bytes in one commit
AHEAD_MAX: Final = 1 << 20  # records a hub may be ahead of a disk that lost its newest commits


class LaneLog:
    """The log of one lane. Opening it recovers from any crash; damage never keeps it from opening.

    `append`, `prepare` and `give_room` may be called by any thread, one append at a time; `peek`,
    `settle` and `ack` by one other thread. `room` says how much of the disk it may take.
    """

    def __init__(self, disk: Disk, folder: Path, form: LaneFormat, room: Room | None = None) -> None:
        self._disk = disk
        self._folder = folder
        self._form = form
        self._appending = threading.Lock()  # held for a whole commit
        self._losing = threading.Lock()  # guards the losses; held while they are written and carried out
        self._lock = threading.Lock()  # guards what follows; not held while a commit or a loss is synced
        self._segments: list[Segment] = []
        self._unreadable: list[Path] = []
        self._spoilt = False  # the active segment must not be written again
        self._prepares = True  # no blank file was made early for this segment yet, nor refused
        self._settled = False  # the hub has said what it has, since this opening
        self._corrupt_to = 0  # highest damaged record counted so far
        self._cursor: tuple[Path, int, int] | None = None  # segment, offset, sequence number there
        self.counters: Counter[str] = Counter()
        self._blanks = Blanks(disk, folder, form.segment_bytes, self.counters, room or Room())
        disk.make_folder(folder)
        self._ack_file = TwoPageFile(disk, folder / "ack", sync=False)
        self._losses = Losses(disk, folder / "gap", form.epoch)
        known = self._ack_file.value_of(form.epoch)
        self.acked: int = known.get("acked", 0)
        self.marks: dict[int, int] = known.get("marks", {})
        self.next_seq = 1
        self._recover()
        self._opened_at = min(self._losses.since or self.next_seq, self.next_seq)
        if not self._segments:
            self.prepare()

    # ---- opening ----

    def _recover(self) -> None:
        try:
            self._disk.sync_folder(self._folder)  # a name may be in memory only, from a sync that failed
        except OSError:
            self._spoilt = True  # so that the next segment tries again
        found = look(self._disk, self._folder, self._form, self._losses.moved_by)
        self._segments = found.segments
        self._blanks.found(found.free, max(0, self._form.segments_max - len(found.segments)))
        self.next_seq = max(self.acked, self._losses.last) + 1
        if self._segments:
            tail = find_tail(self._disk, self._segments[-1], self._form.read_marks)
            self._segments[-1].end = tail.end
            remember(self.marks, tail.marks)
            self.next_seq = max(self.next_seq, tail.next_seq)
            self._spoilt |= tail.torn  # its leftovers would still validate in this segment
            self.counters["commits_torn"] += tail.torn
        for path, first_seq in found.unreadable:
            self.counters["segments_unreadable"] += 1
            if first_seq >= self.next_seq:
                # Its numbers were given out, nobody knows how many: skip all that fit in a segment.
                self.next_seq = first_seq + self._form.segment_bytes // RECORD_MIN
                self._spoilt = True
                self._unreadable.append(path)  # its name tells the number until a newer segment does
            else:
                self._recycle(path, None)
        for segment in found.foreign:
            self.counters["segments_foreign"] += 1
            self._recycle(segment.path, segment.fd)
        # An eviction that was declared but not carried out when the power went.
        while len(self._segments) > 1 and self._segments[1].first_seq - 1 <= self._losses.last:
            self._recycle_first()
        self._drop_acked()

    # ---- appending ----

    def append(self, payloads: Sequence[Payload]) -> int:
        """Write one commit; returns the sequence number of its first record, all of it on the medium.

        Raises SpoolError when the disk refuses; nothing was appended then, and the next try starts
        a new segment (a failed fdatasync must never be tried again on the same pages).
        """
        with self._appending:
            return self._append(payloads)

    def _append(self, payloads: Sequence[Payload]) -> int:
        first_seq = self.next_seq
        try:
            segment = self._segment_for(sum(FRAME_HEAD.size + len(p.content) for p in payloads))
            if not self._settled and not self._losses.since:
                with self._losing:
                    self._losses.unconfirmed_from(first_seq)
            commit = pack_commit(segment.seed, first_seq - segment.moved, payloads)
            self._disk.write(segment.fd, commit, segment.end)
            self._disk.sync(segment.fd)
        except OSError as error:
            self._spoilt = True
            self.counters["append_errors"] += 1
            raise SpoolError(f"{self._folder}: {why_refused(error)}") from error
        with self._lock:
            for payload in payloads:
                marks = payload.marks
                remember(self.marks, self._form.read_marks(payload.content) if marks is None else marks)
            segment.end += len(commit)
            self.next_seq = first_seq + sum(p.count for p in payloads)
        self.counters["commits"] += 1
        self.counters["bytes"] += len(commit)
        return first_seq

    def _segment_for(self, size: int) -> Segment:
        """The active segment, or a new one if the commit does not fit or the active one is spoilt."""
        if size > COMMIT_MAX:
            raise SpoolError(f"a commit of {size} bytes is over the limit of {COMMIT_MAX}")
        if self._segments and not self._spoilt:
            active = self._segments[-1]
            if active.end + size <= self._form.segment_bytes - PAGE:
                return active
        return self._begin_segment()

    def _begin_segment(self) -> Segment:
        form = self._form
        while len(self._segments) >= form.segments_max and self.evict_oldest():
            pass
        header = SegmentHeader(form.epoch, form.lane, self.next_seq, secrets.randbits(63), dict(self.marks))
        path = self._folder / f"{self.next_seq:020d}.seg"
        blank = self._blank_file()
        fd = self._disk.open(blank)
        try:
            write_header(self._disk, fd, form.segment_bytes, header)
            # Named only now: a file with a segment's name has always had a header. A segment that begins
            # at the same number holds no whole commit, and is replaced in the same step.
            self._disk.rename(blank, path)
            self._disk.sync_folder(self._folder)
        except OSError:
            self._disk.close(fd)
            with self._lock:
                self._blanks.give_back(blank)
            raise
        segment = Segment(path, fd, header, header.seed, PAGE)
        with self._lock:
            if self._segments and self._segments[-1].path == path:
                self._disk.close(self._segments.pop().fd)
            self._segments.append(segment)
            self._cursor = None
            # Only now that a newer segment holds the next number may what held it go.
            while self._unreadable:
                self._recycle(self._unreadable.pop(), None)
            self._drop_acked()
        self._spoilt, self._prepares = False, True
        self.counters["header_bytes"] += 2 * PAGE
        return segment

    def _blank_file(self) -> Path:
        """A preallocated file: recycled, new, or paid for with the oldest records that matter least."""
        freed = 0
        while True:
            with self._lock:
                blank = self._blanks.take()
            try:
                return blank or self._blanks.create(freed)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                more = self._blanks.room.make()
                if not (more or self.evict_oldest() or self._give_up_acked()):
                    raise
                freed += more

    def prepare(self) -> None:
        """Have a blank file ready early, called where no record waits for it; nothing is given up for it."""
        with self._appending, contextlib.suppress(OSError):
            half_full = not self._segments or self._segments[-1].end > self._form.segment_bytes // 2
            wanted = half_full and not len(self._blanks) and self.files < self._form.segments_max
            if wanted and self._prepares:
                self._blanks.room.ask(0)
                self._prepares = False  # a try that fails may have written megabytes: one a segment will do
                blank = self._blanks.create(0)
                with self._lock:
                    self._blanks.give_back(blank)

    def _give_up_acked(self) -> bool:
        """Where nothing else is left: the only segment, if the hub has it all. False if it has not."""
        with self._lock:
            if not self._segments or self.held:
                return False
            known = {"epoch": self._form.epoch, "acked": self.acked, "marks": self.marks}
            self._ack_file.write(known, sync=True)  # number and marks live there meanwhile
            self._recycle_first()
            return True

    # ---- losing, in the open ----

    def give_room(self, keep: int) -> int:
        """Give a file back to the file system, rather a blank one; bytes freed, 0 if it has only `keep`."""
        while self.files > keep:
            with self._lock:
                blank = self._blanks.take()
            if blank is not None:
                self._blanks.remove(blank)
                return self._form.segment_bytes
            if not self.evict_oldest():
                break
        return 0

    def evict_oldest(self) -> bool:
        """Give up the oldest segment, declared as lost; False if only the active one is left."""
        with self._losing:
            with self._lock:
                if len(self._segments) < 2:
                    return False
                oldest, last = self._segments[0], self._segments[1].first_seq - 1
                first = max(self.acked + 1, oldest.first_seq)
            if first <= last:
                counts = count_kinds(self._disk, oldest, first, last, self._form)
                if self._losses.last > self.acked:
                    counts.update(self._losses.counts)
                # Declared first, then done: a crash between the two is finished at the next opening.
                self._losses.declare(last, "evicted", counts)
                self.counters["records_evicted"] += last - first + 1
            with self._lock:
                if self._segments[:1] == [oldest]:  # else the hub's ack was quicker
                    self._recycle_first()
            return True

    def _recycle_first(self) -> None:
        oldest = self._segments.pop(0)
        self._recycle(oldest.path, oldest.fd)

    def _recycle(self, path: Path, fd: int | None) -> None:
        if self._cursor is not None and self._cursor[0] == path:
            self._cursor = None
        self._blanks.recycle(path, fd, self._form.segments_max - len(self._segments))

    # ---- reading and forgetting (the uplink's thread) ----

    def peek(self, after_seq: int, max_bytes: int) -> list[StoredFrame | Lost]:
        """What follows `after_seq`, in order: whole frames, and ranges that are lost. At least one if any.

        Raises OSError if the disk answers nothing.
        """
        found: list[StoredFrame | Lost] = []
        size = 0
        with self._lock:
            seq = after_seq + 1
            last_held = self.next_seq - 1
            first_stored = self._segments[0].first_seq if self._segments else self.next_seq
            if seq < first_stored:
                found.append(self._losses.gap(seq, first_stored - 1, self.acked))
                seq = first_stored
            for index, segment in enumerate(self._segments):
                final = index + 1 == len(self._segments)
                last = last_held if final else self._segments[index + 1].first_seq - 1
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
        return found

    def _frames_of(self, segment: Segment, seq: int, last: int) -> Iterator[StoredFrame]:
        """Frames of one segment from `seq` to `last`, read as they are asked for."""
        at = PAGE
        if self._cursor is not None and self._cursor[0] == segment.path and self._cursor[2] == seq:
            at = self._cursor[1]
        frames = living_frames(self._disk, self._segments, segment, at, seq - segment.moved)
        if segment.moved:
            frames = (frame.moved(segment.moved) for frame in frames)
        return itertools.takewhile(lambda frame: frame.first_seq <= last, frames)

    def _corrupt(self, first: int, last: int) -> Lost:
        self.counters["records_corrupt"] += max(0, last - max(first - 1, self._corrupt_to))
        self._corrupt_to = max(self._corrupt_to, last)
        return Lost(first, last, "corrupt")

    def settle(self, hub_has: int) -> None:
        """What the hub has, by its Welcome. Raises SpoolError for a number that cannot be true.

        A hub that, at the first Welcome since opening, has numbers which this disk thinks it never
        gave out, knows more than the disk: its newest commits were damaged. What was appended under
        those numbers since then counts on behind what the hub has. Raises OSError if that cannot be
        written down; the next Welcome tries again.
        """
        # Only the first waits for a commit that is under way: a lane's slow disk must not hold up the others.
        with contextlib.nullcontext() if self._settled else self._appending:
            ahead = 0 if self._settled else AHEAD_MAX
            if hub_has >= self.next_seq + ahead:
                raise SpoolError(f"the hub claims record {hub_has}, this box made {self.next_seq - 1}")
            if not self._settled:
                with self._losing, self._lock:
                    self._confirm(hub_has)
                self._settled = True
        self.ack(hub_has)

    def _confirm(self, hub_has: int) -> None:
        """The first Welcome since opening: from now on hub and box agree about the numbers."""
        if hub_has >= self._opened_at:
            self.counters["numbered_anew"] += 1
            by = hub_has + 1 - self._opened_at
            if self.next_seq > self._opened_at:
                older = max(0, sum(segment.first_seq <= self._opened_at for segment in self._segments) - 1)
                names = [segment.header.first_seq for segment in self._segments]
                self._losses.move(names[older], self._opened_at, self.next_seq, by, oldest=names[0])
                for segment in self._segments[older:]:
                    segment.moved += by
            self._spoilt |= self.next_seq == self._opened_at  # then the next segment begins behind that
            self.next_seq += by
            self._cursor = None
        try:
            self._losses.unconfirmed_from(0)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # Better twice than never: a card that turned read-only may not live to tell.

    def ack(self, upto_seq: int) -> None:
        """The hub has everything up to `upto_seq`: forget it."""
        with self._lock:
            if upto_seq <= self.acked:
                return
            self.acked = upto_seq
            with contextlib.suppress(OSError):  # losing an ack means sending again, which the hub drops
                self._ack_file.write({"epoch": self._form.epoch, "acked": upto_seq})
            self._drop_acked()

    def _drop_acked(self) -> None:
        while len(self._segments) > 1 and self._segments[1].first_seq - 1 <= self.acked:
            self._recycle_first()

    # ---- small things ----

    @property
    def files(self) -> int:
        """How many files it takes of the disk, blank ones included."""
        return len(self._segments) + len(self._blanks)

    @property
    def first_held(self) -> int:
        """Sequence number of the first record the hub does not have yet."""
        return self.acked + 1

    @property
    def held(self) -> int:
        """Records not yet acknowledged, lost ones included."""
        return self.next_seq - 1 - self.acked

    def close(self) -> None:
        """Close every file."""
        for segment in self._segments:
            self._disk.close(segment.fd)
        self._segments.clear()
        self._ack_file.close()
        self._losses.close()
