"""The journal: frames and gaps exactly as boxes sent them, in SQLite, on the disk before the ack.

Rows are only ever appended and carry enough to rebuild everything else. Several frames share one
commit; `head` already counts what is pending, so that order is checked before the disk is asked.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from gateway.errors import HubError
from gateway.hub.storage import Belief, refused
from gateway.reading import Lane

COMMIT_AFTER_S: Final = 0.02
COMMIT_AFTER_BYTES: Final = 65536
COMMIT_AT_BYTES: Final = (
    524288  # without reading on what has come already: a flood shares commits, not memory
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, box TEXT NOT NULL, epoch BLOB NOT NULL, lane INTEGER NOT NULL,
    first_seq INTEGER NOT NULL, count INTEGER NOT NULL, fresh_seq INTEGER NOT NULL,
    kind INTEGER NOT NULL, payload BLOB NOT NULL, received_ns INTEGER NOT NULL,
    UNIQUE (box, epoch, lane, fresh_seq)
);
CREATE TABLE IF NOT EXISTS heads (
    box TEXT, epoch BLOB, lane INTEGER, last_seq INTEGER NOT NULL, PRIMARY KEY (box, epoch, lane)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tables (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, body TEXT NOT NULL, box TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tables_by_box ON tables (box);
"""

_CURE: Final = (
    "restore it from a backup, or move it away with its -wal file and start again: boxes then send what they "
    "still hold"
)

Stream = tuple[str, bytes, int]  # box, epoch, lane: what sequence numbers belong to


class RowKind(IntEnum):
    """What a journal row holds."""

    FRAME = 1
    GAP = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One frame or gap. Records before `fresh_seq` were already held when it came."""

    stream: Stream
    first_seq: int
    count: int
    fresh_seq: int
    kind: RowKind
    payload: bytes  # a batch, or a gap's reason and counts as JSON
    received_ns: int

    @property
    def last_seq(self) -> int:
        """The last sequence number it covers."""
        return self.first_seq + self.count - 1


class Journal:
    """journal.sqlite, open for writing by the one thread of the one hub that runs."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises HubError if the file cannot be used."""
        self._path = path
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._urgent = False
        self._heads: dict[Stream, int] = {}
        self._belief = Belief(path)
        try:
            # Made where the hub starts, used by the thread that serves.
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            # FULL syncs the write-ahead log at every commit. NORMAL would ack what a power cut undoes.
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._tables = {row[0] for row in self._db.execute("SELECT id FROM tables")}
        except sqlite3.Error as error:
            raise refused("use", path, error, _CURE) from error

    def close(self) -> None:
        """Close the file; what was not committed was not acked either."""
        self._db.close()

    def head(self, stream: Stream) -> int:
        """Last sequence number held of a stream, pending ones included; 0 if none. Raises HubError."""
        if stream not in self._heads:
            self._belief.check()
            try:
                self._roll_back()
                row = self._db.execute(
                    "SELECT last_seq FROM heads WHERE box = ? AND epoch = ? AND lane = ?", stream
                ).fetchone()
            except sqlite3.Error as error:
                raise refused("read", self._path, error, _CURE) from error
            self._heads[stream] = row[0] if row else 0
        return self._heads[stream]

    def forget(self, stream: Stream) -> None:
        """Stop caching the head of a stream that has nothing pending."""
        if not any(row.stream == stream for row in self._pending):
            self._heads.pop(stream, None)

    def append(self, row: Row) -> None:
        """Take a row that continues its stream; it is on the disk after the next `commit`."""
        assert row.fresh_seq == self.head(row.stream) + 1 <= row.last_seq + 1, "rows continue their stream"
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(row)
        self._pending_bytes += len(row.payload)
        self._urgent |= row.stream[2] == Lane.ALERT
        self._heads[row.stream] = row.last_seq

    def due_in(self, now: float) -> float | None:
        """Seconds until the pending rows should be committed; 0: at once; None: nothing is pending."""
        if not self._pending:
            return None
        if self._urgent or self._pending_bytes >= COMMIT_AFTER_BYTES:
            return 0.0
        return max(0.0, self._pending_since + COMMIT_AFTER_S - now)

    @property
    def is_full(self) -> bool:
        """Whether to commit before anything more is taken."""
        return self._urgent or self._pending_bytes >= COMMIT_AT_BYTES

    def commit(self) -> int:
        """Put the pending rows on the disk; returns how many. Raises HubError, then none of them is."""
        rows, self._pending = self._pending, []
        self._pending_bytes, self._urgent = 0, False
        if not rows:
            return 0
        heads = {row.stream: row.last_seq for row in rows}
        try:
            self._belief.check()
            self._roll_back()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO journal (box, epoch, lane, first_seq, count, fresh_seq, kind, payload,"
                " received_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*r.stream, r.first_seq, r.count, r.fresh_seq, r.kind, r.payload, r.received_ns)
                    for r in rows
                ],
            )
            self._db.executemany(
                "INSERT INTO heads VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq",
                [(*stream, last) for stream, last in heads.items()],
            )
            self._db.execute("COMMIT")
            self._belief.check()
        except HubError:
            self._heads.clear()  # they counted on these rows
            raise
        except sqlite3.Error as error:
            self._heads.clear()
            with suppress(sqlite3.Error):  # tried again before the file is used again
                self._roll_back()
            raise refused("write", self._path, error, _CURE) from error
        return len(rows)

    def _roll_back(self) -> None:
        """Undo a commit that failed half way: nobody may read, and ack, what it left behind."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def knows_table(self, table_id: bytes) -> bool:
        """Whether the measure table is on the disk."""
        return table_id in self._tables

    def table_bytes(self, box: str) -> int:
        """How much the measure tables of a box take. Raises HubError."""
        try:
            self._roll_back()
            found = self._db.execute("SELECT sum(length(body)) FROM tables WHERE box = ?", (box,))
            return int(found.fetchone()[0] or 0)
        except sqlite3.Error as error:
            raise refused("read", self._path, error, _CURE) from error

    def add_table(self, table_id: bytes, table: dict[str, Any], box: str) -> None:
        """Put a measure table that a box sent on the disk, at once. Raises HubError."""
        try:
            self._roll_back()
            self._db.execute(
                "INSERT INTO tables (id, body, box) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (table_id, json.dumps(table, sort_keys=True), box),
            )
            self._belief.check()
        except sqlite3.Error as error:
            raise refused("write", self._path, error, _CURE) from error
        self._tables.add(table_id)


def read_rows(db: sqlite3.Connection, after: int, limit: int) -> Iterator[tuple[int, Row]]:
    """Rows with an id above `after`, in order, with their ids."""
    found = db.execute(
        "SELECT id, box, epoch, lane, first_seq, count, fresh_seq, kind, payload, received_ns"
        " FROM journal WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    for number, box, epoch, lane, first_seq, count, fresh_seq, kind, payload, received_ns in found:
        stream = (box, epoch, lane)
        yield number, Row(stream, first_seq, count, fresh_seq, RowKind(kind), payload, received_ns)
