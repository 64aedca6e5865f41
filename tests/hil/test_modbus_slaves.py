"""The Modbus slaves: the makers' own example frames, and pymodbus as a master who was written by others."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusIOException

from gateway_hil.emulators.modbus import ModbusEmulator, crc, sealed
from gateway_hil.emulators.sdm120 import Sdm120
from gateway_hil.emulators.wb_mdm3 import DIMMER_UNIT, METER_UNIT, WbMdm3, WbMdm3Slave, cabinet


def asked(emulator: ModbusEmulator, question: str) -> str:
    return emulator.heard(bytes.fromhex(question)).hex(" ")


@contextlib.contextmanager
def master(emulator: ModbusEmulator, timeout_s: float = 1.0) -> Iterator[ModbusSerialClient]:
    client = ModbusSerialClient(str(emulator.path), baudrate=9600, timeout=timeout_s, retries=0)
    assert client.connect()
    try:
        yield client
    finally:
        client.close()


def test_the_makers_examples() -> None:
    meter = Sdm120()
    meter.become({"voltage": 230.2000122})
    assert asked(meter, "01 04 00 00 00 02 71 CB") == "01 04 04 43 66 33 34 1b 38"  # SDM manuals, "Modbus"
    assert crc(b"123456789") == 0x4B37  # the check value of CRC-16/MODBUS


def test_a_question_that_came_broken_is_not_answered() -> None:
    meter = Sdm120()
    assert asked(meter, "01 04 00 00 00 02 71 CA") == ""
    assert meter.heard_requests == {1: 0}


@pytest.mark.parametrize(
    ("question", "exception"),
    [
        ("01 02 00 00 00 01", None),  # read discrete inputs: a function that there is not; not even a frame
        ("01 05 00 00 ff 00", 1),  # a coil of a meter
        ("01 04 00 01 00 02", 2),  # half a pair
        ("01 04 02 00 00 02", 2),  # behind the last
        ("01 04 00 00 00 52", 3),  # more than 40 pairs
        ("01 03 00 40 00 02", 2),  # a setting that there is not
    ],
)
def test_what_a_meter_refuses(question: str, exception: int | None) -> None:
    octets = sealed(bytes.fromhex(question))
    answer = Sdm120().heard(octets)
    refused = b"" if exception is None else sealed(bytes((1, octets[1] | 0x80, exception)))
    assert answer == refused


@given(st.binary(max_size=40), st.integers(1, 7), st.binary(max_size=5))
def test_a_question_is_found_after_noise_and_in_pieces(noise: bytes, cut: int, tail: bytes) -> None:
    question = bytes.fromhex("01040000000271CB")
    meter = Sdm120()
    answer = meter.heard(noise + question[:cut]) + meter.heard(question[cut:] + tail)
    whole = Sdm120().heard(question)
    # Noise may happen to look like the beginning of a long request, which then swallows the question.
    assert answer in (whole, b"") or answer.startswith(whole)
    meter._heard_s = 0.0  # a silence
    assert meter.heard(question) == whole


def test_pymodbus_reads_the_meter_and_drives_the_dimmer() -> None:
    with cabinet() as bus, master(bus) as client:
        volts = client.read_input_registers(0x0000, count=2, device_id=METER_UNIT)
        assert client.convert_from_registers(volts.registers, client.DATATYPE.FLOAT32) == pytest.approx(231.4)
        assert not client.write_register(0, 70, device_id=DIMMER_UNIT).isError()
        level = client.read_holding_registers(0, count=1, device_id=DIMMER_UNIT).registers
        assert (level, client.read_coils(0, count=3, device_id=DIMMER_UNIT).bits[:3]) == ([70], [False] * 3)
        assert not client.write_coil(0, True, device_id=DIMMER_UNIT).isError()
        assert client.read_coils(0, count=1, device_id=DIMMER_UNIT).bits[0] is True

        def watts() -> float:
            read = client.read_input_registers(0x000C, count=2, device_id=METER_UNIT)
            return float(client.convert_from_registers(read.registers, client.DATATYPE.FLOAT32))

        assert watts() == pytest.approx(0.7 * 80)
        bus.lamp_out()
        assert watts() == 0
        bus.lamp_out(False)
        assert not client.write_registers(0, [0, 30, 30], device_id=DIMMER_UNIT).isError()
        assert client.read_coils(0, count=3, device_id=DIMMER_UNIT).bits[:3] == [False] * 3
        assert client.write_register(0, 101, device_id=DIMMER_UNIT).exception_code == 3
        assert bus.heard_requests[METER_UNIT] == 3


@pytest.mark.slow
def test_faults_of_a_line() -> None:
    with WbMdm3(unit=7) as dimmer, master(dimmer, 0.3) as client:
        read = {"address": 0, "count": 1, "device_id": 7}
        assert client.read_holding_registers(**read).registers == [50]
        with pytest.raises(ModbusIOException):
            client.read_holding_registers(0, count=1, device_id=8)  # nobody
        for fault, undo in ((dimmer.wrong_unit, False), (dimmer.stall, False)):
            fault()
            with pytest.raises(ModbusIOException):
                client.read_holding_registers(**read)
            fault(undo)
            assert client.read_holding_registers(**read).registers == [50]
        dimmer.late(0.6)
        with pytest.raises(ModbusIOException):
            client.read_holding_registers(**read)


def test_a_broadcast_is_carried_out_and_not_answered() -> None:
    bus = cabinet()
    assert asked(bus, sealed(bytes.fromhex("00 06 00 00 00 14")).hex()) == ""
    dimmer = bus.units[DIMMER_UNIT]
    assert isinstance(dimmer, WbMdm3Slave)
    assert dimmer.holding[0] == 20


@given(st.floats(0, 45), st.integers(0, 100), st.integers(1, 247))
def test_what_becomes_true_is_shown(amperes: float, level: int, unit: int) -> None:
    meter, dimmer = Sdm120(unit=unit), WbMdm3(unit=unit)
    meter.become({"current": amperes})
    dimmer.become({"lamp_level": level})
    assert (meter.truth()["current"], dimmer.truth()) == (amperes, {"lamp_level": level})
    assert meter.settings() == dimmer.settings() == {"unit": unit}
