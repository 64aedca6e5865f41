"""Whatever arrives, a driver answers with declared values, None or BadFrame: all else kills its worker."""

from functools import reduce

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.driver import Advertisement, BadFrame, Driver, Notification
from gateway.records import quantum
from gateway_drivers.ble_button import BleButton, BleButtonSettings
from gateway_drivers.bthome import Bthome, BthomeSettings
from gateway_drivers.environmental_sensing import (
    CHARACTERISTICS,
    EnvironmentalSensing,
    EnvironmentalSettings,
)
from gateway_drivers.gps_nmea import GpsNmea, GpsNmeaSettings
from gateway_drivers.gy39 import Gy39
from gateway_drivers.nmea import NEEDED
from gateway_drivers.relay_lamp import RelayLamp
from gateway_drivers.sds011 import Sds011

ADDRESS = "A4:C1:38:00:00:01"


def check(driver: Driver, frame: object) -> None:
    try:
        values = driver.decode(frame)
    except BadFrame:
        return
    if values is None:
        return
    declared = {measure.name: measure.resolution for measure in driver.measures(driver.settings)}
    assert values, "no values are None, not an empty reading"
    for name, value in values.items():
        quantum(value, declared[name])


def gps() -> GpsNmea:
    return GpsNmea(GpsNmeaSettings(survey=True, survey_min=2, sky=True))


field = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$*,"), max_size=8),
    st.from_regex(r"[0-9]{0,6}(\.[0-9]{0,4})?", fullmatch=True),
    st.sampled_from(
        ["", "N", "S", "E", "W", "A", "V", "M", "1", "0", "inf", "-inf", "1e999", "235960", "-1"]
    ),
)


@pytest.mark.slow
@given(st.sampled_from(NEEDED), st.sampled_from(["GP", "GN", "GA"]), st.lists(field, max_size=22), st.data())
def test_sentences_with_any_fields_and_a_right_checksum(kind, talker, fields, more) -> None:
    driver = gps()
    for _ in range(3):
        body = ",".join([talker + kind, *fields]).encode()
        check(driver, b"$%s*%02X" % (body, reduce(lambda a, b: a ^ b, body)))
        fields = more.draw(st.lists(field, max_size=22))


@given(st.lists(st.binary(max_size=90), max_size=5))
@example([b"$PUBX*7C", b"$PGRM*1C"])
@example([b"$CCGPQ,GGA*2B"])
def test_any_line_into_the_gps(lines) -> None:
    driver = gps()
    for line in lines:
        check(driver, line)


@pytest.mark.parametrize("kind", [Sds011, Gy39, RelayLamp])
@given(chunks=st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_through_the_framings(kind, chunks) -> None:
    driver, framer = kind(), kind.framing.framer()
    for chunk in chunks:
        for frame in framer.feed(chunk):
            check(driver, frame)


@given(st.integers(0, 255), st.binary(max_size=10))
def test_any_whole_gy39_packet(kind, body) -> None:
    packet = bytes((0x5A, 0x5A, kind, len(body))) + body
    driver = Gy39()
    for frame in driver.framing.framer().feed(packet + bytes((sum(packet) & 0xFF,))):
        check(driver, frame)


@given(st.lists(st.binary(max_size=26), max_size=3), st.sampled_from([b"", b"\x40", b"\x44", b"\x41"]))
def test_any_advertisement(payloads, flags) -> None:
    driver = Bthome(BthomeSettings(ADDRESS))
    for payload in payloads:
        check(driver, Advertisement(ADDRESS, -60, {Bthome.service: flags + payload}, {}))


@given(st.lists(st.binary(max_size=26), max_size=3), st.sampled_from([b"", b"\x40", b"\x41"]))
def test_any_advertisement_to_a_sensor_with_a_key(payloads, flags) -> None:
    driver = Bthome(BthomeSettings(ADDRESS, bindkey="231d39c1d7cc1ab1aee224cd096db932"))
    for payload in payloads:
        check(driver, Advertisement(ADDRESS, -60, {Bthome.service: flags + payload}, {}))


@given(st.lists(st.tuples(st.sampled_from(EnvironmentalSensing.notify), st.binary(max_size=5))))
def test_any_notification(notified) -> None:
    everything = tuple(one.measure.name for one in CHARACTERISTICS)
    driver = EnvironmentalSensing(EnvironmentalSettings(ADDRESS, everything))
    for uuid, payload in notified:
        check(driver, Notification(ADDRESS, uuid, payload))


@given(
    st.lists(st.binary(max_size=26), max_size=3),
    st.sampled_from([b"", b"\x44", b"\x40", b"\x44\x00\x01\x3a"]),
)
def test_any_press(payloads, head) -> None:
    driver = BleButton(BleButtonSettings(ADDRESS))
    for payload in payloads:
        check(driver, Advertisement(ADDRESS, -60, {BleButton.service: head + payload}, {}))
