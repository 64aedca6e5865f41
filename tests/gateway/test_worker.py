"""A worker in this process, on real ptys and files, against a link server that plays core."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgpack
import pytest
from line_drivers import Beacon, Lamp, Number, Packets
from loops import in_loop, until
from plug import Plug
from stand_in import Core, one_port, sensor_plan
from working import capture, working

from gateway.capture import Received, read_capture, read_header
from gateway.errors import ConfigError
from gateway.plan import StagePlan
from gateway.progress import Progress
from gateway.reading import Kind, Lane
from gateway.worker import Worker

THROTTLE = StagePlan("gateway.stage:Throttle", {"every": "1 h"})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@in_loop
async def test_lines_become_readings_in_the_telemetry_lane(state: Path) -> None:
    plan = one_port(
        state, capture(state, r'0 < "1\n2"', r'1 < "2\n"'), "serial", sensor_plan(7, "well", Number)
    )
    core = Core(plan)
    async with working(plan):
        first, second = await core.until(lambda records: len(records) == 2)
    core.close()
    assert first["sensor"] == "well"
    assert first["lane"] is Lane.TELEMETRY
    assert first["who"] == ("worker", 0)
    assert (first["values"], second["values"]) == ({"mark": 1}, {"mark": 22})
    assert second["t_ns"] - first["t_ns"] == 10**9


@in_loop
async def test_readings_pass_the_stages_of_their_sensor(state: Path) -> None:
    lines = [f'{n} < "{n}\\n"' for n in range(5)] + [r'3700 < "9\n"']
    plan = one_port(state, capture(state, *lines), "serial", sensor_plan(1, "well", Number, THROTTLE))
    core = Core(plan)
    async with working(plan):
        records = await core.until(lambda records: len(records) == 2)
    core.close()
    assert [record["values"]["mark"] for record in records] == [0, 9]


@in_loop
async def test_advertisements_go_to_the_sensor_with_their_address(state: Path) -> None:
    beacons = [f"0 adv A4:C1:38:00:00:0{n} -60 fcd2=0{n}" for n in (1, 2, 3)]
    sensors = (
        sensor_plan(1, "yard", Beacon, address="a4:c1:38:00:00:03"),
        sensor_plan(2, "roof", Beacon, address="A4:C1:38:00:00:01"),
    )
    plan = one_port(state, capture(state, *beacons), "ble", *sensors)
    core = Core(plan)
    async with working(plan) as worker:
        records = await core.until(lambda records: len(records) == 2)
    core.close()
    assert {(record["sensor"], record["values"]["mark"]) for record in records} == {("roof", 1), ("yard", 3)}
    assert worker.counters["strangers"] == 1


@in_loop
async def test_bad_frames_are_counted_told_and_the_last_eight_kept(state: Path) -> None:
    lines = [f'{n} < "no {n}\\n"' for n in range(10)]
    plan = one_port(state, capture(state, *lines, r'11 < "5\n"'), "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 11)
        worker._tell(10**9)
        worker._tell(2 * 10**9)
        await core.until(lambda records: len(records) >= 2)
    core.close()
    [health] = core.of(Kind.HEALTH)
    assert (health["code"], health["count"], health["lane"]) == ("bad_frames", 10, Lane.STATE)
    with (state / "run" / "port-0.bad").open() as file:
        kept = [entry.what for entry in read_capture(file, "bad")]
    assert kept == [Received(b"no %d" % n) for n in range(2, 10)]
    with (state / "run" / "port-0.bad").open() as file:
        assert read_header(file, "bad")["driver"] == "number"


@in_loop
async def test_checksums_that_fail_in_the_framing_are_told_too(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(1, "packets", Packets))
    core = Core(plan)
    async with working(plan) as worker:
        await opened(worker)
        plug.says(bytes.fromhex("aa0102ff" + "aa070007"))
        await core.until(lambda records: len(records) >= 1)
        worker._tell(0)
        await core.until(lambda records: len(records) >= 2)
        worker._tell(10**15)
    core.close()
    plug.pull()
    assert [(health["code"], health["count"]) for health in core.of(Kind.HEALTH)] == [("bad_frames", 1)]


@in_loop
async def test_a_value_that_is_no_number_is_a_bad_frame(state: Path) -> None:
    url = capture(state, r'0 < "nan\n"', r'0 < "1e300\n"', r'0 < "4\n"')
    plan = one_port(state, url, "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await core.until(lambda records: any(record["kind"] == "reading" for record in records))
    core.close()
    assert worker.counters["bad_frames"] == 2


@pytest.mark.parametrize(("word", "error"), [("odd", TypeError), ("crash", ZeroDivisionError)])
def test_a_bug_in_a_driver_ends_the_worker_and_keeps_the_frame(
    state: Path, word: str, error: type[Exception]
) -> None:
    plan = one_port(
        state, capture(state, r'0 < "1\n"', f'1 < "{word}\\n"'), "serial", sensor_plan(1, "a", Number)
    )

    @in_loop
    async def run() -> None:
        core = Core(plan)
        try:
            await Worker(plan, plan.ports[0]).run(asyncio.Event())
        finally:
            core.close()
            assert [record["values"]["mark"] for record in core.of(Kind.READING)] == [1]

    with pytest.raises(ExceptionGroup) as caught:
        run()
    assert caught.group_contains(error)
    with (state / "run" / "port-0.bad").open() as file:
        assert [entry.what for entry in read_capture(file, "bad")] == [Received(word.encode())]


@in_loop
async def test_an_unplugged_sensor_is_gone_once_and_deaf_until_it_is_back(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    loop = asyncio.get_running_loop()
    async with working(plan) as worker:
        await opened(worker)
        plug.says(b"1\n99")
        await core.until(lambda records: len(records) == 1)
        plug.pull()
        await core.until(lambda records: len(records) == 2)
        await until(lambda: worker.counters["port_gone"] >= 2)
        pushed_s = loop.time()
        plug.push()
        await opened(worker)
        assert loop.time() - pushed_s < 2
        plug.says(b"2\n")
        records = await core.until(lambda records: len(records) == 4)
    core.close()
    plug.pull()
    kinds = [(record["kind"], record.get("code") or record["values"]["mark"]) for record in records]
    assert kinds[:2] == [("reading", 1), ("health", "port_gone")]
    assert set(kinds[2:]) == {("health", "deaf"), ("reading", 2)}
    deaf = next(record for record in records if record.get("code") == "deaf")
    assert deaf["for_s"] == pytest.approx((deaf["t_ns"] - records[0]["t_ns"]) / 1e9, abs=1e-5)


async def opened(worker: Worker) -> None:
    await until(lambda: worker._opened_ns is not None)


@in_loop
async def test_a_sensor_that_was_never_there_is_gone_but_not_deaf(state: Path) -> None:
    plug = Plug(state / "device")
    plug.pull()
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await core.until(lambda records: len(records) == 1)
        plug.push()
        await opened(worker)
        plug.says(b"2\n")
        records = await core.until(lambda records: len(records) == 2)
    core.close()
    plug.pull()
    assert [record["kind"] for record in records] == ["health", "reading"]


@in_loop
async def test_a_worker_started_again_tells_since_when_the_port_was_deaf(state: Path) -> None:
    url = capture(state, r'0 < "1\n"', r'1 < "2\n"')
    plan = one_port(state, url, "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan):
        before = list(await core.until(lambda records: len(records) == 2))
    lines = [r'7200 < "3\n"', r'7201 < "4\n"']
    plan = one_port(state, capture(state, *lines), "serial", sensor_plan(1, "well", Number))
    async with working(plan):
        await core.until(lambda records: len(records) == 5)
    core.close()
    [deaf] = core.of(Kind.HEALTH)
    assert deaf["code"] == "deaf"
    assert deaf["for_s"] == pytest.approx((deaf["t_ns"] - before[1]["t_ns"]) / 1e9, abs=1e-5)
    assert deaf["t_ns"] == core.of(Kind.READING)[2]["t_ns"]


@in_loop
async def test_progress_stays_behind_what_core_has_not_kept(state: Path, monkeypatch) -> None:
    monkeypatch.setattr("gateway.worker.FLUSH_S", 0.01)
    url = capture(state, r'5 < "1\n"', r'6 < "2\n"')
    plan = one_port(state, url, "serial", sensor_plan(1, "well", Number))
    core = Core(plan, keeps=False)
    async with working(plan) as worker:
        records = await core.until(lambda records: len(records) == 2)
    core.close()
    boot = bytes((state / "run" / "port-0.progress").read_bytes()[:8])
    progress = Progress(state / "run" / "port-0.progress", boot)
    assert progress.before_ns == records[0]["t_ns"]
    assert worker._heard_ns == records[1]["t_ns"]
    progress.close()


@in_loop
async def test_a_full_speed_replay_waits_for_core_and_drops_nothing(state: Path, monkeypatch) -> None:
    monkeypatch.setattr("gateway.link.HELD_MAX", (4, 4, 600, 4))
    log = state / "long.log"
    log.write_bytes(b"".join(b"%d\n" % n for n in range(2000)))
    plan = one_port(state, f"replay:{log}?speed=max", "serial", sensor_plan(1, "well", Number))
    async with working(plan) as worker:
        await until(lambda: worker._link.held > 512)
        core = Core(plan)
        records = await core.until(lambda records: len(records) == 2000)
    core.close()
    assert [record["values"]["mark"] for record in records] == list(range(2000))


@in_loop
async def test_what_core_was_too_long_away_for_is_dropped_counted_and_told(state: Path, monkeypatch) -> None:
    monkeypatch.setattr("gateway.link.HELD_MAX", (1, 1, 2, 1))
    plan = one_port(
        state, capture(state, *[f'{n} < "{n}\\n"' for n in range(5)]), "serial", sensor_plan(1, "a", Number)
    )
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 5)
        worker._tell_dropped()
        core = Core(plan)
        await core.until(lambda records: len(records) == 3)
        worker._tell_dropped()
    core.close()
    assert [record["values"]["mark"] for record in core.of(Kind.READING)] == [0, 1]
    [health] = core.of(Kind.HEALTH)
    assert (health["code"], health["count"]) == ("dropped", 3)


@pytest.mark.parametrize("stage", ["Broken", "Failing"])
def test_a_sensor_whose_model_cannot_run_goes_on_without_it(state: Path, stage: str) -> None:
    @in_loop
    async def run() -> None:
        url = capture(state, r'0 < "1\n"', r'1 < "2\n"', r'2 < "3\n"')
        model = StagePlan(f"model_stages:{stage}", {})
        plan = one_port(state, url, "serial", sensor_plan(1, "well", Number, model, THROTTLE))
        core = Core(plan)
        async with working(plan):
            await core.until(lambda records: len(records) == 2)
        core.close()
        assert [health["code"] for health in core.of(Kind.HEALTH)] == ["model_off"]
        assert len(core.of(Kind.READING)) == 1

    run()


@in_loop
async def test_commands_reach_the_device_and_leave_a_result(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(3, "lamp", Lamp))
    core = Core(plan)
    async with working(plan) as worker:
        await opened(worker)
        assert await ask(state, [3, "dim", {"percent": 40}]) == [True, "lamp: dim sent"]
        assert plug.hears() == b"dim 40.0\n"
        plug.pull()
        await core.until(lambda records: len(records) == 2)
        done, text = await ask(state, [3, "on", {}])
        assert not done
        assert "check the plug" in text
        await core.until(lambda records: len(records) == 3)
    core.close()
    results = core.of(Kind.RESULT)
    assert [(result["command"], result["ok"], result["lane"]) for result in results] == [
        ("dim", True, Lane.STATE),
        ("on", False, Lane.STATE),
    ]
    assert not (state / "run" / "port-0.sock").exists()


@in_loop
async def test_a_worker_leaves_the_command_socket_of_the_one_that_took_its_place(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(3, "lamp", Lamp))
    core = Core(plan)
    path = state / "run" / "port-0.sock"
    async with working(plan) as worker:
        await opened(worker)
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.bind(str(path))
    assert path.exists()
    core.close()
    plug.pull()


@in_loop
async def test_requests_that_make_no_sense_are_refused_in_words(state: Path) -> None:
    plug = Plug(state / "device")
    plan = one_port(state, f"serial:{plug.path}", "serial", sensor_plan(3, "lamp", Lamp))
    core = Core(plan)
    requests = {
        b"\xc1": "write [sensor number",
        msgpack.packb([4, "on", {}]): "sensor and a command of this port",
        msgpack.packb([3, "explode", {}]): "sensor and a command of this port",
        msgpack.packb([3, "on", 5]): "write [sensor number",
        msgpack.packb([3, "dim", {}]): "dim takes percent; it was given none",
        msgpack.packb([3, "on", {"percent": 1}]): "on takes no arguments; it was given percent",
        msgpack.packb([3, "dim", {"percent": 101}]): "between 0 and 100, not 101",
        msgpack.packb([3, "dim", {"percent": float("nan")}]): "between 0 and 100, not nan",
        msgpack.packb([3, "dim", {"percent": "full"}]): "between 0 and 100, not 'full'",
        msgpack.packb([3, "dim", {"percent": True}]): "between 0 and 100, not True",
    }
    async with working(plan) as worker:
        await opened(worker)
        for request, words in requests.items():
            done, text = await ask(state, request)
            assert not done
            assert words in text
    core.close()
    plug.pull()
    assert core.of(Kind.RESULT) == []
    assert worker._commands is not None
    assert worker._commands.counters["refused_commands"] == len(requests)


async def ask(state: Path, request: bytes | list[Any]) -> list[Any]:
    packet = request if isinstance(request, bytes) else msgpack.packb(request)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(state / "run" / "port-0.sock"))
        await loop.sock_sendall(client, packet)
        answer: list[Any] = msgpack.unpackb(await loop.sock_recv(client, 4096))
    return answer


def test_a_plan_that_does_not_fit_what_is_installed_is_a_config_error(state: Path) -> None:
    for factory, words in [
        ("no_such_module:Driver", "install it"),
        ("line_drivers:NoSuchDriver", "install it"),
        ("gateway.plan:Plan", "is no driver"),
    ]:
        sensor = sensor_plan(1, "well", Number)
        object.__setattr__(sensor, "factory", factory)
        plan = one_port(state, "replay:x", "serial", sensor)
        with pytest.raises(ConfigError, match=words):
            Worker(plan, plan.ports[0])
