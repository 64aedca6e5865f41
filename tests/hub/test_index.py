"""From journal to index: values, times put right, what cannot be read, rebuilding, the account."""

import json
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hub_box import BOOT, EPOCH, TABLE, TABLE_ID, WALL_NS, batch, reading
from hub_kit import enlist, free_endpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import ClockSource, ClockState
from gateway.errors import ConfigError, WireError
from gateway.hub.audit import Account, audit
from gateway.hub.folder import HubFolder, create
from gateway.hub.index import Index
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.query import Filter, find, parse_since, up_to_date
from gateway.hub.unpack import unpack_row
from gateway.plan import table_id
from gateway.reading import Kind
from gateway.records import pack_anchor

STREAM = ("elm-1", EPOCH, 2)


@pytest.fixture
def journal(folder: HubFolder) -> Iterator[Journal]:
    with closing(Journal(folder.journal)) as journal:
        journal.add_table(TABLE_ID, TABLE, "elm-1")
        yield journal


def _put(journal: Journal, first: int, payload: bytes, count: int, lane: int = 2, fresh: int = 0) -> None:
    stream = ("elm-1", EPOCH, lane)
    journal.append(Row(stream, first, count, fresh or first, RowKind.FRAME, payload, 1))
    journal.commit()


def _gap(journal: Journal, first: int, last: int) -> None:
    lost = json.dumps({"reason": "evicted", "counts": {"1": last - first + 1}}).encode()
    journal.append(Row(STREAM, first, last - first + 1, first, RowKind.GAP, lost, 1))
    journal.commit()


def _records(folder: HubFolder, **wanted: Any) -> list[dict[str, Any]]:
    up_to_date(folder)
    return list(find(folder, Filter(**wanted)))


def _rejected(folder: HubFolder) -> list[tuple[int, int, str]]:
    up_to_date(folder)
    with closing(Index(folder.index, folder.journal)) as index:
        return index._db.execute("SELECT first, count, reason FROM rejected ORDER BY first").fetchall()


def test_records_come_out_with_names_units_and_times(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    found = _records(folder)
    assert [(r["seq"], r["n"], r["sensor"], r["body"]["values"]) for r in found] == [
        (n, n, "air", {"pm2_5": pytest.approx(n / 10), "count": None}) for n in (1, 2, 3)
    ]
    assert found[0]["t_wall_ns"] == WALL_NS + 1_000_000
    assert found[0]["clock"] == "ntp"


def test_part_that_was_held_is_not_applied_again(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    _put(journal, 2, batch(2, 4), 4, fresh=4)
    assert [r["n"] for r in _records(folder)] == [1, 2, 3, 4, 5]
    assert audit(folder, "elm-1").balanced


def test_double_application_is_counted_not_hidden(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    up_to_date(folder)
    with closing(Index(folder.index, folder.journal)) as index:
        index._set_mark("cursor", 0)  # what a cursor outside the transaction would lead to
    account = audit(folder, "elm-1")
    assert account.applied_twice == 3
    assert not account.balanced


def test_a_commit_that_the_disk_refuses_skips_nothing(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    with closing(Index(folder.index, folder.journal)) as index:
        assert index.catch_up() == 1
        _put(journal, 4, batch(4, 3), 3)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))  # as if the disk were full
        try:
            with pytest.raises(sqlite3.OperationalError):
                index.catch_up()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert index.mark("cursor") == 1
        assert index.catch_up() == 1
    assert [r["seq"] for r in _records(folder)] == [1, 2, 3, 4, 5, 6]


def test_second_copy_of_a_record_under_another_number_unbalances(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    _put(journal, 4, batch(2, 2), 2)  # n = 2 and 3 again, as seq 4 and 5
    account = audit(folder, "elm-1")
    assert [lane.duplicates for lane in account.lanes] == [2]
    assert not account.balanced


def test_account_balances_with_gaps_and_not_without(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    _gap(journal, 4, 50)
    _put(journal, 51, batch(51, 2), 2)
    account = audit(folder, "elm-1")
    (lane,) = account.lanes
    assert (lane.highest, lane.received, lane.declared_gaps, lane.missing) == (52, 5, 47, 0)
    assert account.balanced
    with closing(Index(folder.index, folder.journal)) as index:
        index._db.execute("DELETE FROM gaps")
    assert audit(folder, "elm-1").lanes[0].missing == 47
    assert not audit(folder, "elm-1").balanced


def test_account_of_an_unknown_box_is_an_error_and_of_a_silent_one_is_empty(folder: HubFolder) -> None:
    with pytest.raises(ConfigError, match="no box 'elm-9' is known"):
        audit(folder, "elm-9")
    with closing(enlist(folder, "elm-1")):
        assert audit(folder, "elm-1") == Account("elm-1", (), 0, 0)


def test_index_is_rebuilt_from_the_journal_alone(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    _put(journal, 4, b"junk", 2)
    _put(journal, 6, batch(6, 3, clock=ClockSource.NONE), 3)
    before = _records(folder)
    for file in folder.path.glob("index.sqlite*"):
        file.unlink()
    assert _records(folder) == before
    assert len(before) == 6


def test_unreadable_batch_is_kept_aside_and_the_rest_goes_on(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, b"\xc1 no msgpack", 4)
    _put(journal, 5, batch(1, 3), 4)  # claims one record more than it has
    _put(journal, 9, batch(9, 2), 2)
    assert _rejected(folder) == [(1, 4, "bad_batch"), (5, 4, "record_count")]
    assert [r["seq"] for r in _records(folder)] == [9, 10]
    account = audit(folder, "elm-1")
    assert (account.lanes[0].unreadable, account.lanes[0].missing) == (8, 0)
    assert not account.balanced


@pytest.mark.parametrize(
    "fields",
    [
        [99, 1, 5],
        [Kind.READING, 7, 5],
        [Kind.READING, 1, "text"],
        [Kind.READING, 1, 5, "text"],  # a text times a whole resolution would be a text
        [Kind.READING, 1, [1, 2]],
        [Kind.HEALTH, 1, 1, None, b"bytes"],
        [Kind.GAP, 1],
        [Kind.ANCHOR, 0, BOOT, 2**63, 1, 1, 1],
        [Kind.ANCHOR, 0, b"short", 1, 1, 1, 1],
        [],
    ],
)
def test_one_bad_record_does_not_spoil_its_batch(
    folder: HubFolder, journal: Journal, fields: list[Any]
) -> None:
    items = [(1000, reading(1)), (2000, msgpack.packb(fields)), (3000, reading(3))]
    _put(journal, 1, batch(1, 3, items=items), 3)
    assert _rejected(folder) == [(2, 1, "bad_record")]
    assert [r["seq"] for r in _records(folder)] == [1, 3]


def test_records_wait_for_their_table(folder: HubFolder, journal: Journal) -> None:
    later = TABLE | {"box": "renamed"}
    _put(journal, 1, batch(1, 3, table=table_id(later)), 3)
    _put(journal, 4, batch(4, 2), 2)
    assert _rejected(folder) == [(1, 3, "unknown_table")]
    journal.add_table(table_id(later), later, "elm-1")
    assert sorted(r["seq"] for r in _records(folder)) == [1, 2, 3, 4, 5]
    assert _rejected(folder) == []
    assert audit(folder, "elm-1").balanced


@pytest.mark.parametrize("anchor_first", [False, True])
def test_anchor_puts_the_times_of_its_boot_right(
    folder: HubFolder, journal: Journal, anchor_first: bool
) -> None:
    state = ClockState(BOOT, 60 * 10**9, WALL_NS, ClockSource.GPS, 20)
    anchor = batch(1, 1, incarnation=8, items=[(60 * 10**9, pack_anchor(state))])
    unset = batch(1, 2, clock=ClockSource.NONE)  # read 1 ms and 2 ms after boot
    if anchor_first:
        _put(journal, 1, anchor, 1, lane=1)
        up_to_date(folder)
    _put(journal, 1, unset, 2)
    if not anchor_first:
        assert {r["clock"] for r in _records(folder, kind="reading")} == {"none"}
        _put(journal, 1, anchor, 1, lane=1)
    first, second = _records(folder, kind="reading")
    assert (first["t_wall_ns"], first["clock"]) == (WALL_NS - 60 * 10**9 + 1_000_000, "gps")
    assert second["t_wall_ns"] - first["t_wall_ns"] == 1_000_000
    assert 20 + 2900 <= first["clock_error_us"] <= 20 + 3000  # 50 ppm of a minute


@pytest.mark.parametrize("anchor_first", [False, True])
def test_better_anchor_wins_over_what_an_rtc_said(
    folder: HubFolder, journal: Journal, anchor_first: bool
) -> None:
    """A flat battery: the box said RTC, ten days behind, until the network told it the time."""
    said_ns = WALL_NS - 10 * 86_400 * 10**9
    by_rtc = ClockState(BOOT, 10**9, said_ns + 10**9, ClockSource.RTC, 60_000_000)
    by_ntp = ClockState(BOOT, 60 * 10**9, WALL_NS, ClockSource.NTP, 500)
    anchors = [(10**9, pack_anchor(by_rtc)), (60 * 10**9, pack_anchor(by_ntp))]
    if anchor_first:
        _put(journal, 1, batch(1, 2, incarnation=8, items=anchors), 2, lane=1)
    _put(journal, 1, batch(1, 2, clock=ClockSource.RTC), 2)
    _put(journal, 3, batch(3, 2, clock=ClockSource.NONE), 2)
    if not anchor_first:
        _put(journal, 1, batch(1, 1, incarnation=8, items=anchors[:1]), 1, lane=1)
        assert [r["clock"] for r in _records(folder, kind="reading")] == ["rtc"] * 4
        _put(journal, 2, batch(2, 1, incarnation=8, items=anchors[1:]), 1, lane=1)
    found = _records(folder, kind="reading")
    assert [(r["t_wall_ns"], r["clock"]) for r in found] == [
        (WALL_NS - 60 * 10**9 + n * 1_000_000, "ntp") for n in (1, 2, 3, 4)
    ]


def test_no_anchor_moves_what_a_good_clock_dated(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 2, clock=ClockSource.NTP), 2)
    before = _records(folder)
    wrong = ClockState(BOOT, 1, WALL_NS // 2, ClockSource.PPS, 1)
    _put(journal, 1, batch(1, 1, incarnation=8, items=[(1000, pack_anchor(wrong))]), 1, lane=1)
    assert _records(folder, kind="reading") == before


def test_anchor_of_another_boot_changes_nothing(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 2, clock=ClockSource.NONE), 2)
    state = ClockState(b"otherbut", 1, WALL_NS, ClockSource.GPS, 20)
    _put(journal, 1, batch(1, 1, incarnation=8, items=[(1000, pack_anchor(state))]), 1, lane=1)
    assert {r["clock"] for r in _records(folder, kind="reading")} == {"none"}


def test_query_looks_for_box_sensor_kind_and_time(folder: HubFolder, journal: Journal) -> None:
    _put(journal, 1, batch(1, 3), 3)
    assert len(_records(folder, box="elm-1", sensor="air", kind="reading", since_ns=WALL_NS)) == 3
    assert len(_records(folder, since_ns=WALL_NS + 2_000_000)) == 2
    assert _records(folder, box="elm-2") == []
    assert _records(folder, sensor="'; DROP TABLE records; --") == []


def _event(revision: int | None, event_id: bytes = b"12345678") -> bytes:
    more = [] if revision is None else [revision]
    return msgpack.packb([Kind.EVENT, 1, 0, event_id, 5, 900, 800, bytes(8), None, *more])


def test_of_an_event_said_again_the_newest_holds_and_all_are_kept(
    folder: HubFolder, journal: Journal
) -> None:
    said = [_event(0), _event(None, b"another1"), _event(2), _event(1)]
    _put(journal, 1, batch(1, 0, items=[(n, each) for n, each in enumerate(said)]), 4)
    newest = [(r["body"]["id"], r["body"].get("revision")) for r in _records(folder, kind="event")]
    assert newest == [(b"another1".hex(), None), (b"12345678".hex(), 2)]
    assert len(_records(folder, kind="event", revisions=True)) == 4
    assert len(_records(folder)) == 2


def test_since_is_an_age_or_a_moment() -> None:
    assert parse_since("2027-01-15T08:00:00Z") == 1_800_000_000 * 10**9
    assert parse_since("1 h") < parse_since("1 min")
    with pytest.raises(ConfigError, match="is no time"):
        parse_since("yesterday")


@given(st.one_of(st.binary(max_size=200), st.just(batch(1, 3))), st.integers(0, 300), st.integers(1, 255))
def test_no_payload_breaks_the_reader(payload: bytes, at: int, flip: int) -> None:
    bent = bytearray(payload)
    if bent:
        bent[at % len(bent)] ^= flip
    row = Row(STREAM, 1, 3, 1, RowKind.FRAME, bytes(bent), 1)
    try:
        unpacked = unpack_row(row, lambda _: TABLE)
    except WireError:
        return
    assert len(unpacked.records) + len(unpacked.rejected) == 3
    for record in unpacked.records:
        json.loads(record.body)


_value = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
)
_fields = st.lists(st.recursive(_value, lambda v: st.lists(v, max_size=4), max_leaves=8), max_size=9)


@pytest.mark.slow
@settings(max_examples=40)
@given(_fields, st.integers(-(2**63), 2**63))
def test_no_record_breaks_the_index(
    tmp_path_factory: pytest.TempPathFactory, rest: list[Any], offset_us: int
) -> None:
    folder = create(tmp_path_factory.mktemp("index") / "hub", free_endpoint(), None, "hub")
    with closing(Journal(folder.journal)) as journal:
        journal.add_table(TABLE_ID, TABLE, "elm-1")
        items = [
            (offset_us * 1000, msgpack.packb([kind, number, *rest])) for kind in range(8) for number in (0, 1)
        ]
        _put(journal, 1, batch(1, len(items), items=items), len(items))
        up_to_date(folder)
        lane = audit(folder, "elm-1").lanes[0]
        assert lane.received + lane.unreadable == len(items)


def test_folder_without_a_hub_says_how_to_make_one(tmp_path: Path) -> None:
    from gateway.hub.folder import open_folder

    with pytest.raises(ConfigError, match="gateway hub init"):
        open_folder(tmp_path)
