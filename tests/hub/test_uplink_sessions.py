"""What version 2 and a fleet ask of the hub: versions, bundles, held times, rivals, work by what changed."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from backports import zstd
from hub_box import EPOCH, batch
from hypothesis import given
from hypothesis import strategies as st

from gateway.bundling import bundled
from gateway.clock import SystemClock
from gateway.disk import Disk
from gateway.hub.journal import COMMIT_AT_BYTES, Journal, read_rows
from gateway.hub.lifetimes import Lifetimes
from gateway.hub.rivals import SERIES
from gateway.hub.sessions import Peer, Reply, Sessions
from gateway.lane import LaneLog
from gateway.recover import LaneFormat
from gateway.segment import Payload
from gateway.session import Session
from gateway.wire import (
    Ack,
    Bundle,
    Frame,
    Hello,
    Message,
    Ping,
    Refusal,
    Welcome,
    pack_message,
    unpack_message,
)

PEER = Peer(b"rid", "key-1")
LIVE = {"key-1": "elm-1"} | {f"key of box-{n}": f"box-{n}" for n in range(500)}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield journal


def tell(sessions: Sessions, message: Message, now: float = 0.0, peer: Peer = PEER) -> list[Reply]:
    return sessions.receive(peer, pack_message(message), LIVE, now)


def hello(
    sessions: Sessions,
    protocols: tuple[int, int] = (1, 2),
    now: float = 0.0,
    peer: Peer = PEER,
    role: str = "B",
) -> Message:
    message = Hello(role, EPOCH, {}, (), protocols=protocols)
    ((_, answer),) = tell(sessions, message, now, peer)
    return answer


def welcome(
    sessions: Sessions, protocols: tuple[int, int] = (1, 2), now: float = 0.0, peer: Peer = PEER
) -> int:
    answer = hello(sessions, protocols, now, peer)
    assert isinstance(answer, Welcome)
    return answer.session


@pytest.mark.parametrize(
    ("hub", "box", "agreed"),
    [
        ((1, 2), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((1, 2), (1, 2), 2),
        ((1, 2), (2, 4), 2),
        ((2, 3), (1, 2), 2),
    ],
)
def test_the_newest_version_that_both_speak(
    journal: Journal, hub: tuple[int, int], box: tuple[int, int], agreed: int
) -> None:
    answer = hello(Sessions(journal, protocols=hub), box)
    assert isinstance(answer, Welcome)
    assert answer.protocol == agreed


@pytest.mark.parametrize(
    ("hub_speaks", "box_speaks", "kinds"),
    [
        ((1, 1), (1, 1), {Frame}),
        ((1, 1), (1, 2), {Frame}),
        ((1, 2), (1, 1), {Frame}),
        ((1, 2), (1, 2), {Bundle}),
        ((1, 2), (2, 4), {Bundle}),
    ],
)
def test_both_real_ends_pinned_to_versions(
    journal: Journal,
    tmp_path: Path,
    hub_speaks: tuple[int, int],
    box_speaks: tuple[int, int],
    kinds: set[type[Message]],
) -> None:
    forms = [LaneFormat(lane, EPOCH, 1 << 20, 4, lambda _: {}, lambda _: {}) for lane in range(4)]
    with ExitStack() as opened:
        logs = [opened.enter_context(closing(LaneLog(Disk(), tmp_path / str(f.lane), f))) for f in forms]
        log = logs[2]
        for first in range(1, 101, 10):
            log.append([Payload(10, batch(first, 10))])
        session = Session("B", logs, EPOCH, {}, SystemClock(), protocols=box_speaks)
        sessions = Sessions(journal, protocols=hub_speaks)
        sent: set[type[Message]] = set()
        for _, answer in tell(sessions, session.hello()):
            session.heard(unpack_message(pack_message(answer)))
        while log.acked < 100:
            for message in session.to_send():
                sent.add(type(message))
                assert tell(sessions, message) == []
            journal.commit()
            for _, ack in sessions.acks(0.0):
                session.heard(unpack_message(pack_message(ack)))
        assert sent == kinds
    assert sessions.counts["records"] == 100
    assert sessions.counts["duplicates"] == 0


@pytest.mark.parametrize(("hub", "box"), [((1, 2), (3, 4)), ((2, 3), (1, 1))])
def test_no_common_version_is_said_with_both_ranges(
    journal: Journal, hub: tuple[int, int], box: tuple[int, int]
) -> None:
    sessions = Sessions(journal, protocols=hub)
    answer = hello(sessions, box)
    assert isinstance(answer, Refusal)
    assert answer.code == "version"
    assert answer.retry_s >= 300
    for span in (hub, box):
        assert f"{span[0]} to {span[1]}" in answer.text
    assert sessions.online() == {}


def test_a_refused_version_leaves_the_older_session_alone(journal: Journal) -> None:
    sessions = Sessions(journal)
    welcome(sessions)
    assert isinstance(hello(sessions, (3, 4), peer=Peer(b"other", "key-1")), Refusal)
    assert sessions.online() == {"elm-1": "B"}


def a_bundle(session: int, frames: int = 3, first: int = 1) -> Bundle:
    parts = [Frame(session, 2, first + 10 * n, 10, batch(first + 10 * n, 10)) for n in range(frames)]
    bundle = bundled(parts)
    assert bundle is not None
    return bundle


def test_a_bundle_becomes_the_rows_that_its_frames_would(journal: Journal, tmp_path: Path) -> None:
    sessions = Sessions(journal)
    session = welcome(sessions)
    assert tell(sessions, a_bundle(session)) == []
    journal.commit()
    ((_, ack),) = sessions.acks(0.0)
    assert isinstance(ack, Ack)
    assert ack.acked == 30
    rows = [row for _, row in read_rows(journal._db, 0, 10)]
    assert [(row.first_seq, row.count) for row in rows] == [(1, 10), (11, 10), (21, 10)]
    assert [row.payload for row in rows] == [batch(n, 10) for n in (1, 11, 21)]


def test_a_repeated_bundle_gives_only_what_is_new(journal: Journal) -> None:
    sessions = Sessions(journal)
    session = welcome(sessions)
    tell(sessions, a_bundle(session))
    assert tell(sessions, a_bundle(session, frames=4)) == []
    journal.commit()
    assert sessions.counts["records"] == 40
    assert sessions.counts["duplicates"] == 30


def test_a_bundle_in_a_session_of_version_1_is_refused(journal: Journal) -> None:
    sessions = Sessions(journal)
    session = welcome(sessions, (1, 1))
    ((_, answer),) = tell(sessions, a_bundle(session))
    assert isinstance(answer, Refusal)
    assert answer.code == "version"
    assert journal.due_in(0.0) is None, "nothing was taken"


@pytest.mark.parametrize(
    ("lane", "first", "packed", "code"),
    [
        (2, 2, None, "sequence"),
        (0, 1, None, "wrong_lane"),
        (2, 1, zstd.compress(bytes(1 << 22)), "bad_bundle"),
    ],
)
def test_a_hostile_bundle_is_refused_by_name_and_leaves_nothing(
    journal: Journal, lane: int, first: int, packed: bytes | None, code: str
) -> None:
    sessions = Sessions(journal)
    good = a_bundle(welcome(sessions))
    ((_, answer),) = tell(sessions, Bundle(good.session, lane, first, good.parts, packed or good.packed))
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert sessions.counts[f"refused_{code}"] == 1
    assert journal.due_in(0.0) is None
    assert sessions.online() == {}


def test_an_ack_says_how_long_the_newest_was_held(journal: Journal) -> None:
    sessions = Sessions(journal)
    session = welcome(sessions)
    tell(sessions, Frame(session, 2, 1, 10, batch(1, 10)), now=5.0)
    tell(sessions, Frame(session, 2, 11, 10, batch(11, 10)), now=5.015)
    journal.commit()
    ((_, ack),) = sessions.acks(5.022)
    assert isinstance(ack, Ack)
    assert ack.held_us == 7000


def test_only_sessions_with_something_to_ack_are_looked_at(journal: Journal) -> None:
    sessions = Sessions(journal)
    numbers = {n: welcome(sessions, peer=Peer(b"%d" % n, f"key of box-{n}")) for n in range(500)}
    tell(sessions, Frame(numbers[7], 2, 1, 10, batch(1, 10)), peer=Peer(b"7", "key of box-7"))
    journal.commit()
    assert [rid for rid, _ in sessions.acks(0.0)] == [b"7"]
    assert sessions.acks(0.0) == []
    tell(sessions, Frame(numbers[8], 2, 1, 10, batch(1, 10)), peer=Peer(b"8", "key of box-8"))
    sessions.close(b"8")
    journal.commit()
    assert sessions.acks(0.0) == [], "nobody is there to be told"


def test_two_boxes_with_one_key_are_noticed_and_said_once(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(journal)
    with caplog.at_level(logging.WARNING):
        for turn in range(3 * SERIES):
            now = 10.0 * turn
            peer, other = Peer(b"%d" % turn, "key-1"), Peer(b"%d" % (turn - 1), "key-1")
            session = welcome(sessions, now=now, peer=peer)
            assert isinstance(session, int)
            if turn:
                ((_, answer),) = tell(sessions, Ping(1), now + 1, other)
                assert isinstance(answer, Refusal)
                assert answer.code == "no_session"
                assert answer.retry_s == 10.0
    assert sessions.counts["rivals"] == 3 * SERIES - 1
    assert [record.message for record in caplog.records if "elm-1" in record.getMessage()] != []
    assert len([record for record in caplog.records if "cloned" in record.getMessage()]) == 1


def test_a_box_that_reconnects_is_no_rival_of_itself(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(journal)
    for turn in range(3 * SERIES):
        welcome(sessions, now=float(turn), peer=Peer(b"%d" % turn, "key-1"))
    for late in range(3 * SERIES):
        tell(sessions, Ping(1), 30.0 + late, Peer(b"3", "key-1"))  # what a dead connection had still to say
    assert sessions.counts["rivals"] == 1
    assert sessions.counts["replaced"] == 3 * SERIES - 1
    assert not [record for record in caplog.records if "cloned" in record.getMessage()]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.floats(0, 100)),
            st.tuples(st.just("remove"), st.integers(0, 30)),
            st.tuples(st.just("put off"), st.integers(0, 30), st.floats(0, 50)),
            st.tuples(st.just("look"), st.floats(0, 30)),
        ),
        max_size=60,
    )
)
def test_no_session_is_looked_at_late_or_too_early(steps: list[tuple[object, ...]]) -> None:
    due: dict[int, float] = {}
    lifetimes: Lifetimes[int] = Lifetimes(lambda number: due[number])
    now, count = 0.0, 0
    for what, *values in steps:
        if what == "add":
            due[count] = now + float(str(values[0]))
            lifetimes.add(count, count)
            count += 1
        elif what == "remove" and values[0] in due:
            lifetimes.remove(int(str(values[0])))
            del due[int(str(values[0]))]
        elif what == "put off" and values[0] in due:
            due[int(str(values[0]))] += float(str(values[1]))
        elif what == "look":
            now += float(str(values[0]))
            ripe = set()
            for number in lifetimes.ripe(now):
                ripe.add(number)
                due[number] = now + 10.0
            assert all(at > now for at in due.values())
            assert len(ripe) <= len(due)
        earliest = lifetimes.next_due()
        assert (earliest is None) == (not due)
        if earliest is not None:
            assert earliest <= min(due.values()), "never later than needed"
    assert len(lifetimes._heap) <= 2 * len(due) + 65 + len(steps)


def test_boxes_that_come_and_go_leave_nothing_behind(journal: Journal) -> None:
    sessions = Sessions(journal)
    for turn in range(5000):
        welcome(sessions, now=turn / 1000, peer=Peer(b"%d" % turn, "key-1"))
    assert len(sessions._lifetimes._heap) < 100
    assert len(sessions._rivals._ended) <= 4096
    assert sessions.due(5.0) >= 5.0


def test_a_flood_shares_a_commit_and_an_alert_ends_it(journal: Journal) -> None:
    sessions = Sessions(journal)
    session = welcome(sessions)
    rows = 0
    while not journal.is_full:
        tell(sessions, Frame(session, 2, rows + 1, 1, bytes(30_000)))
        rows += 1
    assert COMMIT_AT_BYTES / 30_000 <= rows < COMMIT_AT_BYTES / 30_000 + 1
    assert journal.due_in(0.0) == 0.0
    journal.commit()
    assert not journal.is_full
    answer = hello(sessions, peer=Peer(b"urgent", "key-1"), role="U")
    assert isinstance(answer, Welcome)
    tell(sessions, Frame(answer.session, 0, 1, 1, batch(1, 1)), peer=Peer(b"urgent", "key-1"))
    assert journal.is_full
