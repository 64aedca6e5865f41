"""The index: the journal's batches taken apart into readable records, in index.sqlite.

It tails the journal with a cursor that is stored in the same transaction as what the rows became,
so it applies each row once whatever kills it, and it can be deleted and made again. Nothing in a
batch can stop it: what cannot be read is kept in `rejected` with the reason, and what only lacks
its measure table is tried again when the table comes.
"""

import json
import logging
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.errors import WireError
from gateway.hub.anchors import Anchors
from gateway.hub.bugs import Bugs
from gateway.hub.hubthread import HubThread
from gateway.hub.journal import Row, RowKind, read_rows
from gateway.hub.storage import refused
from gateway.hub.unpack import IndexedRecord, unpack_row
from gateway.log import Condition

AT_ONCE: Final = 256
_LOOK_AGAIN_S: Final = 1.0
_CURE: Final = "stop the hub and delete it with its -wal file: it is made again from the journal"
_TABLES_CACHED: Final = 256
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY, box TEXT NOT NULL, epoch BLOB NOT NULL, lane INTEGER NOT NULL,
    seq INTEGER NOT NULL, kind TEXT NOT NULL, sensor TEXT NOT NULL, t_wall_ns INTEGER NOT NULL,
    clock INTEGER NOT NULL, clock_error_us INTEGER NOT NULL, boot BLOB NOT NULL, t_mono_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL, incarnation INTEGER NOT NULL, n INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE (box, epoch, lane, seq)
);
CREATE INDEX IF NOT EXISTS records_by_time ON records (t_wall_ns);
CREATE INDEX IF NOT EXISTS records_by_sensor ON records (box, sensor, t_wall_ns);
CREATE INDEX IF NOT EXISTS events_by_id ON records (json_extract(body, '$.id')) WHERE kind = 'event';
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY, box TEXT NOT NULL, epoch BLOB NOT NULL, lane INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL, counts TEXT NOT NULL,
    received_ns INTEGER NOT NULL, UNIQUE (box, epoch, lane, first)
);
CREATE TABLE IF NOT EXISTS rejected (
    box TEXT NOT NULL, epoch BLOB NOT NULL, lane INTEGER NOT NULL, first INTEGER NOT NULL,
    count INTEGER NOT NULL, reason TEXT NOT NULL, text TEXT NOT NULL,
    journal_id INTEGER NOT NULL, table_id BLOB,
    PRIMARY KEY (box, epoch, lane, first)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rejected_by_table ON rejected (table_id) WHERE table_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_log = logging.getLogger("gateway.hub.index")


class Index:
    """index.sqlite, open for writing by the one thread that applies the journal to it."""

    def __init__(self, path: Path, journal: Path) -> None:
        """Open or create it. Raises HubError if a file cannot be used."""
        self.path = path
        try:
            # Made where the hub starts, so that errors stop it there; used by the index thread alone.
            self._journal = sqlite3.connect(
                f"file:{journal}?mode=ro", uri=True, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            # A power cut may undo the last transactions, cursor included: they are applied again.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._anchors = Anchors(self._db)
        except sqlite3.Error as error:
            raise refused("use", path, error, _CURE) from error
        self._tables: dict[bytes, dict[str, Any]] = {}
        self._marks: dict[str, int] = {}  # as stored; nobody else writes while this is open
        self.counts: Counter[str] = Counter()
        self._bugs = Bugs(_log, self.counts)

    def close(self) -> None:
        """Close both files."""
        self._db.close()
        self._journal.close()

    def mark(self, name: str) -> int:
        """A stored number: "cursor" (last journal row applied), "tables", "applied_twice"; 0 at first."""
        if name not in self._marks:
            row = self._db.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
            self._marks[name] = int(row[0]) if row else 0
        return self._marks[name]

    def behind(self) -> int:
        """How many journal rows are still to be applied."""
        last = self._journal.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
        return int(last) - self.mark("cursor")

    def catch_up(self) -> int:
        """Apply the next rows, AT_ONCE at the most, in one transaction; returns how many rows that were.

        Raises sqlite3.Error if a file cannot be used; nothing of the transaction remains then.
        """
        if self._journal.in_transaction or self._db.in_transaction:
            self._roll_back()
        self._journal.execute("BEGIN")  # one look at the file instead of two
        try:
            rows = list(read_rows(self._journal, self.mark("cursor"), AT_ONCE))
            tables = self._journal.execute("SELECT coalesce(max(number), 0) FROM tables").fetchone()[0]
        finally:
            self._journal.execute("COMMIT")
        new_tables = tables > self.mark("tables")
        if not rows and not new_tables:
            return 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if new_tables:
                self._retry_rejected()
                self._set_mark("tables", tables)
            for number, row in rows:
                self._apply(number, row)
            if rows:
                self._set_mark("cursor", rows[-1][0])
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # tried again before the file is read again
                self._roll_back()
            raise
        return len(rows)

    def _roll_back(self) -> None:
        self._marks.clear()  # also where SQLite has rolled back by itself, as after a COMMIT on a full disk
        if self._journal.in_transaction:
            self._journal.execute("ROLLBACK")
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _apply(self, number: int, row: Row) -> None:
        """Apply a row, or keep it aside: as it is acked, it would end the thread again at every start."""
        self._db.execute("SAVEPOINT apply")
        try:
            self._apply_row(number, row)
        except (sqlite3.Error, MemoryError):
            raise  # not the row's fault
        except Exception as error:  # noqa: BLE001  (the boundary of gateway.hub.bugs)
            self._db.execute("ROLLBACK TO apply")
            self._marks.clear()
            self._bugs.caught(error, f"journal row {number} of {row.stream[0]}")
            bug = WireError("bug", type(error).__name__)
            self._reject(number, row, row.fresh_seq, row.last_seq - row.fresh_seq + 1, bug)
        self._db.execute("RELEASE apply")

    def _apply_row(self, number: int, row: Row) -> None:
        if row.kind is RowKind.GAP:
            lost = json.loads(row.payload)
            values = (*row.stream, row.fresh_seq, row.last_seq, lost["reason"], json.dumps(lost["counts"]))
            self._insert(
                "gaps (box, epoch, lane, first, last, reason, counts, received_ns)",
                [(*values, row.received_ns)],
            )
            return
        count = row.last_seq - row.fresh_seq + 1
        try:
            batch = unpack_row(row, self._table)
        except WireError as error:
            self._reject(number, row, row.fresh_seq, count, error)
            return
        if batch.missing_table is not None:
            unknown = WireError("unknown_table", batch.missing_table.hex())
            self._reject(number, row, row.fresh_seq, count, unknown, batch.missing_table)
            return
        for seq, reason in batch.rejected:
            self._reject(number, row, seq, 1, reason)
        self._insert_records(row, batch.records)

    def _insert_records(self, row: Row, records: list[IndexedRecord]) -> None:
        box, epoch, lane = row.stream
        for record in records:
            # Anchors first, so that a record stamped by an unset clock finds those of its own batch.
            if record.anchor is not None:
                self._anchors.add(box, record.anchor)
        values = []
        for r in records:
            t_wall_ns, clock, error_us = self._anchors.right(box, r)
            stamp = (t_wall_ns, clock, error_us, r.boot, r.t_mono_ns, row.received_ns)
            values.append((box, epoch, lane, r.seq, r.kind, r.sensor, *stamp, r.incarnation, r.n, r.body))
        columns = (
            "records (box, epoch, lane, seq, kind, sensor, t_wall_ns, clock, clock_error_us, boot, t_mono_ns,"
            " received_ns, incarnation, n, body)"
        )
        self._insert(columns, values)

    def _insert(self, columns: str, values: list[tuple[Any, ...]]) -> None:
        """Insert rows that must be new, and count those that are not: each would be one applied twice."""
        if not values:
            return
        marks = ", ".join("?" * len(values[0]))
        statement = f"INSERT INTO {columns} VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 (our own text)
        inserted = self._db.executemany(statement, values).rowcount
        if inserted != len(values):
            self._set_mark("applied_twice", self.mark("applied_twice") + len(values) - inserted)

    def _reject(
        self, number: int, row: Row, first: int, count: int, error: WireError, table: bytes | None = None
    ) -> None:
        values = (*row.stream, first, count, error.reason, str(error)[:200], number, table)
        self._db.execute("INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _retry_rejected(self) -> None:
        waiting = self._db.execute(
            "SELECT DISTINCT table_id FROM rejected WHERE table_id IS NOT NULL"
        ).fetchall()
        for (table,) in waiting:
            if self._table(table) is None:
                continue
            numbers = self._db.execute(
                "SELECT journal_id FROM rejected WHERE table_id = ?", (table,)
            ).fetchall()
            self._db.execute("DELETE FROM rejected WHERE table_id = ?", (table,))
            for (number,) in sorted(numbers):
                self._apply(*next(read_rows(self._journal, number - 1, 1)))

    def _table(self, table: bytes) -> dict[str, Any] | None:
        if table not in self._tables:
            row = self._journal.execute("SELECT body FROM tables WHERE id = ?", (table,)).fetchone()
            if row is None:
                return None
            if len(self._tables) >= _TABLES_CACHED:
                self._tables.clear()
            self._tables[table] = json.loads(row[0])
        return self._tables[table]

    def _set_mark(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value))
        self._marks[name] = value


class IndexThread(HubThread):
    """Applies the journal to the index as it grows, until stopped."""

    def __init__(self, index: Index) -> None:
        super().__init__("index")
        self._index = index
        self._more = threading.Event()
        self._stopping = threading.Event()
        self._disk = Condition(_log, "index")
        self.behind = 0
        self.applied_twice = 0

    @property
    def counts(self) -> Counter[str]:
        """What the index counts: `bugs`."""
        return self._index.counts

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._more.set()

    def stop(self) -> None:
        """Stop after the transaction under way, wait for it, and close the index."""
        self._stopping.set()
        self._more.set()
        if self.is_alive():
            self.join()
        self._index.close()

    def work(self) -> None:
        """Apply rows until stopped. A disk that refuses is tried again: the journal waits for us."""
        index = self._index
        while not self._stopping.is_set():
            self._more.clear()
            try:
                while index.catch_up() == AT_ONCE and not self._stopping.is_set():
                    self.behind = index.behind()
                self.behind, self.applied_twice = 0, index.mark("applied_twice")
                self._disk.heals()
            except sqlite3.Error as error:
                why = refused("write", index.path, error, _CURE)
                self._disk.breaks(f"{why}; the journal goes on without it")
                self._stopping.wait(_LOOK_AGAIN_S)
                continue
            self._more.wait()


def catch_up_alone(path: Path, journal: Path) -> None:
    """Apply all that the journal holds; for when no hub is running. Raises HubError."""
    index = Index(path, journal)
    try:
        while index.catch_up():
            pass
    except sqlite3.Error as error:
        raise refused("write", path, error, _CURE) from error
    finally:
        index.close()
