"""A lamp in its worker: commands, schedule, what outlives the worker, what is told of it. On virtual time."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path

import pytest
from lamp_post import Dimmer, Post, Switch
from virtualtime import run

from gateway.askworker import OVERRULED
from gateway.clock import ClockSource
from gateway.lightplan import LightingPlan, Moment, ProofPlan

NIGHT = LightingPlan(zone="UTC", on=Moment("", 18 * 3600), off=Moment("", 6 * 3600), level=70, ramp_s=10)
NOON_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
H = 3600


def in_no_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop whose time is what its timers say."""

    @wraps(test)
    def sync(**arguments: object) -> None:
        async def work() -> None:
            await test(**arguments)

        run(work())

    return sync


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


@in_no_time
async def test_a_lamp_that_nobody_asked_anything_is_left_alone(post: Post) -> None:
    async with post.lives():
        await asyncio.sleep(10_000)
    assert (post.levels, post.records, list(post.folder.iterdir())) == ([], [], [])


@in_no_time
async def test_a_command_is_carried_out_at_once_and_read(post: Post) -> None:
    async with post.lives() as keeper:
        assert await keeper.command("dim", {"level": 40, "for_s": 60}, "rule") == (
            True,
            "lamp: dim to 40 % for 60 s",
        )
        assert post.wires.told == [(0.0, "40")]
        assert await keeper.command("on", {}, "hub") == (
            OVERRULED,
            "lamp: on is noted; a rule's wish comes first",
        )
        await asyncio.sleep(100)
        assert await keeper.command("auto", {}, "hub") == (True, "lamp: auto")
        await asyncio.sleep(1)
    assert post.wires.told == [(0.0, "40"), (60.0, "100"), (100.0, "0")]
    assert post.readings == [(40, 2), (100, 3), (0, 5)]


@in_no_time
async def test_a_switch_hears_on_and_off(post: Post) -> None:
    post.driver = Switch
    async with post.lives() as keeper:
        await keeper.command("dim", {"level": 40.0, "for_s": 10}, "person")
        await asyncio.sleep(20)
    assert (post.levels, post.readings) == (["on", "off"], [(100, 1), (0, 5)])


@in_no_time
async def test_a_flash_ends_by_itself_and_its_readings_are_few(post: Post) -> None:
    async with post.lives() as keeper:
        await keeper.command("flash", {}, "person")
        await asyncio.sleep(200)
    assert len(post.levels) == 60
    assert post.wires.told[-1] == (59.0, "0")
    assert len(post.readings) <= 9
    assert post.readings[-1] == (0, 5)


@in_no_time
async def test_the_schedule_is_followed_with_its_ramp_and_readings_at_both_ends(post: Post) -> None:
    post.lighting, post.clock.wall_s = NIGHT, NOON_S
    async with post.lives():
        await asyncio.sleep(20 * H)
    (first, dusk, *_), last = post.wires.told, post.wires.told[-1]
    repeats = [level for t_s, level in post.wires.told if 6 * H + 60 < t_s < 18 * H]
    assert (first, last[1], set(repeats)) == ((0.0, "0"), "0", {"70"})
    ramp = [t_s for t_s, level in post.wires.told if level not in {"0", "70"}]
    assert 6 * H < ramp[0] < 6 * H + 1
    assert 18 * H + 9 < ramp[-1] < 18 * H + 10.1
    assert dusk == (600.0, "0")
    assert [level for level, _ in post.readings if level in {0, 70}] == [0, 70, 0]
    assert len(post.readings) <= 7


@in_no_time
async def test_a_wish_without_an_end_gives_way_to_the_schedule_after_its_override(post: Post) -> None:
    post.lighting, post.clock.wall_s = NIGHT, NOON_S
    async with post.lives() as keeper:
        await keeper.command("on", {}, "person")
        await asyncio.sleep(3 * H)
        assert post.levels[-1] == "100"
        await asyncio.sleep(12 * H)
    assert post.levels[-1] == "70"


@in_no_time
async def test_who_does_not_know_the_time_burns_says_so_once_and_follows_the_schedule_once_it_is_known(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.lighting, post.clock.wall_s, post.clock.source = NIGHT, 0.0, ClockSource.NONE
    async with post.lives() as keeper:
        await asyncio.sleep(2 * H)
        assert (set(post.levels), post.readings) == ({"100"}, [(100, 5)])
        assert sum("nobody knows what time it is" in text for text in caplog.messages) == 1
        await keeper.command("off", {"for_s": 60}, "person")
        assert post.levels[-1] == "0"
        await asyncio.sleep(61)
        post.clock.wall_s, post.clock.source = NOON_S, ClockSource.NTP
        await asyncio.sleep(30)
        assert post.levels[-1] == "0"
        post.clock.source = ClockSource.NONE  # nobody disciplines it for a day: it still runs
        await asyncio.sleep(6 * H)
        assert post.levels[-1] == "70"
        post.clock.wall_s = 0.0
        await asyncio.sleep(600)
        assert post.levels[-1] == "100", "somebody set it to 1970"


@in_no_time
async def test_what_is_wished_outlives_the_worker_and_ends_in_time(post: Post) -> None:
    post.lighting, post.clock.wall_s = NIGHT, NOON_S
    async with post.lives() as keeper:
        await keeper.command("off", {"for_s": 10 * H}, "person")
        await keeper.command("on", {"for_s": 8 * H}, "rule")
    post.clock.source = ClockSource.NONE  # the next worker has no network to ask
    await asyncio.sleep(7 * H)
    async with post.lives():
        await asyncio.sleep(1)
        assert post.levels[-1] == "0"
        await asyncio.sleep(H)
        assert post.levels[-1] == "0"
        await asyncio.sleep(2 * H + 60)
    assert (post.levels[-1], post.readings[-1]) == ("70", (70, 4))


@pytest.mark.parametrize(("source", "left_s"), [(ClockSource.NTP, 5 * H), (ClockSource.NONE, 9 * H)])
def test_over_a_reboot_a_wish_ends_by_the_wall_clock_or_nobody_knows_and_it_is_as_if_no_time_had_passed(
    post: Post, source: ClockSource, left_s: float
) -> None:
    async def before() -> None:
        post.clock.wall_s = NOON_S
        async with post.lives() as keeper:
            await asyncio.sleep(0.1)
            keeper._apart_ns = int(NOON_S * 1e9)
            await keeper.command("dim", {"level": 33, "for_s": 9 * H}, "person")

    async def after() -> None:
        post.clock.boot, post.clock.source, post.clock.wall_s = b"boot---2", source, NOON_S + 4 * H
        post.wires.told.clear()
        async with post.lives():
            await asyncio.sleep(left_s - 5)
            assert set(post.levels) == {"33"}
            await asyncio.sleep(10)
            assert post.levels[-1] == "0"

    run(before())
    run(after())


@in_no_time
async def test_the_file_is_written_on_change_only(post: Post) -> None:
    post.lighting, post.clock.wall_s = NIGHT, NOON_S
    file = post.folder / "lamps" / "lamp.json"
    async with post.lives() as keeper:
        await keeper.command("on", {"for_s": 5 * H}, "person")
        saved = json.loads(file.read_text())
        assert saved["wishes"] == {"person": [100, 0.0, 0.0, 5 * H * 10**9]}
        file.unlink()
        await asyncio.sleep(4 * H)
        assert not file.exists()
        await asyncio.sleep(2 * H)
        assert json.loads(file.read_text())["wishes"] == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"boot": 1}', '{"boot": "", "apart_ns": null, "wishes": {"x": 1}}']
)
@in_no_time
async def test_a_damaged_file_is_as_none_and_said(
    post: Post, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (post.folder / "lamps").mkdir()
    (post.folder / "lamps" / "lamp.json").write_text(text)
    async with post.lives() as keeper:
        await keeper.command("on", {}, "person")
    assert post.levels == ["100"]
    assert any("cannot be read" in said for said in caplog.messages)


@in_no_time
async def test_a_cut_wire_is_said_once_tried_again_and_told_when_it_is_back(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    async with post.lives() as keeper:
        post.wires.is_cut = True
        done, text = await keeper.command("on", {}, "person")
        assert (done, text) == (False, "lamp did not get it, and gets it when it can: the wires are cut")
        await asyncio.sleep(300)
        assert sum("cannot be told" in said for said in caplog.messages) == 1
        post.wires.is_cut = False
        keeper.opened()
        await asyncio.sleep(0.1)
        assert post.levels == ["100"]
        assert post.readings == [(100, 1)]


@in_no_time
async def test_a_port_that_was_opened_anew_is_told_again(post: Post) -> None:
    async with post.lives() as keeper:
        await keeper.command("dim", {"level": 55}, "person")
        keeper.opened()
        await asyncio.sleep(1)
    assert post.levels == ["55", "55"]


@in_no_time
async def test_before_the_port_is_open_only_a_person_hears_that_it_is_not(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.lighting, post.clock.wall_s, post.wires.is_cut = NIGHT, NOON_S, True
    async with post.lives(opened=False) as keeper:
        await asyncio.sleep(1000)
        assert (await keeper.command("on", {}, "person"))[0] is False
    assert not any("cannot be told" in said for said in caplog.messages)


@in_no_time
async def test_a_level_that_the_driver_refuses_is_no_end_of_the_worker(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dimmer, "stubborn", True)
    async with post.lives() as keeper:
        done, text = await keeper.command("dim", {"level": 41}, "person")
        assert (done, "it is too odd" in text) == (False, True)
        assert (await keeper.command("dim", {"level": 42}, "person"))[0]


def test_a_bug_in_the_driver_ends_the_worker_and_names_it(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dimmer, "broken", True)

    async def work() -> None:
        async with post.lives() as keeper:
            await keeper.command("on", {}, "person")

    with pytest.raises(ExceptionGroup) as caught:
        run(work())
    (bug,) = caught.value.exceptions
    assert isinstance(bug, ZeroDivisionError)
    assert "broke on a command" in bug.__notes__[0]


@in_no_time
async def test_a_slow_bus_gets_fewer_steps_and_the_ramp_ends_in_time(post: Post) -> None:
    post.wires.takes_s = 1.5
    async with post.lives() as keeper:
        await keeper.command("dim", {"level": 0}, "person")
        await keeper.command("dim", {"level": 100, "ramp_s": 10}, "person")
        await asyncio.sleep(15)
    assert len(post.levels) <= 9
    assert post.wires.told[-1][1] == "100"
    assert post.wires.told[-1][0] <= 1.5 + 10 + 2 * 1.5


@in_no_time
async def test_a_lamp_that_draws_nothing_is_out_and_the_next_worker_does_not_say_it_again(post: Post) -> None:
    post.driver = Switch
    post.lighting = LightingPlan(proof=ProofPlan(0, "power", 5, 10))
    async with post.lives() as keeper:
        await keeper.command("on", {}, "person")
        for _ in range(10):
            await asyncio.sleep(5)
            keeper.on_values(post.clock.mono_ns(), {"power": 0.3})
        assert post.events == ["lamp_out"]
    async with post.lives() as keeper:
        for _ in range(200):
            await asyncio.sleep(5)
            keeper.on_values(post.clock.mono_ns(), {"power": 55.0})
    assert post.events == ["lamp_out", "lamp_well"]


@in_no_time
async def test_another_sensors_measure_proves_it_and_a_third_ones_does_not(post: Post) -> None:
    post.lighting = LightingPlan(proof=ProofPlan(7, "power", 5, 10))
    async with post.lives() as keeper:
        await keeper.command("on", {}, "person")
        for _ in range(10):
            await asyncio.sleep(5)
            keeper.on_values(post.clock.mono_ns(), {"power": 0.0})
            keeper.on_feed(post.clock.mono_ns(), 8, "power", 0.0)
            keeper.on_feed(post.clock.mono_ns(), 7, "current", 0.0)
            keeper.on_feed(post.clock.mono_ns(), 7, "power", None)
        assert post.events == []
        for _ in range(4):
            await asyncio.sleep(5)
            keeper.on_feed(post.clock.mono_ns(), 7, "power", 0.0)
    assert post.events == ["lamp_out"]
