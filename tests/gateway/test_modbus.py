"""Modbus: against pymodbus's own server on a pty, and against slaves that do all they should not."""

import asyncio
import math
import os
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import in_loop
from plug import Plug
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusSerialServer

from gateway.driver import BadFrame, Command, Measure, NoAnswer, Refused, Talk, Values
from gateway.framing import ModbusRtu
from gateway.modbus import READ_MAX, ModbusDriver, ModbusSettings, Register, RegisterKind, _spans
from gateway.ports.serial import SerialPort


class Meter(ModbusDriver):
    """A meter with a bit of everything."""

    every_s = 0.2
    answer_s = 0.2
    registers = (
        Register("voltage", 0, "f32", kind="input"),
        Register("current", 2, "f32", kind="input"),
        Register("energy", 10, "u32", kind="input", scale=0.01, swapped=True),
        Register("temperature", 3, "i16", scale=0.1),
        Register("alarm_on", 4, "bit", bit=3),
        Register("humidity", 5, "u16", void=0xFFFF),
        Register("open", 7, kind="discrete"),
    )
    emits = (
        Measure("voltage", "V"),
        Measure("current", "A"),
        Measure("energy", "kW.h"),
        Measure("temperature", "Cel"),
        Measure("alarm_on", "bool"),
        Measure("humidity", "%"),
        Measure("open", "bool"),
    )
    accepts = (Command("write", {"to": (0, 65535), "and": (0, 65535)}), Command("coil", {"to": (0, 1)}))

    def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[None]:
        if command == "coil":
            return self.write_coil(7, bool(arguments["to"]))
        values = [int(arguments["to"])] + ([int(arguments["and"])] if arguments["and"] else [])
        return self.write(20, values)


def words(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def block(size: int, at: Mapping[int, list[int]]) -> ModbusSequentialDataBlock:
    values = [0] * size
    for start, some in at.items():
        values[start : start + len(some)] = some
    return ModbusSequentialDataBlock(1, values)  # their address 0 is the block's 1


@asynccontextmanager
async def pymodbus_server(folder: Path, unit: int) -> AsyncIterator[Path]:
    """Their server on one pty, a second one for us, and a cable between."""
    ours, theirs = Plug(folder / "ours"), Plug(folder / "theirs")
    loop = asyncio.get_running_loop()
    loop.add_reader(ours.fd, lambda: os.write(theirs.fd, os.read(ours.fd, 4096)))
    loop.add_reader(theirs.fd, lambda: os.write(ours.fd, os.read(theirs.fd, 4096)))
    device = ModbusDeviceContext(
        ir=block(20, {0: words(230.25) + words(1.5), 10: [0x5678, 0x1234]}),
        hr=block(30, {3: [0xFFCE, 0b1000, 0xFFFF]}),
        di=block(10, {7: [1]}),
        co=block(10, {}),
    )
    context = ModbusServerContext(devices={unit: device})
    server = ModbusSerialServer(context, port=str(theirs.path), baudrate=9600, ignore_missing_devices=True)
    await server.serve_forever(background=True)
    try:
        yield ours.path
    finally:
        await server.shutdown()
        for plug in (ours, theirs):
            loop.remove_reader(plug.fd)
            plug.pull()


@in_loop
async def test_a_meter_is_read_and_written_as_pymodbus_serves_it(tmp_path: Path) -> None:
    async with pymodbus_server(tmp_path, 17) as path:
        meter = Meter(ModbusSettings(17))
        port = SerialPort(str(path), meter)
        await port.open()
        async with aclosing(port.frames()) as frames:
            _, answer = await anext(frames)
        assert answer.error is None
        assert answer.values == {
            "voltage": 230.25,
            "current": 1.5,
            "energy": pytest.approx(0x12345678 / 100),
            "temperature": pytest.approx(-5.0),
            "alarm_on": True,
            "open": True,
        }
        await port.send(meter, meter.encode("write", {"to": 513, "and": 0}))
        await port.send(meter, meter.encode("write", {"to": 514, "and": 7}))
        await port.send(meter, _reads(meter, "holding", 20, [514, 7]))
        await port.send(meter, meter.encode("coil", {"to": 1}))
        await port.send(meter, _reads(meter, "coil", 7, [1]))
        with pytest.raises(Refused, match="unit 17: illegal address 0x0064 to 0x0065: wrong model"):
            await port.send(meter, _reads(meter, "holding", 100, [0, 0]))
        port.close()


def _reads(meter: ModbusDriver, kind: RegisterKind, address: int, wanted: list[int]) -> Talk[None]:
    assert (yield from meter.read(kind, address, len(wanted))) == wanted


def talk(answers: Callable[[bytes], list[bytes | None]], talk: Talk[object]) -> object:
    """Hold a conversation with a slave that answers each question with these frames; None: silence."""
    question = next(talk)
    frames = iter(answers(question))
    try:
        while True:
            frame = next(frames, None)
            question = talk.throw(NoAnswer("silence")) if frame is None else talk.send(frame)
            if question:
                frames = iter(answers(question))
    except StopIteration as stop:
        return stop.value


def sealed(text: str) -> bytes:
    return ModbusRtu().wrap(bytes.fromhex(text))


ONE = Meter(ModbusSettings(1))


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        ([sealed("020302000a"), sealed("010302000b")], None, [11]),  # another unit's first
        ([sealed("010402000a"), sealed("010302000b")], None, [11]),  # another function's first
        ([sealed("010300050001"), sealed("010302000b")], None, [11]),  # our own question, heard back
        ([sealed("010304000b000c")], BadFrame, "1 were asked for"),
        ([sealed("01030100")], BadFrame, "came"),
        ([sealed("010306000b")], BadFrame, "no answer"),
        ([sealed("018302")], Refused, "illegal address 0x0005: wrong model"),
        ([sealed("018306")], Refused, "busy"),
        ([sealed("01832a")], Refused, "exception 42"),
        ([sealed("028302"), None], NoAnswer, "silence"),
    ],
)
def test_a_hostile_slave_is_not_believed(frames, error, words) -> None:
    asked = ONE.read("holding", 5, 1)
    if error is None:
        assert talk(lambda q: frames, asked) == words
    else:
        with pytest.raises(error, match=words):
            talk(lambda q: frames, asked)


@given(st.lists(st.binary(min_size=2, max_size=60).map(ModbusRtu().wrap), max_size=5))
def test_no_frame_breaks_the_driver(frames: list[bytes]) -> None:
    for conversation in (ONE.poll(), ONE.write(3, [4]), ONE.write(3, [4, 5]), ONE.write_coil(3, True)):
        with pytest.raises(BadFrame):
            talk(lambda q: [*frames, None], conversation)
            raise BadFrame("it was believed, which may be right")


def test_a_written_value_that_comes_back_changed_is_bad() -> None:
    assert talk(lambda q: [q], ONE.write(3, [4])) is None
    with pytest.raises(BadFrame, match="0x0003 was written"):
        talk(lambda q: [sealed("010600030005")], ONE.write(3, [4]))
    with pytest.raises(BadFrame, match="speaks of 0x0009"):
        talk(lambda q: [sealed("011000090002")], ONE.write(3, [4, 5]))


def test_neighbours_are_read_in_one_request() -> None:
    spans = [(kind, start, count) for kind, start, count, _ in _spans(Meter.registers, 0)]
    assert spans == [("discrete", 7, 1), ("holding", 3, 3), ("input", 0, 4), ("input", 10, 2)]
    assert ("input", 0, 12) in [span[:3] for span in _spans(Meter.registers, 6)]


@given(st.sets(st.integers(0, 400)), st.integers(0, 20))
def test_every_register_is_read_once_and_no_request_is_too_long(addresses: set[int], gap: int) -> None:
    registers = [Register(f"m{at}", 2 * at, "u32") for at in addresses]
    spans = list(_spans(registers, gap))
    assert all(count <= READ_MAX for _, _, count, _ in spans)
    for _, start, count, inside in spans:
        assert all(start <= each.address and each.address + 2 <= start + count for each in inside)
    assert sorted(each.address for *_, inside in spans for each in inside) == sorted(
        2 * at for at in addresses
    )


@pytest.mark.parametrize(
    ("register", "raw", "value"),
    [
        (Register("m", 0, "i16"), [0x8000], -32768),
        (Register("m", 0, "i32"), [0xFFFF, 0xFFFE], -2),
        (Register("m", 0, "u32"), [1, 2], 65538),
        (Register("m", 0, "u32", swapped=True), [2, 1], 65538),
        (Register("m", 0, "f32"), words(math.nan), None),
        (Register("m", 0, "i16", void=-1), [0xFFFF], None),
        (Register("m", 0, "u16", scale=0.5, offset=-10), [30], 5.0),
        (Register("m", 0, "bit", bit=15), [0x8000], True),
        (Register("m", 0, kind="coil"), [0], False),
    ],
)
def test_registers_are_read_as_they_are_written(register: Register, raw: list[int], value: object) -> None:
    assert register.value(raw) == value


def test_wrong_declarations_fail_where_they_are_written() -> None:
    with pytest.raises(ValueError, match="addresses"):
        Register("m", 65535, "u32")
    with pytest.raises(ValueError, match="no such shape"):
        Register("m", 0, "f64")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no register holds power"):
        type("Bad", (ModbusDriver,), {"emits": (Measure("power", "W"),), "every_s": 1.0})
    with pytest.raises(TypeError, match="does not declare power"):
        registers = (Register("power", 0), Register("voltage", 1))
        type(
            "Bad",
            (ModbusDriver,),
            {"emits": (Measure("voltage", "V"),), "every_s": 1.0, "registers": registers},
        )


def test_a_driver_that_is_only_commanded_is_not_asked() -> None:
    class Switch(ModbusDriver):
        accepts = (Command("on"),)

        def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[Values | None]:
            return self.write_coil(0, True)

    assert not Switch.polls()
    assert Meter.polls()
