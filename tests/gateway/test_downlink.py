"""What a box does for its hub's owner, and for nobody else: judged, done once, answered."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from order_kit import BOX, HOUR_S, NOW_S, HandClock, Life, Owner, enrol, order_id

from gateway.clock import ClockSource
from gateway.disk import Disk
from gateway.downlink import Deeds, Downlink
from gateway.errors import WireError
from gateway.keys import enrolment_path
from gateway.ledger import ENTRIES_MAX, Entry, Ledger, Phase, ThrottleUntil
from gateway.order import ARGUMENTS, LIFE_MAX_S, Order, new_order, pack_order, unpack_order
from gateway.plan import Plan
from gateway.reading import BoxCommand, Outcome
from gateway.records import Item
from gateway.wire import COMMAND_MAX, Command

OWNER = Owner()
FOR_EVER = HOUR_S * 24 * 365


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    enrol(tmp_path, OWNER.public)
    return tmp_path


@pytest.fixture
def life(state: Path, clock: HandClock) -> Life:
    return Life(state, clock)


# --- orders as bytes ----------------------------------------------------------------------------------


@given(st.sampled_from(sorted(ARGUMENTS)), st.integers(0, 2**30), st.integers(1, 10**6))
def test_orders_round_trip(command: BoxCommand, number: int, life_s: int) -> None:
    order = new_order(BOX, command.name.lower(), dict.fromkeys(ARGUMENTS[command], number), life_s)
    assert unpack_order(pack_order(order)) == order
    assert order.command is command


_NUMBERS = st.integers(-(2**63), 2**64 - 1)


@given(st.binary(max_size=COMMAND_MAX + 1) | st.lists(_NUMBERS | st.text() | st.binary()).map(msgpack.packb))
def test_no_bytes_break_the_reader_of_orders(content: bytes) -> None:
    with pytest.raises(WireError) as caught:
        unpack_order(content)
    assert caught.value.reason in {"malformed", "too_long", "order_version"}


@pytest.mark.parametrize(
    ("at", "wrong"),
    [
        (0, 2), (0, "1"), (1, "Elm"), (1, b"elm-1"), (2, bytes(7)), (2, "idididid"),
        (3, 0), (3, 2**40), (3, 1.5), (3, True), (4, "rm -rf"), (4, b"ping"),
        (5, []), (5, {"a b": 1}), (5, {1: 1}), (5, {"a": 1.0}), (5, {"a": True}),
        (5, {"a": 2**53}), (5, {"a": [1]}), (5, {str(n): 1 for n in range(9)}),
    ],
)  # fmt: skip
def test_each_field_of_an_order_is_checked(at: int, wrong: object) -> None:
    good = msgpack.unpackb(pack_order(Order(BOX, order_id(1), NOW_S, "ping")))
    assert unpack_order(msgpack.packb([*good, "a later field"])).name == "ping"
    good[at] = wrong
    with pytest.raises(WireError):
        unpack_order(msgpack.packb(good))


def test_nested_deep_is_a_wire_error_and_not_the_end() -> None:
    for content in (b"\x91" * 1000 + b"\xc0", b"\x96\x01" + b"\x91" * 1000 + b"\xc0" * 5):
        with pytest.raises(WireError):
            unpack_order(content)


# --- who is obeyed ------------------------------------------------------------------------------------


def test_a_ping_is_answered(life: Life) -> None:
    assert life.obey(OWNER.order("ping")) == ["done"]
    (result,) = life.results
    what = {"kind": "result", "sensor": "box", "command": "ping"}
    assert result == what | {"id": order_id(1).hex(), "ok": True, "outcome": "done"}


@pytest.mark.parametrize("bit", [0, 100, 255, 256, 400, 511])
def test_one_wrong_bit_of_the_signature_is_a_stranger_and_gets_no_answer(life: Life, bit: int) -> None:
    good = OWNER.throttle()
    flipped = int.from_bytes(good.signature, "big") ^ 1 << bit
    assert life.obey(Command(1, flipped.to_bytes(64, "big"), good.content)) == []
    assert (life.rates, dict(life.counters)) == ([], {"order_signature": 1})


def test_every_wrong_bit_of_the_content_is_a_stranger(life: Life) -> None:
    good = OWNER.throttle()
    for bit in range(len(good.content) * 8):
        flipped = int.from_bytes(good.content, "big") ^ 1 << bit
        content = flipped.to_bytes(len(good.content), "big")
        assert life.obey(Command(1, good.signature, content)) == []
    assert (life.rates, set(life.counters)) == ([], {"order_signature"})


def test_a_signature_of_another_owner_or_over_the_bare_content_is_none(life: Life) -> None:
    good = OWNER.order("ping")
    bare = OWNER._key.sign(good.content)
    assert life.obey(Owner(b"x" * 32).order("ping"), Command(1, bare, good.content)) == []
    assert life.counters["order_signature"] == 2


def test_a_box_that_pinned_no_key_does_nothing_and_says_why(
    state: Path, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(state, "")
    life = Life(state, clock)
    assert life.obey(OWNER.throttle(1), OWNER.throttle(2)) == ["not_pinned"] * 2
    assert life.rates == []
    (said,) = caplog.messages
    assert "enrol it anew: gateway hub token --box elm-1" in said
    enrol(state, OWNER.public)
    assert life.obey(OWNER.throttle(3)) == ["done"], "no restart is needed"


def test_a_box_that_is_not_enrolled_counts_and_goes_on(life: Life, state: Path) -> None:
    enrolment_path(state).unlink()
    assert life.obey(OWNER.order("ping")) == []
    assert dict(life.counters) == {"order_unenrolled": 1}


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        (OWNER.order("ping", box="oak-7"), "other_box"),
        (OWNER.order("ping", not_after_s=NOW_S - 1), "expired"),
        (OWNER.order("ping", not_after_s=NOW_S + LIFE_MAX_S + 2 * HOUR_S), "too_long_lived"),
        (OWNER.order("shell"), "unknown_command"),
        (OWNER.order("ping", arguments={"count": 3}), "bad_arguments"),
        (OWNER.order("throttle"), "bad_arguments"),
        (OWNER.throttle(bytes_per_s=99), "bad_arguments"),
        (OWNER.throttle(for_s=LIFE_MAX_S + 1), "bad_arguments"),
        (OWNER.throttle(for_s=-1), "bad_arguments"),
        (OWNER.order("reload"), "no_site"),
    ],
)
def test_what_is_signed_and_cannot_be_done_is_answered_and_changes_nothing(
    life: Life, command: Command, outcome: str
) -> None:
    assert life.obey(command) == [outcome]
    assert life.obey(command) == [], "the same again at once gets no second answer"
    assert (life.rates, life.plans) == ([], [])
    assert life.counters[f"order_{outcome}"] == life.counters["not_answered_again"] == 1


_ORDERS = st.tuples(
    st.just(1),
    st.just(BOX) | st.text(),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**63),
    st.sampled_from(["ping", "throttle", "reload", "lamp", "flash", "auto"]) | st.text(),
    st.dictionaries(
        st.sampled_from(["bytes_per_s", "for_s", "table", "sensor", "level", "ramp_s"]) | st.text(), _NUMBERS
    ),
).map(msgpack.packb)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(content=st.binary(max_size=60) | _ORDERS)
def test_nothing_that_is_signed_breaks_the_downlink(life: Life, content: bytes) -> None:
    life.obey(OWNER.raw(content[:COMMAND_MAX]))


# --- clocks -------------------------------------------------------------------------------------------


def test_a_box_that_does_not_know_the_time_takes_a_ping_and_nothing_else(
    state: Path, clock: HandClock
) -> None:
    clock.boots(ClockSource.NONE)
    life = Life(state, clock)
    assert life.obey(OWNER.order("ping", 1, not_after_s=1), OWNER.throttle(2)) == ["done", "clock_unknown"]
    assert life.rates == []
    clock.boots(ClockSource.RTC)
    clock.passes(60)
    assert life.obey(OWNER.throttle(2)) == ["done"], "it was not begun, so it is done once the time is known"


def test_a_clock_that_is_set_back_brings_no_order_back(state: Path, clock: HandClock) -> None:
    life, recorded = Life(state, clock), OWNER.throttle(1)
    assert life.obey(recorded) == ["done"]
    clock.steps(2 * HOUR_S)
    assert life.obey(OWNER.order("ping", 2, not_after_s=NOW_S + 3 * HOUR_S)) == ["done"]
    clock.steps(-2 * HOUR_S)
    clock.passes(120)
    life = Life(state, clock)
    life.downlink.resume()
    assert life.obey(recorded) == ["expired"], "it was forgotten, and may have been done"
    assert order_id(1) not in life.downlink._book.entries


# --- once ---------------------------------------------------------------------------------------------


def test_a_replayed_order_is_not_done_again_not_even_by_a_later_core(state: Path, clock: HandClock) -> None:
    recorded = OWNER.throttle(for_s=60)
    life = Life(state, clock)
    assert life.obey(recorded, recorded) == ["done"]
    life.downlink._told([order_id(1)])
    clock.passes(61)
    life.downlink.end_throttle()
    assert life.obey(recorded) == ["done"], "what became of it, once a minute"
    later = Life(state, clock)
    later.downlink.resume()
    assert later.obey(recorded, recorded) == ["done"]
    assert (life.rates, later.rates) == ([500, None], [])
    assert later.counters["orders_again"] == 2


def test_a_result_that_was_not_on_the_disk_is_told_by_the_next_core(state: Path, clock: HandClock) -> None:
    assert Life(state, clock).obey(OWNER.order("ping", 1), OWNER.order("ping", 2)) == ["done"] * 2
    second = Life(state, clock)
    second.downlink.resume()
    assert [result["id"] for result in second.results] == [order_id(1).hex(), order_id(2).hex()]
    second.downlink._told([order_id(1), order_id(99)])
    third = Life(state, clock)
    third.downlink.resume()
    assert [result["id"] for result in third.results] == [order_id(2).hex()]


def test_the_ledger_is_bounded_and_what_expired_makes_room(life: Life, clock: HandClock) -> None:
    for number in range(ENTRIES_MAX):
        assert life.obey(OWNER.order("ping", number)) == ["done"]
    assert life.obey(OWNER.throttle(1000)) == ["too_many"]
    assert life.rates == []
    clock.passes(HOUR_S + 1)
    assert life.obey(OWNER.order("ping", 1001, not_after_s=NOW_S + 2 * HOUR_S)) == ["done"]
    assert len(life.downlink._book.entries) == 1


def test_the_largest_ledger_fits_its_page(tmp_path: Path) -> None:
    disk = Disk()
    ledger = Ledger(disk, tmp_path / "orders")
    last = ThrottleUntil(10**8, LIFE_MAX_S, 2**40, bytes(8), 2**40)
    for number in range(ENTRIES_MAX):
        order = (b"\xff" + number.to_bytes(7, "big"), 2**40 - 1, BoxCommand.RELOAD)
        entry = Entry(*order, Phase.TOLD, Outcome.NOT_PINNED, bytes(8))
        ledger.begin(entry, 0, last)
    again = Ledger(disk, tmp_path / "orders")
    assert (again.entries, again.throttle) == (ledger.entries, last)
    assert len(again.entries) == ENTRIES_MAX


class _FullDisk(Disk):
    full = False

    def write(self, fd: int, content: bytes, at: int) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(fd, content, at)


def test_what_cannot_be_noted_down_is_not_done(state: Path, clock: HandClock) -> None:
    disk = _FullDisk()
    life = Life(state, clock, disk=disk)
    disk.full = True
    assert life.obey(OWNER.throttle(1)) == ["not_noted"]
    assert life.rates == []
    assert life.counters["disk_errors"] == 1
    disk.full = False
    assert life.obey(OWNER.throttle(2)) == ["done"]


# --- the throttle -------------------------------------------------------------------------------------


def test_a_throttle_ends_by_itself_and_another_takes_its_place(life: Life, clock: HandClock) -> None:
    life.obey(OWNER.throttle(1, 500, 600))
    assert life.downlink._throttle_left_s() == 600
    clock.passes(100)
    life.obey(OWNER.throttle(2, 900, 50))
    clock.steps(-HOUR_S)
    assert life.downlink._throttle_left_s() == 50, "a clock that is set changes nothing"
    clock.passes(60)
    assert life.downlink._throttle_left_s() == 0
    life.downlink.end_throttle()
    assert (life.downlink._throttle_left_s(), life.rates) == (None, [500, 900, None])


def test_a_throttle_for_0_s_lifts_the_one_that_holds(life: Life) -> None:
    assert life.obey(OWNER.throttle(1), OWNER.throttle(2, for_s=0)) == ["done"] * 2
    assert life.rates == [500, None]
    assert life.downlink._throttle_left_s() is None


@pytest.mark.parametrize(
    ("between", "left_s"),
    [
        (lambda clock: clock.passes(100), 500),
        (lambda clock: (clock.passes(100), clock.steps(-HOUR_S)), 500),
        (lambda clock: clock.passes(700), None),
        (lambda clock: clock.boots(off_s=100), 500),
        (lambda clock: clock.boots(off_s=700), None),
        (lambda clock: clock.boots(off_s=-FOR_EVER), 600),
        (lambda clock: clock.boots(ClockSource.NONE, off_s=-FOR_EVER), 590),
    ],
    ids=[
        "core died",
        "clock was set",
        "core was away",
        "box started anew",
        "box was off",
        "boot in the past",
        "clock unknown",
    ],
)
def test_a_throttle_holds_on_for_what_is_left_of_it(
    state: Path, clock: HandClock, between: Callable[[HandClock], object], left_s: float | None
) -> None:
    Life(state, clock).obey(OWNER.throttle(1, 500, 600))
    between(clock)
    life = Life(state, clock)
    life.downlink.resume()
    assert (life.downlink._throttle_left_s(), life.rates) == (left_s, [None if left_s is None else 500])


# --- with its thread ----------------------------------------------------------------------------------


def test_orders_are_obeyed_in_a_thread_that_is_there_from_the_first_on(state: Path, clock: HandClock) -> None:
    told = threading.Semaphore(0)
    threads: set[str] = set()

    def put_result(told_id: bytes, item: Item) -> None:
        threads.add(threading.current_thread().name)
        told.release()

    downlink = Downlink(Plan(BOX, state, ()), None, clock, Deeds(put_result, lambda _: None, lambda _: None))
    downlink.start()
    assert downlink._thread is None, "nothing was ever ordered"
    downlink.take(OWNER.order("ping", 1))
    downlink.take(OWNER.order("ping", 2))
    assert told.acquire(timeout=10)
    assert told.acquire(timeout=10)
    assert threads == {"downlink"}


def test_a_core_without_orders_does_without_cryptography(tmp_path: Path) -> None:
    code = "import gateway.core, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gateway.downlink" in done.stdout
    assert "cryptography" not in done.stdout
