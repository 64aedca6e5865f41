"""What an enrolled box, or a failing disk, must not do to the hub: end it, fill it, write to a terminal."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgpack
import pytest
from hub_box import EPOCH, TABLE, TABLE_ID, batch, reading
from hub_kit import enlist, running

from gateway.errors import HubError
from gateway.hub.audit import audit
from gateway.hub.folder import HubFolder
from gateway.hub.index import Index
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.query import Filter, find, up_to_date
from gateway.hub.sessions import TABLES_BYTES_MAX, Peer, Sessions
from gateway.plan import table_id
from gateway.wire import TABLE_MAX, Hello, Refusal, Table, Welcome, pack_message

STREAM = ("elm-1", EPOCH, 2)
PEER = Peer(b"rid", "key")
NESTED = b"\x93\x01\x01" + b"\x91" * 1005 + b"\xc0"  # a record that Python cannot show


@pytest.fixture
def journal(folder: HubFolder) -> Iterator[Journal]:
    with closing(Journal(folder.journal)) as journal:
        yield journal


def _put(journal: Journal, first: int, count: int, payload: bytes, kind: RowKind = RowKind.FRAME) -> None:
    journal.append(Row(STREAM, first, count, first, kind, payload, 1))
    journal.commit()


def _with_sensor(**changes: Any) -> dict[str, Any]:
    return TABLE | {"sensors": [TABLE["sensors"][0] | changes]}


def _nested(depth: int) -> dict[str, Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return TABLE | {"later": inner}


def _give(sessions: Sessions, table: dict[str, Any]) -> str:
    """Say Hello and give a table; what became of it."""
    hello = Hello("B", EPOCH, {}, (b"8 bytes.",))
    ((_, welcome),) = sessions.receive(PEER, pack_message(hello), {"key": "elm-1"}, 0.0)
    assert isinstance(welcome, Welcome)
    if not welcome.wanted:
        return "not wanted"
    message = [msgpack.packb([1, "T", welcome.session]), json.dumps(table).encode()]
    replies = sessions.receive(PEER, message, {"key": "elm-1"}, 0.0)
    return replies[0][1].code if replies and isinstance(replies[0][1], Refusal) else "taken"


@pytest.mark.parametrize(
    "table",
    [
        _with_sensor(measures=[["pm2_5", "ug/m3", 10**400]]),
        _with_sensor(measures=[["pm2_5", "ug/m3", 1e-13]]),
        _with_sensor(measures=[["pm2_5", "\x1b]0;owned\x07", 0.1]]),
        _with_sensor(measures=[["pm2_5", "", 0.1]]),
        _with_sensor(measures=[["pm2\n", "ug/m3", 0.1]]),
        _with_sensor(labels=["\x1b[2J"]),
        _with_sensor(labels=["\ud800"]),
        _with_sensor(commands=["on\r"]),
        _nested(900),
        _nested(9),
    ],
)
def test_table_that_could_hurt_is_refused(journal: Journal, table: dict[str, Any]) -> None:
    assert _give(Sessions(journal), table) == "bad_table"


def test_table_may_hold_what_a_later_box_adds(journal: Journal) -> None:
    table = _with_sensor(place={"height": [1, 2]}, measures=[["pm2_5", "{new}/m2", 0.1]])
    assert _give(Sessions(journal), table) == "unwanted_table", "well formed; only the id was made up"


def test_tables_of_one_box_are_bounded_and_the_others_are_not_touched(journal: Journal) -> None:
    sessions = Sessions(journal)
    live = {"key": "elm-1", "other": "elm-2"}
    tables = [TABLE | {"note": str(n) + "x" * 59_000} for n in range(TABLES_BYTES_MAX // 59_000 + 2)]

    def give(peer: Peer, box_tables: list[dict[str, Any]]) -> list[str]:
        hello = Hello("B", EPOCH, {}, tuple(table_id(table) for table in box_tables))
        ((_, welcome),) = sessions.receive(peer, pack_message(hello), live, 0.0)
        assert isinstance(welcome, Welcome)
        wanted = [table for table in box_tables if table_id(table) in welcome.wanted]
        replies = [
            sessions.receive(peer, pack_message(Table(welcome.session, table)), live, 0.0) for table in wanted
        ]
        return [r[0][1].code if r and isinstance(r[0][1], Refusal) else "taken" for r in replies]

    became = [each for at in range(0, len(tables), 16) for each in give(PEER, tables[at : at + 16])]
    assert "too_many_tables" in became
    assert TABLES_BYTES_MAX <= journal.table_bytes("elm-1") < TABLES_BYTES_MAX + TABLE_MAX
    assert give(PEER, [TABLE | {"note": "one more"}]) == [], "welcome, but no table is wanted any more"
    assert give(Peer(b"rid-2", "other"), [TABLE]) == ["taken"]


def test_record_too_deep_to_be_shown_is_kept_aside_alone(folder: HubFolder, journal: Journal) -> None:
    journal.add_table(TABLE_ID, TABLE, "elm-1")
    items = [(1000, reading(1)), (2000, NESTED), (3000, reading(3))]
    _put(journal, 1, 3, batch(1, 3, items=items))
    up_to_date(folder)
    assert [record["seq"] for record in find(folder, Filter())] == [1, 3]
    assert audit(folder, "elm-1").lanes[0].unreadable == 1


def test_row_that_nobody_foresaw_is_kept_aside_and_logged_once(
    folder: HubFolder, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.add_table(TABLE_ID, TABLE, "elm-1")
    for first in (1, 2):
        _put(journal, first, 1, b"no JSON", RowKind.GAP)
    _put(journal, 3, 1, batch(3, 1))
    with closing(Index(folder.index, folder.journal)) as index:
        assert index.catch_up() == 3
        assert index.counts["bugs"] == 2
        assert index._db.execute("SELECT first, reason FROM rejected").fetchall() == [(1, "bug"), (2, "bug")]
    assert [record["seq"] for record in find(folder, Filter())] == [3]
    (said,) = caplog.records
    assert said.exc_info


@pytest.mark.slow
def test_message_that_nobody_foresaw_costs_its_sender_the_session_and_nobody_else(
    folder: HubFolder, caplog: pytest.LogCaptureFixture
) -> None:
    box, neighbour = enlist(folder, "elm-1"), enlist(folder, "elm-2")
    with closing(box), closing(neighbour), running(folder) as hub:
        # SQLite cannot take half a surrogate pair: a UnicodeEncodeError, which is no error of the disk.
        hub._server._allow.live = {box.keys.curve_public: "\ud800", neighbour.keys.curve_public: "elm-2"}
        for _ in range(2):
            box.connect()
            box.send(Hello("B", EPOCH, {}, ()))
            assert box.refused() == "bug"
        neighbour.connect()
        neighbour.hello()
        neighbour.frame(1, 5)
        assert neighbour.acked(5) == 5
        assert hub.counts()["server"]["bugs"] == 2
    assert len([r for r in caplog.records if r.exc_info]) == 1


def _refuse_to_end(action: int, word: str | None, *_: object) -> int:
    """An SQLite authorizer: a transaction can begin, and neither be committed nor rolled back."""
    denied = action == sqlite3.SQLITE_TRANSACTION and word in ("COMMIT", "ROLLBACK")
    return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK


def test_index_goes_on_after_a_transaction_that_could_not_even_be_undone(
    folder: HubFolder, journal: Journal
) -> None:
    journal.add_table(TABLE_ID, TABLE, "elm-1")
    _put(journal, 1, 5, batch(1, 5))
    with closing(Index(folder.index, folder.journal)) as index:
        index._db.set_authorizer(_refuse_to_end)
        for _ in range(2):
            with pytest.raises(sqlite3.Error):
                index.catch_up()
        index._db.set_authorizer(None)
        assert index.catch_up() == 1
    assert [record["seq"] for record in find(folder, Filter())] == [1, 2, 3, 4, 5]
    assert audit(folder, "elm-1").balanced


def test_commit_that_cannot_even_be_undone_is_never_acked(journal: Journal) -> None:
    _put(journal, 1, 5, batch(1, 5))
    journal._db.set_authorizer(_refuse_to_end)
    journal.append(Row(STREAM, 6, 5, 6, RowKind.FRAME, batch(6, 5), 1))
    with pytest.raises(HubError, match="cannot write"):
        journal.commit()
    with pytest.raises(HubError, match="cannot read"):
        journal.head(STREAM)  # it would see, and a Welcome tell, what was never committed
    journal._db.set_authorizer(None)
    assert journal.head(STREAM) == 5
    _put(journal, 6, 5, batch(6, 5))
    assert journal.head(STREAM) == 10
