"""Wind, water, sound, u-blox: whatever comes with its checksum right is declared values, None or BadFrame."""

from functools import reduce
from operator import xor
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.driver import BadFrame, Driver
from gateway.records import quantum
from gateway_drivers.bswa308 import Bswa308, Bswa308Settings
from gateway_drivers.maxsonar import MaxSonar, MaxSonarSettings
from gateway_drivers.ublox import Ublox, ubx
from gateway_drivers.windsonic import WindSonic, WindSonicSettings

digits = st.text("0123456789.,-+eEnaif_ ", max_size=6)
outdoors = [WindSonic(), MaxSonar(MaxSonarSettings(mounted_m=4.0)), Ublox()]


def check(driver: Driver, values: object) -> None:
    if values is None:
        return
    declared = {measure.name: measure.resolution for measure in driver.measures(driver.settings)}
    assert values, "no values are None, not an empty reading"
    for name, value in values.items():
        quantum(value, declared[name])


def decoded(driver: Driver, frame: bytes) -> object:
    try:
        return driver.decode(frame)
    except BadFrame:
        return None


@pytest.mark.parametrize("driver", outdoors, ids=lambda driver: type(driver).__name__)
@given(chunks=st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_through_the_framings(driver: Driver, chunks: list[bytes]) -> None:
    framer = driver.framing.framer()
    for chunk in chunks:
        for frame in framer.feed(chunk):
            check(driver, decoded(driver, frame))


@given(st.sampled_from("QA"), digits, digits, st.sampled_from(["M", "N", "P", "K", "F", "X", ""]), digits)
@example("Q", "360", "012.00", "N", "10")
@example("Q", "", "", "M", "00")
@example("Q", "٣٣٣", "000.00", "M", "00")
def test_any_fields_of_the_wind(node: str, degrees: str, speed: str, unit: str, status: str) -> None:
    body = f"{node},{degrees},{speed},{unit},{status},".encode()
    driver = WindSonic(WindSonicSettings(north=90))
    check(driver, decoded(driver, b"\x02%s\x03%02X" % (body, reduce(xor, body))))


@pytest.mark.parametrize("node", ["", "q", "QQ", "Ä", "1"])
def test_a_node_is_one_letter(node: str) -> None:
    with pytest.raises(ValueError, match="one letter from A to Z"):
        WindSonicSettings(node=node)


@given(
    st.one_of(digits.map(lambda text: f"R{text}".encode()), st.integers(0, 9999).map(lambda n: b"R%04d" % n))
)
def test_any_range(frame: bytes) -> None:
    driver = MaxSonar(MaxSonarSettings(mounted_m=4.0))
    check(driver, decoded(driver, frame))


@given(st.sampled_from([b"\x01\x07", b"\x0d\x01", b"\x05\x01", b"\x01\x20"]), st.binary(max_size=100))
def test_any_message(kind: bytes, payload: bytes) -> None:
    driver = Ublox()
    for frame in driver.framing.framer().feed(ubx(kind, payload)):
        check(driver, decoded(driver, frame))


@given(
    st.binary(min_size=92, max_size=92), st.sampled_from([0, 1, 7, 0xFF]), st.sampled_from([0, 2, 3, 5, 9])
)
def test_any_epoch(payload: bytes, valid: int, fix: int) -> None:
    payload = payload[:11] + pack("B", valid) + payload[12:20] + pack("BB", fix, 1) + payload[22:]
    driver = Ublox()
    check(driver, decoded(driver, ubx(b"\x01\x07", payload)))


@given(st.binary(min_size=14, max_size=16), st.integers(0, 255))
def test_any_screen(text: bytes, device: int) -> None:
    block = b"\x02" + bytes((device,)) + text[:14].ljust(14, b"0") + b"\x03"
    driver = Bswa308(Bswa308Settings())
    for frame in driver.framing.framer().feed(block + bytes((reduce(xor, block),)) + b"\r\n"):
        answered(driver, frame)


@given(st.tuples(st.sampled_from("0129A"), st.sampled_from("0129"), st.sampled_from("0249"), digits))
def test_any_fields_of_a_screen(fields: tuple[str, ...]) -> None:
    text = ",".join(fields).encode()[:11].ljust(11, b"0") + b",0"
    block = b"\x02\x01A" + text + b"\x03"
    answered(Bswa308(), block + bytes((reduce(xor, block),)) + b"\r\n")


def answered(driver: Bswa308, frame: bytes) -> None:
    talk = driver.poll()
    next(talk)
    try:
        talk.send(frame)
    except StopIteration as end:
        check(driver, end.value)
    except BadFrame:
        pass
    else:
        raise AssertionError("one question, one answer")
