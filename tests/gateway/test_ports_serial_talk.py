"""Conversations on real ptys, through port and worker: shared lines, echoes, absence, wrong speeds."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from far_end import FarEnd
from line_drivers import Number
from loops import in_loop, until
from plug import Plug
from stand_in import Core, one_port, sensor_plan
from talk_drivers import Endless, NumberedSettings, Polite, Talker
from working import working

from gateway.doctor.workers import workers
from gateway.driver import Answer, BadFrame, NoAnswer, PortGone
from gateway.errors import ConfigError
from gateway.ports.mishearing import OCTETS, SECONDS, Mishearing
from gateway.ports.serial import SerialPort
from gateway.ports.tty import character_s, open_tty
from gateway.ports.url import SerialOptions
from gateway.reading import Kind


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    (tmp_path / "run").mkdir()
    plug = Plug(tmp_path / "device")
    yield plug
    if plug.fd >= 0:
        os.close(plug.fd)


def polite(question: bytes) -> bytes:
    return question.replace(b"?", b"=") + b"\n" if b"?" in question else b""


@in_loop
async def test_two_sensors_share_a_line_and_each_gets_its_answers(plug: Plug) -> None:
    one, two = Polite(NumberedSettings(1)), Polite(NumberedSettings(2))
    port = SerialPort(str(plug.path), one, two)
    far = FarEnd(plug, polite)
    await port.open()
    async with aclosing(port.frames()) as frames:
        answers = [await anext(frames) for _ in range(2)]
    assert [(a.driver, a.values) for _, a in answers] == [(one, {"mark": 1}), (two, {"mark": 1})]
    assert far.heard == [b"1?1", b"2?1"]
    far.stop()
    port.close()


@in_loop
async def test_a_command_waits_for_the_devices_word(plug: Plug) -> None:
    driver = Polite()
    port = SerialPort(str(plug.path), driver)
    far = FarEnd(plug, lambda q: b"1!\n" if q == b"1?13" else polite(q))
    await port.open()
    await port.send(driver, driver.encode("set", {"to": 12}))
    with pytest.raises(BadFrame, match="no"):
        await port.send(driver, driver.encode("set", {"to": 13}))
    far.stop()
    with pytest.raises(NoAnswer):
        await port.send(driver, driver.encode("set", {"to": 14}))
    port.close()
    with pytest.raises(PortGone):
        await port.send(driver, driver.encode("set", {"to": 15}))


@in_loop
async def test_a_command_under_way_learns_that_the_plug_was_pulled(plug: Plug) -> None:
    driver = Polite()
    port = SerialPort(str(plug.path), driver)
    await port.open()
    sending = asyncio.ensure_future(port.send(driver, driver.encode("set", {"to": 12})))
    await asyncio.sleep(0)
    plug.pull()
    with pytest.raises(PortGone, match="check the plug"):
        await sending
    port.close()


@in_loop
async def test_what_the_adapter_hears_of_itself_is_no_answer(plug: Plug) -> None:
    driver = Polite()
    port = SerialPort(str(plug.path), driver, options=SerialOptions(echo=True))
    far = FarEnd(plug, lambda q: q + b"\n" + polite(q))
    await port.open()
    async with aclosing(port.frames()) as frames:
        assert (await anext(frames))[1].values == {"mark": 1}
    assert port.counters["echo_bytes"] == 4
    assert port.counters["unasked_frames"] == 0
    far.stop()
    port.close()


@in_loop
async def test_a_device_that_pushes_is_greeted_and_decoded(plug: Plug) -> None:
    port = SerialPort(str(plug.path), Talker())
    far = FarEnd(plug, lambda q: b"5\nack\n6\n" if q == b"start" else b"")
    await port.open()
    async with aclosing(port.frames()) as frames:
        came = [(await anext(frames))[1] for _ in range(3)]
    assert [frame for frame in came if isinstance(frame, bytes)][:2] == [b"5", b"ack"]
    far.stop()
    port.close()


@in_loop
async def test_frames_may_be_served_and_what_the_taker_raises_comes_out(plug: Plug) -> None:
    port = SerialPort(str(plug.path), Number())
    await port.open()
    took: list[bytes] = []

    def take(t_ns: int, frame: bytes) -> None:
        took.append(frame)
        if frame == b"3":
            raise ZeroDivisionError

    plug.says(b"1\n2\n3\n")
    with pytest.raises(ZeroDivisionError):
        await port.serve(take)
    assert took == [b"1", b"2", b"3"]
    port.close()
    await port.open()
    serving = asyncio.ensure_future(port.serve(took.append))
    await asyncio.sleep(0)
    plug.pull()
    with pytest.raises(PortGone, match="check the plug"):
        await serving
    port.close()


def test_rs485_that_the_kernel_cannot_switch_is_said(plug: Plug) -> None:
    with pytest.raises(ConfigError, match="does not switch") as caught:
        open_tty(str(plug.path), "9600 8n1", "rts")
    assert "?rs485=rts" in str(caught.value)
    open_tty(str(plug.path), "9600 8n1").close()


def test_rs485_is_asked_for_in_the_kernels_words(plug: Plug, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("gateway.ports.tty.fcntl.ioctl", lambda fd, code, what: asked.append((code, what)))
    open_tty(str(plug.path), "9600 8n1", "rts").close()
    open_tty(str(plug.path), "9600 8n1", "rts-low").close()
    # struct serial_rs485 of linux/serial.h: enabled, RTS on send or after send
    words = [what for code, what in asked if code == 0x542F]
    assert words == [b"\x03".ljust(32, b"\0"), b"\x05".ljust(32, b"\0")]


def test_a_character_takes_its_bits() -> None:
    assert character_s("9600 8n1") == pytest.approx(10 / 9600)
    assert character_s("1200 7e2") == pytest.approx(11 / 1200)


@in_loop
async def test_one_sensor_of_a_line_goes_away_and_comes_back_while_the_other_goes_on(
    plug: Plug, monkeypatch
) -> None:
    monkeypatch.setattr("gateway.talk.AWAY_S", 0.1)
    monkeypatch.setattr(Polite, "every_s", 0.05)
    monkeypatch.setattr(Polite, "answer_s", 0.05)
    plan = one_port(
        plug.path.parent,
        f"serial:{plug.path}",
        "serial",
        sensor_plan(1, "near", Polite, unit=1),
        sensor_plan(2, "far", Polite, unit=2),
    )
    core = Core(plan)
    is_dead = True
    far = FarEnd(plug, lambda q: b"" if is_dead and q.startswith(b"2") else polite(q))
    async with working(plan) as worker:
        await core.until(lambda records: any(r["kind"] == "health" for r in records))
        assert worker.counters["no_answers"] >= 3
        is_dead = False
        await core.until(lambda records: any(r.get("code") == "deaf" for r in records))
        await core.until(lambda records: sum(r["sensor"] == "near" for r in records) > 3)
    core.close()
    far.stop()
    told = [(r["sensor"], r["code"]) for r in core.of(Kind.HEALTH) if r["code"] != "bad_frames"]
    assert told == [("far", "port_gone"), ("far", "deaf")]
    assert {r["sensor"] for r in core.of(Kind.READING)} == {"near", "far"}


def test_a_bug_in_a_conversation_is_blamed_on_its_driver(plug: Plug, monkeypatch) -> None:
    monkeypatch.setattr("gateway.talk.QUESTIONS_MAX", 3)
    url = f"serial:{plug.path}"
    plan = one_port(plug.path.parent, url, "serial", sensor_plan(1, "a", Endless, unit=1))

    @in_loop
    async def run() -> None:
        far = FarEnd(plug, lambda q: b"x\n")
        core = Core(plan)
        try:
            async with working(plan):
                await asyncio.Event().wait()
        finally:
            core.close()
            far.stop()

    with pytest.raises(BaseExceptionGroup) as caught:
        run()
    [bug] = [e for e in _leaves(caught.value) if isinstance(e, RuntimeError)]
    assert "endless" in bug.__notes__[0]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def test_a_burst_of_noise_and_a_seldom_word_are_no_wrong_speed() -> None:
    second = 10**9
    burst = Mishearing(0)
    assert not any(burst.heard(2 * second + n, 4096) for n in range(50))
    seldom = Mishearing(0)
    assert not any(seldom.heard(n * 3600 * second, 10) for n in range(OCTETS // 10 - 1))
    wrong = Mishearing(0)
    told = [wrong.heard(n * second, OCTETS) for n in range(20)]
    assert told.index(True) == SECONDS - 1
    assert told.count(True) == 1


@in_loop
async def test_a_wrong_speed_is_said_once_shown_by_doctor_and_heals(plug: Plug, monkeypatch, caplog) -> None:
    monkeypatch.setattr("gateway.ports.mishearing.SECONDS", 1)
    plan = one_port(plug.path.parent, f"serial:{plug.path}", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker._opened_ns is not None)
        for _ in range(8):
            plug.says(b"\xfe\x80garbled\x00\n" * 9)
            await asyncio.sleep(0)
        await core.until(lambda records: any(r.get("code") == "misheard" for r in records))
        [finding] = workers(plan)
        assert "check the baud rate (the driver says 9600 8n1)" in finding.text
        assert finding.state == "wrong"
        plug.says(b"5\n")
        await core.until(lambda records: any(r.get("code") == "deaf" for r in records))
        assert list(workers(plan)) == []
    core.close()
    [misheard] = [r for r in core.of(Kind.HEALTH) if r["code"] == "misheard"]
    assert 0 <= misheard["for_s"] < 10
    assert sum("baud rate" in record.getMessage() for record in caplog.records) == 1


@in_loop
async def test_noise_after_a_good_frame_is_no_wrong_speed(plug: Plug, monkeypatch) -> None:
    monkeypatch.setattr("gateway.ports.mishearing.SECONDS", 1)
    plan = one_port(plug.path.parent, f"serial:{plug.path}", "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker._opened_ns is not None)
        plug.says(b"5\n")
        await core.until(lambda records: len(records) == 1)
        plug.says(b"\xfegarbled\n" * 100)
        await until(lambda: worker.counters["bad_frames"] == 100)
    core.close()
    assert "misheard" not in {r["code"] for r in core.of(Kind.HEALTH)}


def test_answers_carry_their_last_frame_for_the_bug_report() -> None:
    assert Answer(Polite(), error=BadFrame("x"), frame=b"1=x").frame == b"1=x"
