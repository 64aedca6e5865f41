"""SQLite as a queue: WAL, a row a record or a blob a commit; `synchronous` as asked for."""

import sqlite3
from pathlib import Path


class _Database:
    """What both have in common."""

    table = ""

    def __init__(self, folder: Path, synchronous: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / "queue.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(f"PRAGMA synchronous={synchronous}")
        self.db.execute(self.table)
        (last,) = self.db.execute("SELECT max(seq) FROM queue").fetchone()
        self.next_seq = (last or 0) + 1

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether the oldest row can be read."""
        return self.db.execute("SELECT body FROM queue ORDER BY seq LIMIT 1").fetchone() is not None

    def close(self) -> None:
        """Close the database, which checkpoints it."""
        self.db.close()


class Rows(_Database):
    """A row a record, a transaction a commit; a drained pack is deleted in one transaction."""

    table = "CREATE TABLE IF NOT EXISTS queue(seq INTEGER PRIMARY KEY, body BLOB NOT NULL)"

    def __init__(self, folder: Path, size: int, synchronous: str) -> None:
        del size
        super().__init__(folder, synchronous)

    def append(self, records: list[bytes]) -> int:
        """One transaction."""
        seq = self.next_seq
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO queue VALUES(?, ?)", enumerate(records, seq))
        self.db.execute("COMMIT")
        self.next_seq = seq + len(records)
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Select and delete pack by pack."""
        came = 0
        while came < limit:
            rows = self.db.execute("SELECT seq, body FROM queue ORDER BY seq LIMIT ?", (pack,)).fetchall()
            if not rows:
                break
            self.db.execute("DELETE FROM queue WHERE seq <= ?", (rows[-1][0],))
            came += len(rows)
        return came


class Blobs(_Database):
    """A blob a commit; deleted after every `together` of them: with 16 SQLite's best case."""

    table = (
        "CREATE TABLE IF NOT EXISTS queue(seq INTEGER PRIMARY KEY, n INTEGER NOT NULL, body BLOB NOT NULL)"
    )

    def __init__(self, folder: Path, size: int, synchronous: str, together: int) -> None:
        del size
        super().__init__(folder, synchronous)
        self._together = together

    def append(self, records: list[bytes]) -> int:
        """One row."""
        self.db.execute("INSERT INTO queue VALUES(?, ?, ?)", (self.next_seq, len(records), b"".join(records)))
        self.next_seq += 1
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Select row by row, delete every so many."""
        del pack
        came, at, held = 0, 0, 0
        while came < limit:
            row = self.db.execute(
                "SELECT seq, n, body FROM queue WHERE seq > ? ORDER BY seq LIMIT 1", (at,)
            ).fetchone()
            if row is None:
                break
            at, held, came = row[0], held + 1, came + row[1]
            if held == self._together:
                self.db.execute("DELETE FROM queue WHERE seq <= ?", (at,))
                held = 0
        if held:
            self.db.execute("DELETE FROM queue WHERE seq <= ?", (at,))
        return came
