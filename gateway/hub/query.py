"""Reading the index: records and gaps as plain dicts. Never writes.

Works beside a running hub and without one; then whoever asks first applies what the journal still
holds (`up_to_date`).
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.clock import ClockSource
from gateway.errors import ConfigError, HubError
from gateway.hub.folder import HubFolder
from gateway.hub.index import catch_up_alone
from gateway.hub.registry import Registry
from gateway.plugins import unknown
from gateway.reading import Kind, Lane
from gateway.stage import seconds

_WAIT_S: Final = 10.0
_TAIL_POLL_S: Final = 0.05
_AT_ONCE: Final = 512
KINDS: Final = tuple(kind.name.lower() for kind in Kind if kind is not Kind.GAP)  # gaps stand in no record
# An event's id is drawn by its box: two boxes might draw one, if only to spoil each other's.
_NEWEST: Final = """NOT (kind = 'event' AND EXISTS (
    SELECT 1 FROM records AS newer WHERE newer.kind = 'event' AND newer.box = records.box
    AND json_extract(newer.body, '$.id') = json_extract(records.body, '$.id')
    AND coalesce(json_extract(newer.body, '$.revision'), 0)
        > coalesce(json_extract(records.body, '$.revision'), 0)))"""
_COLUMNS: Final = (
    "box, epoch, lane, seq, kind, sensor, t_wall_ns, clock, clock_error_us, boot, t_mono_ns, received_ns,"
    " incarnation, n, body"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; None means any. `since_ns` is wall time. Of an event that was said again only the
    newest revision is found, unless `revisions`.
    """

    box: str | None = None
    sensor: str | None = None
    kind: str | None = None
    since_ns: int | None = None
    revisions: bool = False

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values."""
        wanted = {
            "box = ?": self.box,
            "sensor = ?": self.sensor,
            "kind = ?": self.kind,
            "t_wall_ns >= ?": self.since_ns,
        }
        given = {clause: value for clause, value in wanted.items() if value is not None}
        clauses = [*given, *(() if self.revisions else (_NEWEST,))]
        return " AND ".join(clauses) or "1", list(given.values())


def up_to_date(folder: HubFolder) -> int:
    """Bring the index up to what the journal holds now; returns how many rows it still lacks.

    A running hub does it by itself and is waited for, at most 10 s. Without one it is done here.
    Raises HubError if a file cannot be used.
    """
    if not folder.journal.exists():
        return 0
    try:
        with folder.locked():
            catch_up_alone(folder.index, folder.journal)
            return 0
    except HubError:
        # Somebody runs the hub, or another command is doing what we were about to do.
        return _wait_for(folder)


def read_only(path: Path) -> sqlite3.Connection:
    """A database opened for reading. Raises HubError if that fails."""
    try:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)
    except sqlite3.Error as error:
        raise HubError(f"cannot read {path}: {error}") from error


def find(folder: HubFolder, wanted: Filter) -> Iterator[dict[str, Any]]:
    """Records that fit, in order of time."""
    if not folder.index.exists():
        return
    where, values = wanted.where()
    with closing(read_only(folder.index)) as db:
        for row in db.execute(f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY t_wall_ns, id", values):  # noqa: S608
            yield _record(row)


def follow(folder: HubFolder, from_start: bool) -> Iterator[dict[str, Any]]:
    """Records and gaps as the index gets them, for ever. Starts with what comes next, or with all."""
    while not folder.index.exists():
        time.sleep(_TAIL_POLL_S)
    with closing(read_only(folder.index)) as db:
        at = dict.fromkeys(("records", "gaps"), 0)
        if not from_start:
            at = {t: db.execute(f"SELECT coalesce(max(id), 0) FROM {t}").fetchone()[0] for t in at}  # noqa: S608
        seen = -1
        while True:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version == seen:
                time.sleep(_TAIL_POLL_S)
                continue
            seen = version
            yield from _news(db, at)


def _news(db: sqlite3.Connection, at: dict[str, int]) -> Iterator[dict[str, Any]]:
    """What came after the ids in `at`, which move on."""
    queries = {
        "records": (f"SELECT id, {_COLUMNS} FROM records WHERE id > ? ORDER BY id LIMIT ?", _record),  # noqa: S608
        "gaps": (
            "SELECT id, box, epoch, lane, first, last, reason, counts, received_ns FROM gaps"
            " WHERE id > ? ORDER BY id LIMIT ?",
            _gap,
        ),
    }
    for table, (query, plain) in queries.items():
        while rows := db.execute(query, (at[table], _AT_ONCE)).fetchall():
            for number, *row in rows:
                at[table] = number
                yield plain(tuple(row))


def parse_since(text: str) -> int:
    """Wall time in ns from "10 min", "24h" (that long ago) or an ISO date and time. Raises ConfigError."""
    try:
        return time.time_ns() - int(seconds(text) * 1e9)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f'{text!r} is no time; write "10 min", "24 h" or 2027-01-31T08:00:00Z') from None
    return int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1e9)


def check_names(folder: HubFolder, wanted: Filter) -> None:
    """Raise ConfigError if no record can ever fit: a kind, box or sensor that is not known here."""
    if wanted.kind is not None and wanted.kind not in KINDS:
        raise ConfigError(unknown("kind of record", wanted.kind, KINDS))
    if not folder.index.exists():
        return
    with closing(read_only(folder.index)) as db:
        sensors = {each for (each,) in db.execute("SELECT DISTINCT sensor FROM records")}
        boxes = {each for (each,) in db.execute("SELECT DISTINCT box FROM records")}
    with closing(Registry(folder.registry)) as registry:
        boxes |= {entry.name for entry in registry.boxes()}
    for what, name, names in (("box", wanted.box, boxes), ("sensor", wanted.sensor, sensors)):
        if name is not None and name not in names:
            raise ConfigError(unknown(what, name, names))


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    names = _COLUMNS.replace(" ", "").split(",")
    plain = dict(zip(names, row, strict=True))
    return plain | {
        "epoch": plain["epoch"].hex(),
        "boot": plain["boot"].hex(),
        "clock": ClockSource(plain["clock"]).name.lower(),
        "body": json.loads(plain["body"]),
    }


def _gap(row: tuple[Any, ...]) -> dict[str, Any]:
    box, epoch, lane, first, last, reason, counts, received_ns = row
    return {
        "kind": "gap",
        "box": box,
        "epoch": epoch.hex(),
        "lane": Lane(lane),
        "first": first,
        "last": last,
        "reason": reason,
        "counts": json.loads(counts),
        "received_ns": received_ns,
    }


def _wait_for(folder: HubFolder) -> int:
    until = time.monotonic() + _WAIT_S
    while True:
        behind = _behind(folder)
        if behind <= 0 or time.monotonic() > until:
            return max(0, behind)
        time.sleep(_TAIL_POLL_S)


def _behind(folder: HubFolder) -> int:
    try:
        with closing(read_only(folder.journal)) as db:
            last = int(db.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])
        with closing(read_only(folder.index)) as db:
            cursor = db.execute("SELECT coalesce(max(value), 0) FROM marks WHERE name = 'cursor'").fetchone()[
                0
            ]
    except sqlite3.Error as error:
        raise HubError(f"cannot read the hub's databases in {folder.path}: {error}") from error
    return last - int(cursor)
