"""From a record to what follows of it: rules and feeds between real workers, over their real sockets."""

import asyncio
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from line_drivers import Lamp, Number, NumberedLamp
from loops import in_loop, until
from plug import Plug
from stand_in import Core, sensor_plan

from gateway import neighbours
from gateway.commandsocket import CLIENTS_MAX
from gateway.errors import BadFrame
from gateway.neighbours import ASKS_MAX, Neighbours
from gateway.plan import FeedPlan, Plan, PortPlan, RulePlan
from gateway.reading import Kind
from gateway.sensor import Sensor
from gateway.worker import Worker

ON = {"target_port": 1, "target": 2, "command": "dim", "arguments": {"percent": 70.0}}
HIGH: dict[str, Any] = {"measure": "mark", "sign": ">", "level": 5.0, "back": 5.0, "rest_s": 1.0}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def two_ports(state: Path, *rules: RulePlan, feeds: tuple[FeedPlan, ...] = ()) -> Plan:
    """A number on port 0, a lamp on port 1."""
    number = sensor_plan(1, "river", Number, labels=("high", "higher"))
    ports = (
        PortPlan(0, f"serial:{state}/river", "serial", (number,), rules, feeds),
        PortPlan(1, f"serial:{state}/lamp", "serial", (sensor_plan(2, "lamp", Lamp),)),
    )
    return Plan("elm-st-0042", state, ports)


@asynccontextmanager
async def working(plan: Plan, *ports: int) -> AsyncIterator[list[Worker]]:
    stop = asyncio.Event()
    workers = [Worker(plan, plan.ports[n]) for n in ports]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(stop))
        await until(lambda: all(worker._opened_ns for worker in workers))
        yield workers
        stop.set()


async def heard(plug: Plug) -> bytes:
    await until(lambda: select.select([plug.fd], [], [], 0)[0])
    return plug.hears()


@in_loop
async def test_a_rule_tells_the_worker_of_another_port_and_what_came_of_it_is_a_result(state: Path) -> None:
    plan = two_ports(state, RulePlan("up", 1, **HIGH, **ON))
    river, lamp, core = Plug(state / "river"), Plug(state / "lamp"), Core(plan)
    async with working(plan, 0, 1) as (one, _):
        river.says(b"4\n6\n7\n")
        assert await heard(lamp) == b"dim 70.0\n"
        [result] = [
            r for r in await core.until(lambda _: bool(core.of(Kind.RESULT))) if r["kind"] == "result"
        ]
        await until(lambda: one._all_counters().get("deeds_done"))
    core.close()
    assert (result["sensor"], result["command"], result["ok"]) == ("lamp", "dim", True)
    assert result["who"] == ("worker", 1)
    assert one._all_counters()["due"] == 1


@in_loop
async def test_a_raised_event_is_recorded_and_other_rules_follow_from_it(state: Path) -> None:
    rules = (
        RulePlan("a", 1, **HIGH, label="high"),
        RulePlan("b", 1, event="high", rest_s=1.0, label="higher"),
        RulePlan("c", 1, event="higher", rest_s=1.0, **ON),
    )
    plan = two_ports(state, *rules)
    river, lamp, core = Plug(state / "river"), Plug(state / "lamp"), Core(plan)
    async with working(plan, 0, 1):
        river.says(b"6\n")
        assert await heard(lamp) == b"dim 70.0\n"
        await core.until(lambda _: len(core.of(Kind.EVENT)) == 2)
    core.close()
    assert [(e["sensor"], e["label"], e["lane"].name) for e in core.of(Kind.EVENT)] == [
        ("river", "high", "ALERT"),
        ("river", "higher", "ALERT"),
    ]


@in_loop
async def test_a_rule_that_has_just_done_something_rests_also_in_the_next_worker(state: Path) -> None:
    plan = two_ports(state, RulePlan("up", 1, **HIGH | {"rest_s": 3600.0}, label="high"))
    river, core = Plug(state / "river"), Core(plan)
    for life in (1, 2):
        async with working(plan, 0):
            river.says(b"6\n")
            await core.until(lambda _, life=life: len(core.of(Kind.READING)) == life)  # type: ignore[misc]
    assert len(core.of(Kind.EVENT)) == 1
    other = two_ports(state, RulePlan("up", 1, **HIGH | {"rest_s": 60.0}, label="high"))
    async with working(other, 0):
        river.says(b"6\n")
        await core.until(lambda _: len(core.of(Kind.EVENT)) == 2)
    core.close()


@in_loop
async def test_a_level_that_is_held_needs_no_further_reading(state: Path) -> None:
    plan = two_ports(state, RulePlan("held", 1, **HIGH, hold_s=0.1, label="high"))
    river, core = Plug(state / "river"), Core(plan)
    async with working(plan, 0):
        river.says(b"6\n")
        await core.until(lambda _: bool(core.of(Kind.EVENT)))
    core.close()
    [reading], [event] = core.of(Kind.READING), core.of(Kind.EVENT)
    assert 0.1 <= (event["t_ns"] - reading["t_ns"]) / 1e9 < 2


@pytest.mark.slow
@in_loop
async def test_a_deed_that_nobody_takes_is_counted_said_once_and_recorded_as_not_done(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(neighbours, "REACH_WITHIN_S", 0.05)
    plan = two_ports(state, RulePlan("each", 1, **HIGH | {"sign": "="}, **ON))
    river, core = Plug(state / "river"), Core(plan)
    async with working(plan, 0) as (one,):
        river.says(b"5\n")
        await core.until(lambda _: len(core.of(Kind.RESULT)) == 1)
        await asyncio.sleep(1)
        river.says(b"5\n")
        await core.until(lambda _: len(core.of(Kind.RESULT)) == 2)
    core.close()
    assert [(r["sensor"], r["command"], r["ok"]) for r in core.of(Kind.RESULT)] == [
        ("lamp", "dim", False)
    ] * 2
    assert one._all_counters()["deeds_failed"] == 2
    said = [r.getMessage() for r in caplog.records if "rule each" in r.getMessage()]
    why = "nothing serves port 1 at the moment (No such file or directory)"
    assert said == [f"rule each: could not have lamp do dim: {why}"]


@in_loop
async def test_a_worker_that_comes_back_in_time_gets_the_deed(state: Path) -> None:
    plan = two_ports(state, RulePlan("up", 1, **HIGH, **ON))
    river, lamp, core = Plug(state / "river"), Plug(state / "lamp"), Core(plan)
    async with working(plan, 0) as (one,):
        river.says(b"6\n")
        await until(lambda: one.counters["frames"] == 1)
        async with working(plan, 1):
            assert await heard(lamp) == b"dim 70.0\n"
            await until(lambda: one._all_counters().get("deeds_done"))
    core.close()


@in_loop
async def test_a_lamp_whose_port_is_gone_is_a_failed_deed_too(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = two_ports(state, RulePlan("up", 1, **HIGH, **ON))
    river, lamp, core = Plug(state / "river"), Plug(state / "lamp"), Core(plan)
    async with working(plan, 0, 1) as (one, other):
        lamp.pull()
        await until(lambda: other.counters["port_gone"])
        river.says(b"6\n")
        await core.until(lambda _: bool(core.of(Kind.RESULT)))
        await until(lambda: one._all_counters().get("deeds_failed"))
    core.close()
    [result] = core.of(Kind.RESULT)  # by the lamp's worker, and not once more by the rule's
    assert (result["who"], result["ok"]) == (("worker", 1), False)
    assert caplog.text.count("could not have lamp do dim: lamp did not get it") == 1


@in_loop
async def test_a_deed_on_the_rules_own_port_needs_no_socket(state: Path) -> None:
    rule = RulePlan("up", 1, **HIGH, **ON | {"target_port": 0, "target": 1})
    sensors = (sensor_plan(1, "river", NumberedLamp),)
    plan = Plan("elm-st-0042", state, (PortPlan(0, f"serial:{state}/river", "serial", sensors, (rule,)),))
    river, core = Plug(state / "river"), Core(plan)
    async with working(plan, 0):
        (state / "run" / "port-0.sock").unlink()
        river.says(b"6\n")
        assert await heard(river) == b"dim 70.0\n"
    core.close()


@in_loop
async def test_a_feed_reaches_every_sensor_of_the_other_port(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[Any] = []
    monkeypatch.setattr(Sensor, "on_feed", lambda self, *what: fed.append((self.name, *what)))
    plan = two_ports(state, feeds=(FeedPlan(1, "mark", 1, 2),))
    river, lamp, core = Plug(state / "river"), Plug(state / "lamp"), Core(plan)
    async with working(plan, 0, 1) as (one, other):
        river.says(b"4\n5.5\n")
        await until(lambda: len(fed) == 2)
        assert other._all_counters()["feeds"] == 2
        times = [r["t_ns"] for r in await core.until(lambda records: len(core.of(Kind.READING)) == 2)]
    core.close()
    lamp.pull()
    assert fed == [("lamp", t_ns, 1, "mark", value) for t_ns, value in zip(times, (4, 5.5), strict=True)]
    assert "feeds_lost" not in one._all_counters()


@in_loop
async def test_a_feed_to_nobody_is_lost_and_to_a_new_worker_it_comes_again(state: Path) -> None:
    (state / "run").mkdir(exist_ok=True)
    near = Neighbours(state / "run")
    assert not near.feed(1, 1, "mark", 4.0, 0)
    plan = two_ports(state, feeds=(FeedPlan(1, "mark", 1, 2),))
    lamp, core = Plug(state / "lamp"), Core(plan)
    for _ in range(2):  # the second time there is a connection to a worker that has ended
        async with working(plan, 1) as (other,):
            await until(lambda: near.feed(1, 1, "mark", 4.0, 0))
            await until(lambda other=other: other._all_counters().get("feeds"))
    core.close()
    lamp.pull()
    near.close()
    assert near.counters["feeds_lost"] >= 1


@in_loop
async def test_a_silent_client_holds_up_nobody_and_there_are_so_many_at_most(state: Path) -> None:
    plan = two_ports(state)
    lamp, core = Plug(state / "lamp"), Core(plan)
    async with working(plan, 1):
        silent = []
        for _ in range(CLIENTS_MAX - 1):
            silent.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            silent[-1].connect(str(state / "run" / "port-1.sock"))
        start_s = time.monotonic()
        near = Neighbours(state / "run")
        assert await near.ask(1, 2, "on", {}) == (True, "lamp: on sent")
        assert time.monotonic() - start_s < 1
        assert await near.ask(1, 2, "explode", {}) == (
            False,
            "write [sensor number, command, {argument: number}] with a sensor and a command of this port",
        )
        for client in silent:
            client.close()
    core.close()
    lamp.pull()


@in_loop
async def test_many_packets_on_one_connection_and_none_that_makes_no_sense(state: Path) -> None:
    plan = two_ports(state)
    lamp, core = Plug(state / "lamp"), Core(plan)
    async with working(plan, 1) as (other,):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.setblocking(False)
            client.connect(str(state / "run" / "port-1.sock"))
            loop = asyncio.get_running_loop()
            wrong: list[Any] = [
                *(["feed"], ["feed", 1, "level", "high", 0], ["feed", 1, "level", float("nan"), 0]),
                *(["feed", True, "level", 1.0, 0], ["feed", 1, 2, 3, 4], [2, "on", {}, "stranger"]),
                *([2, "on", {}, "hub", 5], {}, 7, [], [[], "on", {}], [2, "on", 5]),
            ]
            for request in wrong:
                client.send(msgpack.packb(request))
                done, _ = msgpack.unpackb(await loop.sock_recv(client, 4096))
                assert not done, request
            client.send(msgpack.packb([2, "on", {}, "hub"]))
            assert msgpack.unpackb(await loop.sock_recv(client, 4096)) == [True, "lamp: on sent"]
        assert other._all_counters()["refused_commands"] == len(wrong)
    core.close()
    lamp.pull()


@in_loop
async def test_no_more_commands_are_under_way_than_a_box_has_rules(state: Path) -> None:
    near = Neighbours(state / "run")
    asking = [asyncio.ensure_future(near.ask(1, 2, "on", {})) for _ in range(ASKS_MAX)]
    await asyncio.sleep(0)
    assert (await near.ask(1, 2, "on", {}))[0] is None
    assert near.counters["deeds_refused"] == 1
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)


@in_loop
async def test_a_command_that_a_driver_refuses_is_a_result_only_for_a_rule(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise BadFrame("not at night")

    monkeypatch.setattr(Lamp, "encode", refuse)
    plan = two_ports(state)
    lamp, core = Plug(state / "lamp"), Core(plan)
    near = Neighbours(state / "run")
    async with working(plan, 1):
        assert await near.ask(1, 2, "on", {}, by="person") == (False, "not at night")
        assert await near.ask(1, 2, "on", {}, by="rule") == (False, "not at night")
        await core.until(lambda _: bool(core.of(Kind.RESULT)))
    core.close()
    lamp.pull()
    assert [r["ok"] for r in core.of(Kind.RESULT)] == [False]


def test_a_worker_without_rules_loads_nothing_of_them() -> None:
    code = "import sys, gateway.worker; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"gateway.deeds", "gateway.rules", "gateway.neighbours"} & set(loaded)
