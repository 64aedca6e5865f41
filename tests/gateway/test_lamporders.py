"""Lamps from afar: the orders as bytes, which lamp they mean, and what becomes of them at its worker."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from order_kit import BOX, HandClock, Life, Owner, enrol, order_id

from gateway import lamporders
from gateway.askworker import OVERRULED
from gateway.clock import ClockSource
from gateway.ledger import Phase
from gateway.order import ARGUMENTS, Order, pack_order, table_number, unpack_order
from gateway.plan import Plan, PortPlan, SensorPlan
from gateway.reading import BoxCommand

OWNER = Owner()
COMMANDS = ("on", "off", "dim", "flash", "auto")


def plan_of(state: Path, name: str = "street-lamp") -> Plan:
    air = SensorPlan(1, "air", "sds011", "x:X", {}, (), (), (), ())
    lamp = SensorPlan(2, name, "relay-lamp", "x:X", {}, (), (), COMMANDS, ())
    return Plan(
        BOX, state, (PortPlan(0, "serial:a", "serial", (air,)), PortPlan(1, "serial:b", "serial", (lamp,)))
    )


class FakeWorker:
    """The command socket of port 1: keeps what it was asked, and answers what it is told to, if anything."""

    def __init__(self, state: Path) -> None:
        (state / "run").mkdir()
        self.asked: list[Any] = []
        self.answer: list[Any] | None = [True, "street-lamp: dim to 40 % for 600 s"]
        self._clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(state / "run" / "port-1.sock"))
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            self.asked.append(msgpack.unpackb(client.recv(4096)))
            if self.answer is not None:
                client.send(msgpack.packb(self.answer))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listener, *self._clients):
            each.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    enrol(tmp_path, OWNER.public)
    return tmp_path


@pytest.fixture
def worker(state: Path) -> Iterator[FakeWorker]:
    fake = FakeWorker(state)
    yield fake
    fake.close()


@pytest.fixture
def life(state: Path) -> Life:
    return Life(state, HandClock(), plan=plan_of(state))


def numbers(life_plan: Plan, sensor: int = 2, **more: int) -> dict[str, int]:
    return {"table": table_number(life_plan.table_id()), "sensor": sensor, **more}


LAMP = {"level": 40, "ramp_s": 0, "for_s": 600}


def test_the_bytes_of_lamp_orders_stay_as_they_are() -> None:
    table = table_number(bytes.fromhex("0123456789abcdef"))
    asked = {"table": table, "sensor": 2, "level": 40, "ramp_s": 5, "for_s": 600}
    content = bytes.fromhex(
        "9601a5656c6d2d31c4080000000000000001ce6b49d200a46c616d7085a57461626c65cf00000123456789ab"
        "a673656e736f7202a56c6576656c28a672616d705f7305a5666f725f73cd0258"
    )
    order = Order("elm-1", order_id(1), 1_800_000_000, "lamp", asked)
    assert pack_order(order) == content
    assert unpack_order(content) == order
    assert (order.command, order.wrong_arguments()) == (BoxCommand.LAMP, "")
    assert [int(each) for each in (BoxCommand.LAMP, BoxCommand.FLASH, BoxCommand.AUTO)] == [4, 5, 6]


def test_an_order_of_the_largest_numbers_fits() -> None:
    for command, bounds in ARGUMENTS.items():
        order = Order(
            "a" * 32, bytes(8), 2**40 - 1, command.name.lower(), {k: most for k, (_, most) in bounds.items()}
        )
        assert order.wrong_arguments() == ""
        assert unpack_order(pack_order(order)) == order


@pytest.mark.parametrize(
    ("name", "more", "asked"),
    [
        ("lamp", LAMP, [2, "dim", {"level": 40, "for_s": 600}, "hub"]),
        ("lamp", LAMP | {"ramp_s": 5}, [2, "dim", {"level": 40, "ramp_s": 5, "for_s": 600}, "hub"]),
        ("flash", {"period_s": 2, "for_s": 60}, [2, "flash", {"period_s": 2, "for_s": 60}, "hub"]),
        ("auto", {}, [2, "auto", {}, "hub"]),
    ],
)
def test_an_order_becomes_the_hubs_wish_at_the_lamps_worker_once(
    life: Life, state: Path, worker: FakeWorker, name: str, more: dict[str, int], asked: list[Any]
) -> None:
    order = OWNER.order(name, 1, numbers(plan_of(state), **more))
    assert life.obey(order, order) == ["done"]
    assert worker.asked == [asked]
    assert life.results[0]["command"] == name
    later = Life(state, HandClock(), plan=plan_of(state))
    later.downlink.resume()
    assert (later.obey(order), worker.asked) == ([], [asked]), "told by the next core, done by none"


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"sensor": 1}, "bad_arguments"),
        ({"sensor": 3}, "bad_arguments"),
        ({"table": 5}, "other_table"),
        ({"table": 2**48}, "bad_arguments"),
        ({"level": 101}, "bad_arguments"),
        ({"for_s": 0}, "bad_arguments"),
        ({"for_s": 604_801}, "bad_arguments"),
        ({"extra": 1}, "bad_arguments"),
    ],
)
def test_what_does_not_fit_is_refused_and_asks_nobody(
    life: Life, state: Path, worker: FakeWorker, change: dict[str, int], outcome: str
) -> None:
    assert life.obey(OWNER.order("lamp", 1, numbers(plan_of(state), **LAMP) | change)) == [outcome]
    assert (worker.asked, life.downlink._book.entries) == ([], {})


def test_a_number_never_means_another_lamp_than_when_it_was_signed(state: Path, worker: FakeWorker) -> None:
    order = OWNER.order("lamp", 1, numbers(plan_of(state), **LAMP))
    life = Life(state, HandClock(), plan=plan_of(state, name="stage-light"))
    assert (life.obey(order), worker.asked) == (["other_table"], [])


def test_a_box_that_does_not_know_the_time_switches_no_lamp_from_afar(
    state: Path, worker: FakeWorker
) -> None:
    clock = HandClock()
    clock.boots(ClockSource.NONE)
    life = Life(state, clock, plan=plan_of(state))
    assert life.obey(OWNER.order("auto", 1, numbers(plan_of(state)))) == ["clock_unknown"]
    assert worker.asked == []


def test_what_the_lamp_did_not_get_has_failed_and_the_log_says_why(
    life: Life, state: Path, worker: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.answer = [False, "street-lamp did not get it, and gets it when it can: unplugged"]
    assert life.obey(OWNER.order("auto", 1, numbers(plan_of(state)))) == ["failed"]
    assert "the hub's auto for street-lamp: street-lamp did not get it" in caplog.text


def test_what_somebody_at_the_pole_overrules_is_not_said_to_be_done(
    life: Life, state: Path, worker: FakeWorker
) -> None:
    worker.answer = [OVERRULED, "street-lamp: on is noted; a person's wish comes first"]
    assert life.obey(OWNER.order("lamp", 1, numbers(plan_of(state), **LAMP))) == ["overruled"]


def test_without_a_worker_it_has_failed_and_a_core_that_died_meanwhile_says_interrupted(
    life: Life, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert life.obey(OWNER.order("auto", 1, numbers(plan_of(state)))) == ["failed"]

    def dies(*_: object) -> None:
        assert life.downlink._book.entries[order_id(2)].phase is Phase.BEGUN, "noted before it is begun"
        raise KeyboardInterrupt

    monkeypatch.setattr(lamporders, "ask", dies)
    with pytest.raises(KeyboardInterrupt):
        life.obey(OWNER.order("auto", 2, numbers(plan_of(state))))
    later = Life(state, HandClock(), plan=plan_of(state))
    later.downlink.resume()
    assert {r["id"]: r["outcome"] for r in later.results}[order_id(2).hex()] == "interrupted"


def test_a_worker_that_hangs_holds_an_order_no_longer_than_its_deadline(
    life: Life, state: Path, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.answer = None
    monkeypatch.setattr(lamporders, "DEADLINE_S", 0.1)
    begun_s = time.monotonic()
    assert life.obey(OWNER.order("auto", 1, numbers(plan_of(state)))) == ["failed"]
    assert time.monotonic() - begun_s < 2
