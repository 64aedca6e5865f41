"""Orders on the hub: signed when a person gives them, kept in hub.sqlite until the box answers.

`gateway hub command` writes here from a process of its own, which wakes the running hub as an enrolment
does. What became of an order is looked up in the index, where its result is a record like any other:
so it is found again after an index was made anew.
"""

import json
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import ConfigError, HubError
from gateway.order import LIFE_MAX_S, Order, pack_order, signed

OPEN_MAX: Final = 16  # of one box; a box remembers more
_KEPT_MAX: Final = 1000  # of one box, for people to look at
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, box TEXT NOT NULL, name TEXT NOT NULL,
    arguments TEXT NOT NULL, made_ns INTEGER NOT NULL, not_after_s INTEGER NOT NULL,
    signature BLOB NOT NULL, content BLOB NOT NULL,
    sent_ns INTEGER, outcome TEXT, answered_ns INTEGER, uptime_s REAL
);
CREATE INDEX IF NOT EXISTS orders_by_box ON orders (box, number);
"""
_COLUMNS: Final = (
    "id, box, name, arguments, made_ns, not_after_s, signature, content,"
    " sent_ns, outcome, answered_ns, uptime_s"
)
_RESULTS: Final = (
    "SELECT body, received_ns, t_mono_ns FROM records"
    " WHERE box = ? AND sensor = 'box' AND kind = 'result' ORDER BY t_wall_ns DESC, id DESC LIMIT 1000"
)


@dataclass(frozen=True, slots=True)
class OrderEntry:
    """An order and what became of it; times ending in _ns are wall time.

    `outcome` is that of gateway.reading in words, None as long as no result came; `uptime_s` is for how
    long the box had been up when it answered.
    """

    id: bytes
    box: str
    name: str
    arguments: dict[str, int]
    made_ns: int
    not_after_s: int
    signature: bytes
    content: bytes
    sent_ns: int | None
    outcome: str | None
    answered_ns: int | None
    uptime_s: float | None

    def state(self, now_s: float) -> str:
        """In a word: waiting, sent, expired, or the outcome."""
        if self.outcome is not None:
            return self.outcome
        if self.not_after_s < now_s:
            return "expired"
        return "waiting" if self.sent_ns is None else "sent"


class Orders:
    """The orders in hub.sqlite, and the index that answers them. One thread uses one; any number may."""

    def __init__(self, registry: Path, index: Path) -> None:
        """Open or create them. Raises HubError if the file cannot be used."""
        self._index = index
        try:
            # Made where the hub starts, so that errors stop it there.
            self._db = sqlite3.connect(registry, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise HubError(f"cannot use {registry}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def give(self, order: Order, sign_secret: bytes) -> OrderEntry:
        """Sign an order and keep it for its box. Raises ConfigError if it cannot be given."""
        if text := order.wrong_arguments():
            raise ConfigError(text)
        now_s = time.time()
        if order.not_after_s > now_s + LIFE_MAX_S:
            raise ConfigError(f"a command may wait {LIFE_MAX_S // 86400} days at the most")
        if (
            self._db.execute(
                "SELECT 1 FROM boxes WHERE name = ? AND revoked_ns IS NULL", (order.box,)
            ).fetchone()
            is None
        ):
            raise ConfigError(f"no box {order.box!r} may connect here; `gateway hub boxes` lists them")
        if len(self.open(order.box)) >= OPEN_MAX:
            raise ConfigError(
                f"{order.box} has {OPEN_MAX} commands to answer; wait for it, or till they expire"
            )
        content = pack_order(order)
        signature = Ed25519PrivateKey.from_private_bytes(sign_secret).sign(signed(content))
        self._db.execute(
            "INSERT INTO orders (id, box, name, arguments, made_ns, not_after_s, signature, content)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (order.id, order.box, order.name, json.dumps(dict(order.arguments)), time.time_ns(),
             order.not_after_s, signature, content),
        )  # fmt: skip
        self._db.execute(
            "DELETE FROM orders WHERE box = ?1 AND number <="
            " (SELECT number FROM orders WHERE box = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            (order.box, _KEPT_MAX),
        )
        return self.find(order.id)

    def find(self, order_id: bytes) -> OrderEntry:
        """One order."""
        query = f"SELECT {_COLUMNS} FROM orders WHERE id = ?"  # noqa: S608
        return _entry(self._db.execute(query, (order_id,)).fetchone())

    def open(self, box: str) -> list[OrderEntry]:
        """The orders of a box that wait for its answer, oldest first; looks for answers before."""
        if self._unanswered(box):
            self._settle(box)
        return self._unanswered(box)

    def open_boxes(self) -> set[str]:
        """Boxes with an order that has no answer yet, and has not expired."""
        found = self._db.execute(
            "SELECT DISTINCT box FROM orders WHERE outcome IS NULL AND not_after_s >= ?", (int(time.time()),)
        )
        return {box for (box,) in found}

    def sent(self, order_id: bytes) -> None:
        """It went to its box just now."""
        self._db.execute("UPDATE orders SET sent_ns = ? WHERE id = ?", (time.time_ns(), order_id))

    def all(self, box: str | None = None) -> list[OrderEntry]:
        """Every order that is kept, or those of one box, oldest first; looks for answers before."""
        waiting = self._db.execute("SELECT DISTINCT box FROM orders WHERE outcome IS NULL").fetchall()
        for (each,) in waiting:
            self._settle(each)
        query = f"SELECT {_COLUMNS} FROM orders WHERE ?1 IS NULL OR box = ?1 ORDER BY number"  # noqa: S608
        return [_entry(row) for row in self._db.execute(query, (box,))]

    def _unanswered(self, box: str) -> list[OrderEntry]:
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM orders WHERE box = ? AND outcome IS NULL AND not_after_s >= ?"  # noqa: S608
            " ORDER BY number",
            (box, int(time.time())),
        )
        return [_entry(row) for row in found]

    def _settle(self, box: str) -> None:
        """Take over what the index has of a box's results. An index that cannot be read has none."""
        with (
            suppress(sqlite3.Error),
            closing(
                sqlite3.connect(f"file:{self._index}?mode=ro", uri=True, timeout=1, isolation_level=None)
            ) as index,
        ):
            # In the order in which they were made: should there be two, the first one tells what happened.
            for body, received_ns, mono_ns in reversed(index.execute(_RESULTS, (box,)).fetchall()):
                result = json.loads(body)
                if "outcome" not in result:
                    continue  # of a sensor that has the name "box"
                self._db.execute(
                    "UPDATE orders SET outcome = ?, answered_ns = ?, uptime_s = ? WHERE box = ?"
                    " AND lower(hex(id)) = ? AND outcome IS NULL",  # not parsed: a box may claim anything
                    (result["outcome"], received_ns, mono_ns / 1e9, box, result["id"]),
                )


def _entry(row: tuple[Any, ...]) -> OrderEntry:
    order_id, box, name, arguments, *rest = row
    return OrderEntry(order_id, box, name, json.loads(arguments), *rest)
