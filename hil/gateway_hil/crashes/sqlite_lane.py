"""A lane in SQLite, with the calls of gateway.lane.LaneLog: what the log is compared with, call by call.

It is the plain way to do it: WAL, `synchronous=FULL`, a row per batch. It keeps LaneLog's borders
between segments, so that both give up the same records, and deletes what the hub has a segment at a
time, which is the kindest to flash that SQLite can be.
"""

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.disk import PAGE
from gateway.errors import SpoolError
from gateway.lane import AHEAD_MAX, COMMIT_MAX
from gateway.recover import LaneFormat
from gateway.segment import FRAME_HEAD, MARKS_MAX, Lost, Payload, StoredFrame, page_after

_SCHEMA: Final = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS frames (
    first_seq INTEGER PRIMARY KEY, count INTEGER, commit_first INTEGER, ends INTEGER, content BLOB);
CREATE TABLE IF NOT EXISTS segments (first_seq INTEGER PRIMARY KEY, marks BLOB);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB);
"""
_FRAMES: Final = """
SELECT * FROM frames WHERE first_seq <= ?2 AND first_seq >=
    ifnull((SELECT max(first_seq) FROM frames WHERE first_seq <= ?1), 0) ORDER BY first_seq
"""


class SqliteLane:
    """One lane in the database `path`. Any thread may call."""

    def __init__(self, path: Path, form: LaneFormat) -> None:
        self._form = form
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self.counters: Counter[str] = Counter()
        self._load()
        self._opened_at = min(self._since or self.next_seq, self.next_seq)
        self._settled = False

    def _load(self) -> None:
        """Take everything from the database."""
        state = dict(self._database.execute("SELECT name, value FROM state"))
        self._lost: dict[str, Any] = msgpack.unpackb(state.get("lost", b"\x80"), strict_map_key=False)
        self.acked: int = state.get("acked", 0)
        self._since: int = state.get("since", 0)  # first number that no Welcome has confirmed
        self.next_seq: int
        self.marks: dict[int, int] = {}
        self._segments = [
            row[0] for row in self._database.execute("SELECT first_seq FROM segments ORDER BY 1")
        ]
        self.next_seq = max(self.acked, self._lost.get("last", 0)) + 1
        self._end = PAGE
        if self._segments:
            self._resume()

    def _resume(self) -> None:
        newest = self._segments[-1]
        (marks,) = self._database.execute(
            "SELECT marks FROM segments WHERE first_seq=?", (newest,)
        ).fetchone()
        self.marks = msgpack.unpackb(marks, strict_map_key=False)
        self.next_seq = max(self.next_seq, newest)
        for frame in self._frames(newest):
            self._remember(self._form.read_marks(frame.content))
            self._end += FRAME_HEAD.size + len(frame.content)
            self._end = page_after(self._end) if frame.ends_commit else self._end
            self.next_seq = max(self.next_seq, frame.last_seq + 1)

    def append(self, payloads: Sequence[Payload]) -> int:
        """Store one commit, durable on return; its first sequence number. Raises SpoolError."""
        size = sum(FRAME_HEAD.size + len(p.content) for p in payloads)
        if size > COMMIT_MAX:
            raise SpoolError(f"a commit of {size} bytes is over the limit of {COMMIT_MAX}")
        with self._lock, self._transaction():
            if not self._segments or self._end + size > self._form.segment_bytes - PAGE:
                self._begin_segment()
            first_seq = self.next_seq
            if not self._settled and not self._since:
                self._confirmed_to(first_seq)
            last = len(payloads) - 1
            for index, payload in enumerate(payloads):
                row = (self.next_seq, payload.count, first_seq, index == last, payload.content)
                self._database.execute("INSERT INTO frames VALUES (?,?,?,?,?)", row)
                self.next_seq += payload.count
                self._remember(self._form.read_marks(payload.content))
            self._end = page_after(self._end + size)
        return first_seq

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, on the medium at the end; part of the outer one if there is one."""
        if self._database.in_transaction:
            yield
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self._load()
            raise SpoolError(f"the lane's database refuses: {error}") from error

    def _begin_segment(self) -> None:
        while len(self._segments) >= self._form.segments_max:
            self._evict()
        marks = msgpack.packb(self.marks)
        self._database.execute("INSERT INTO segments VALUES (?,?)", (self.next_seq, marks))
        self._segments.append(self.next_seq)
        self._end = PAGE
        while len(self._segments) > 1 and self._segments[1] - 1 <= self.acked:
            self._drop_first()

    def evict_oldest(self, *, to_disk: bool = False) -> bool:
        """Give up what the oldest segment would hold; False if only the active one is left."""
        with self._lock, self._transaction():
            return len(self._segments) > 1 and self._evict()

    def _evict(self) -> bool:
        last = self._segments[1] - 1
        if last > self.acked:
            counts: Counter[int] = Counter()
            if self._lost.get("last", 0) > self.acked:
                counts.update(self._lost["counts"])
            for frame in self._frames(max(self.acked + 1, self._segments[0]), last):
                counts.update(self._form.count_kinds(frame.content))
            self._declare(last, "evicted", counts)
        self._drop_first()
        return True

    def _declare(self, last: int, reason: str, counts: Mapping[int, int]) -> None:
        self._lost = {"last": last, "reason": reason, "counts": dict(counts)}
        self._database.execute("REPLACE INTO state VALUES ('lost',?)", (msgpack.packb(self._lost),))

    def _drop_first(self) -> None:
        self._segments.pop(0)
        before = self._segments[0] if self._segments else self.next_seq
        self._database.execute("DELETE FROM frames WHERE first_seq<?", (before,))
        self._database.execute("DELETE FROM segments WHERE first_seq<?", (before,))
        self._database.execute("REPLACE INTO state VALUES ('acked',?)", (self.acked,))

    def _frames(self, from_seq: int, last: int = 2**62) -> Iterator[StoredFrame]:
        """Frames that hold anything from `from_seq` to `last`."""
        for first_seq, count, commit_first, ends, content in self._database.execute(
            _FRAMES, (from_seq, last)
        ):
            if first_seq + count > from_seq:
                yield StoredFrame(first_seq, count, content, commit_first, bool(ends), 0, 0)

    def peek(self, after_seq: int, max_bytes: int) -> list[StoredFrame | Lost]:
        """What follows `after_seq`, in order; at least one item if there is any."""
        found: list[StoredFrame | Lost] = []
        size = 0
        with self._lock:
            first_stored = self._segments[0] if self._segments else self.next_seq
            if after_seq + 1 < first_stored:
                found.append(self._head_gap(after_seq + 1, first_stored - 1))
            for frame in self._frames(max(after_seq + 1, first_stored)):
                if size and size + len(frame.content) > max_bytes:
                    break
                found.append(frame)
                size += len(frame.content)
                if size >= max_bytes:
                    break
        return found

    def _head_gap(self, first: int, last: int) -> Lost:
        if last <= self.acked:
            return Lost(first, last, "forgotten")
        if self._lost.get("last", 0) >= last:
            return Lost(first, last, self._lost["reason"], self._lost["counts"])
        return Lost(first, last, "disk")

    def settle(self, hub_has: int) -> None:
        """What the hub has, by its Welcome. Raises SpoolError for a number that cannot be true."""
        first = not self._settled and hub_has >= self._opened_at
        if hub_has >= self.next_seq + (AHEAD_MAX if first else 0):
            raise SpoolError(f"the hub claims record {hub_has}, this box made {self.next_seq - 1}")
        with self._lock, self._transaction():
            if first:
                self._number_anew(hub_has)
            self._confirmed_to(0)
        self._settled = True
        self.ack(hub_has)

    def _confirmed_to(self, since: int) -> None:
        self._since = since
        self._database.execute("REPLACE INTO state VALUES ('since',?)", (since,))

    def _number_anew(self, hub_has: int) -> None:
        by = hub_has + 1 - self._opened_at
        if self.next_seq > self._opened_at:
            first = max([seq for seq in self._segments if seq <= self._opened_at] or self._segments[:1])
            if self._lost.get("last", 0) >= self._opened_at:
                self._declare(self._lost["last"] + by, self._lost["reason"], self._lost["counts"])
            for table, column in (("frames", "commit_first"), ("segments", "first_seq")):
                move = f"UPDATE {table} SET {column}={column}+? WHERE {column}>=?"  # noqa: S608 # our own words
                self._database.execute(move, (by, first))
            self._database.execute("UPDATE frames SET first_seq=-first_seq-? WHERE first_seq>=?", (by, first))
            self._database.execute("UPDATE frames SET first_seq=-first_seq WHERE first_seq<0")
            self._segments = [seq + by if seq >= first else seq for seq in self._segments]
        else:
            self._end = self._form.segment_bytes
        self.next_seq += by

    def ack(self, upto_seq: int) -> None:
        """The hub has everything up to `upto_seq`. To lose that means to send again: no sync only for it."""
        with self._lock:
            self.acked = max(self.acked, upto_seq)
            if len(self._segments) > 1 and self._segments[1] - 1 <= self.acked:
                with self._transaction():
                    while len(self._segments) > 1 and self._segments[1] - 1 <= self.acked:
                        self._drop_first()

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
            self.marks[incarnation] = max(n, self.marks.pop(incarnation, 0))
        while len(self.marks) > MARKS_MAX:
            del self.marks[next(iter(self.marks))]

    def close(self) -> None:
        """Note what the hub has, and close the database."""
        with self._lock:
            self._database.execute("REPLACE INTO state VALUES ('acked',?)", (self.acked,))
            self._database.close()
