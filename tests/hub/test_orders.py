"""Commands to boxes on the hub: given by a person, kept, sent to who is here, answered by records."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hub_box import EPOCH, TABLE, TABLE_ID, Box, batch
from hub_kit import enlist, running

from gateway.cli import main
from gateway.hub.folder import HubFolder
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.lines import Lines
from gateway.hub.orders import OPEN_MAX, Orders
from gateway.hub.query import Filter, find, up_to_date
from gateway.hub.registry import Registry
from gateway.hub.run import RunningHub
from gateway.order import Order, signed, unpack_order
from gateway.reading import BoxCommand, Outcome
from gateway.records import pack_outcome
from gateway.wire import Command, Hello, Welcome

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: HubFolder) -> Say:
    """Run `gateway hub WORDS`; status, what it printed, what it complained."""
    monkeypatch.setenv("GATEWAY_HUB", str(folder.path))

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["hub", *words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def orders(folder: HubFolder) -> Iterator[Orders]:
    Registry(folder.registry).close()
    with closing(Orders(folder.registry, folder.index)) as orders:
        yield orders


def hello(box: Box, role: str = "U", newest: int = 2) -> None:
    """Connect, and begin a session of this version."""
    box.connect()
    box.send(Hello(role, box.epoch, {}, (), "", (1, newest)))
    answer = box.receive()
    assert isinstance(answer, Welcome)
    box.session = answer.session


def command_of(box: Box) -> Order:
    """The next order that comes, as its box would read it."""
    message = box.receive()
    assert isinstance(message, Command), message
    assert message.session == box.session
    return unpack_order(message.content)


def result(order_id: bytes, outcome: Outcome, command: BoxCommand = BoxCommand.PING) -> bytes:
    return batch(1, 1, items=[(7_200 * 10**9, pack_outcome(command, order_id, outcome))])


def journalled(folder: HubFolder, *results: bytes) -> None:
    """As if a box had sent these; the index has them."""
    with closing(Journal(folder.journal)) as journal:
        journal.add_table(TABLE_ID, TABLE, "elm-1")
        for n, payload in enumerate(results, start=1):
            journal.append(Row(("elm-1", EPOCH, 1), n, 1, n, RowKind.FRAME, payload, n * 10**9))
        journal.commit()
    assert up_to_date(folder) == 0


# --- as people type it --------------------------------------------------------------------------------


def test_a_command_is_signed_kept_and_listed(say: Say, folder: HubFolder, box: Box, orders: Orders) -> None:
    status, out, _ = say("command", "elm-1", "throttle", "--bytes-per-s", "500", "--for", "10 min")
    assert status == 0
    assert "throttle bytes_per_s=500 for_s=600: waiting (no hub runs in" in out
    (entry,) = orders.open("elm-1")
    order = unpack_order(entry.content)
    assert (order.box, order.id, order.name) == ("elm-1", entry.id, "throttle")
    assert 3590 < order.not_after_s - time.time() <= 3600
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(folder.keys().sign_public))
    key.verify(entry.signature, signed(entry.content))
    assert say("commands")[1] == out.partition(" (")[0] + "\n"
    plain = json.loads(say("commands", "--json", "--box", "elm-1")[1])
    assert (plain["id"], plain["state"], plain["sent_ns"]) == (entry.id.hex(), "waiting", None)
    assert say("commands", "--box", "oak-7")[1].startswith("no commands yet")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("elm-1", "pnig"), "did you mean 'ping'"),
        (("elm-1", "shell"), "shell"),
        (("oak-7", "ping"), "no box 'oak-7'"),
        (("elm-1", "ping", "--for", "10 min"), "ping takes no --for"),
        (("elm-1", "throttle", "--bytes-per-s", "500"), "throttle needs --for"),
        (("elm-1", "throttle"), "throttle needs --bytes-per-s and --for"),
        (("elm-1", "throttle", "--bytes-per-s", "500", "--for", "169 h"), "--for must lie in 0 s..168 h"),
        (
            ("elm-1", "throttle", "--bytes-per-s", "5", "--for", "10 min"),
            "--bytes-per-s must lie in 100..100000000",
        ),
        (("elm-1", "throttle", "--bytes-per-s", "500", "--for", "soon"), "--for: 'soon' is no duration"),
        (("elm-1", "ping", "--expires", "169 h"), "--expires must lie in 1 s..168 h"),
        (("elm-1", "ping", "--expires", "0 s"), "--expires must lie in"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_kept(
    say: Say, box: Box, orders: Orders, words: tuple[str, ...], complaint: str
) -> None:
    status, out, err = say("command", *words)
    assert (status, out) == (1, "")
    assert complaint in err
    assert orders.all() == []


def test_a_revoked_box_gets_no_command(say: Say, box: Box, folder: HubFolder) -> None:
    say("revoke", "elm-1")
    status, _, err = say("command", "elm-1", "ping")
    assert (status, "no box 'elm-1' may connect" in err) == (1, True)


def test_open_commands_of_a_box_are_bounded_and_an_answer_makes_room(
    say: Say, box: Box, folder: HubFolder, orders: Orders
) -> None:
    for _ in range(OPEN_MAX):
        assert say("command", "elm-1", "ping")[0] == 0
    status, _, err = say("command", "elm-1", "ping")
    assert (status, f"has {OPEN_MAX} commands to answer" in err) == (1, True)
    journalled(folder, result(orders.open("elm-1")[0].id, Outcome.DONE))
    assert say("command", "elm-1", "ping")[0] == 0


def test_results_are_found_shown_and_the_first_one_counts(
    say: Say, box: Box, folder: HubFolder, orders: Orders
) -> None:
    for name in ("ping", "reload"):
        say("command", "elm-1", name)
    ping, reload = (entry.id for entry in orders.open("elm-1"))
    wrong = result(reload, Outcome.SITE_WRONG, BoxCommand.RELOAD)
    stranger = result(b"notoursX", Outcome.DONE)
    journalled(folder, result(ping, Outcome.DONE), wrong, result(ping, Outcome.INTERRUPTED), stranger)
    lines = say("commands")[1].splitlines()
    assert lines[0].endswith("ping: done, up for 2.0 h")
    assert "reload: site wrong (the site file has errors, the old plan goes on" in lines[1]
    assert orders.open("elm-1") == []
    assert orders.open_boxes() == set()
    folder.index.unlink()
    assert [entry.outcome for entry in orders.all()] == ["done", "site_wrong"], "kept without the index"


def test_a_result_whose_id_is_no_id_stops_nobody(
    say: Say, box: Box, folder: HubFolder, orders: Orders
) -> None:
    say("command", "elm-1", "ping")
    (ping,) = orders.open("elm-1")
    lie = msgpack.packb([6, 0, BoxCommand.PING, 1.5, True, Outcome.DONE])  # a float has .hex() too
    journalled(folder, batch(1, 1, items=[(0, lie)]), result(ping.id, Outcome.DONE))
    assert [entry.outcome for entry in orders.all()] == ["done"]


def test_a_result_is_a_line_and_a_newer_boxs_is_not_lost(folder: HubFolder) -> None:
    newer = msgpack.packb([6, 0, BoxCommand.RELOAD, b"idididid", False, 99, 1])  # an outcome, and a field
    journalled(folder, result(b"idididid", Outcome.CLOCK_UNKNOWN), batch(1, 1, items=[(0, newer)]))
    lines = [Lines(folder.journal).line(record) for record in find(folder, Filter(kind="result"))]
    assert sorted(line.rpartition("  ")[2] for line in lines) == ["ping: clock unknown", "reload: outcome 99"]


# --- on the wire --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_goes_at_once_to_a_box_that_is_here_and_the_wait_ends_with_its_answer(
    say: Say, box: Box, hub: RunningHub
) -> None:
    hello(box)
    said: list[tuple[int, str, str]] = []
    person = threading.Thread(
        target=lambda: said.append(say("command", "elm-1", "ping", "--wait")), daemon=True
    )
    person.start()
    order = command_of(box)
    assert (order.box, order.name) == ("elm-1", "ping")
    answer = batch(
        1, 1, table=TABLE_ID, items=[(60 * 10**9, pack_outcome(BoxCommand.PING, order.id, Outcome.DONE))]
    )
    hub._server._journal.add_table(TABLE_ID, TABLE, "elm-1")
    box.frame(1, 1, lane=1, payload=answer)
    assert box.acked(1, lane=1) == 1
    person.join(20)
    ((status, out, _),) = said
    assert status == 0
    assert out.endswith("ping: done, up for 0.0 h\n")


@pytest.mark.slow
def test_an_unanswered_command_goes_once_on_each_session_until_it_expires(
    say: Say, box: Box, folder: HubFolder
) -> None:
    say("command", "elm-1", "reload")
    say("command", "elm-1", "ping")
    with running(folder):
        hello(box)
        first, second = command_of(box), command_of(box)
        assert (first.name, second.name) == ("reload", "ping")
        say("command", "elm-1", "ping")
        assert command_of(box).name == "ping", "the new one alone: the others went over this session"
        assert "sent" in say("commands")[1]
    with closing(sqlite3.connect(folder.registry)) as db, db:
        db.execute("UPDATE orders SET not_after_s = ? WHERE id = ?", (int(time.time()) - 1, second.id))
    with running(folder):
        hello(box)
        assert command_of(box) == first
        third = command_of(box)
        assert third.id not in {first.id, second.id}
        assert box.receive(200) is None
        hello(box)
        assert [command_of(box), command_of(box)] == [first, third], "a new session of the same hub"
    assert "ping: expired" in say("commands")[1]


@pytest.mark.slow
def test_who_gets_no_command(say: Say, box: Box, folder: HubFolder) -> None:
    bulk = Box(box.keys, folder.endpoint, folder.keys().curve_public)
    with running(folder), closing(enlist(folder, "oak-7")) as neighbour, closing(bulk):
        hello(box, newest=1)  # speaks no version that knows of commands
        hello(neighbour)
        hello(bulk, "B")
        say("command", "elm-1", "ping")
        for each in (box, neighbour, bulk):
            assert each.receive(300) is None
        hello(box)
        assert command_of(box).name == "ping"
