"""Scrubbing: no place is left, everything else is, whatever the reads cut and the line damaged."""

import contextlib
import random
import re
from itertools import pairwise
from struct import pack, unpack_from

import pynmea2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture import Entry, Received, Sent
from gateway.commands.scrub import Scrubber
from gateway.driver import Advertisement, BadFrame, Edge, Notification
from gateway_drivers.gps_nmea import GpsNmea


def nmea(body: str) -> bytes:
    return f"${body}*{pynmea2.NMEASentence.checksum(body):02X}\r\n".encode()


GGA = nmea("GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,")
RMC = nmea("GPRMC,092750.000,A,5321.6802,N,00630.3372,W,0.02,31.66,280511,003.1,W,A")
GLL = nmea("GPGLL,4916.45,N,12311.12,W,225444,A,")
GSV = nmea("GPGSV,1,1,02,10,63,137,17,07,61,098,15")
SERVICE = "0000fcd2-0000-1000-8000-00805f9b34fb"


def scrubbed(*chunks: bytes) -> bytes:
    """What is left of chunks that were received one after the other; their sizes must not change."""
    scrubber = Scrubber()
    entries = [entry for n, chunk in enumerate(chunks) for entry in scrubber.add(n, Received(chunk))]
    entries += scrubber.end()
    assert [entry.at_ns for entry in entries] == list(range(len(chunks)))
    assert [len(entry.what.octets) for entry in entries] == [len(chunk) for chunk in chunks]
    return b"".join(entry.what.octets for entry in entries)


def ubx(kind: bytes, payload: bytes) -> bytes:
    body = kind + pack("<H", len(payload)) + payload
    a = b = 0
    for octet in body:
        a = (a + octet) % 256
        b = (b + a) % 256
    return b"\xb5\x62" + body + bytes((a, b))


def pvt(lat: float, lon: float) -> bytes:
    return ubx(b"\x01\x07", bytes(range(24)) + pack("<ii", round(lon * 1e7), round(lat * 1e7)) + bytes(60))


def test_a_position_is_cut_to_a_tenth_of_a_degree_and_its_sum_is_right() -> None:
    left = pynmea2.parse(scrubbed(GGA).decode().strip(), check=True)
    before = pynmea2.parse(GGA.decode().strip(), check=True)
    assert (left.latitude, left.longitude) == (53.3, -6.5)
    assert [(n, left.data[n]) for n in range(14) if n not in (1, 3)] == [
        (n, before.data[n]) for n in range(14) if n not in (1, 3)
    ]
    pynmea2.parse(scrubbed(RMC).decode().strip(), check=True)
    assert b"4912.00,N,12306.00,W,225444" in scrubbed(GLL)


def test_what_names_no_place_stays_as_it_was() -> None:
    for stream in (
        GSV,
        b"T=1013.250\r\n",
        b"Q,229,002.74,M,N,00\r\n",
        b"\x02P\x03",
        bytes(range(256)) * 2,
        b"",
    ):
        assert scrubbed(stream) == stream


@given(cuts=st.sets(st.integers(0, len(GGA + GSV + RMC) - 1)))
def test_it_does_not_matter_where_reads_end(cuts) -> None:
    stream = GGA + GSV + RMC
    at = [0, *sorted(cuts), len(stream)]
    assert scrubbed(*(stream[a:b] for a, b in pairwise(at))) == scrubbed(stream)


@given(st.binary(max_size=80), st.binary(max_size=80), st.integers(0, 400))
def test_noise_and_cuts_leave_no_place(before, after, begin) -> None:
    whole = before + GGA + pvt(53.361336, -6.505620) + after + GGA + b"tail"
    left = scrubbed(whole[begin:])
    assert len(left) == len(whole[begin:])
    for digits in (b"5321.68", b"0630.33", b"1.6802,N", b"0.3372,W"):
        assert digits not in left.replace(before, b"").replace(after, b"") or digits in before + after


@pytest.mark.parametrize("end", range(20, len(GGA)))
def test_a_sentence_that_is_torn_off_tells_no_more(end) -> None:
    assert not re.search(rb"5321\.[1-9]|5321|30\.3", scrubbed(GGA[:end])[17:])


@pytest.mark.parametrize("begin", range(1, 30))
def test_the_end_of_a_sentence_tells_no_more(begin) -> None:
    assert b".6802" not in scrubbed(GGA[begin:] + GSV)
    assert b".3372" not in scrubbed(GGA[begin:] + GSV)


def test_a_wrong_sum_stays_wrong() -> None:
    wrong = GGA[:-3] + (b"0" if GGA[-3:-2] != b"0" else b"1") + GGA[-2:]
    left = scrubbed(wrong)
    assert b"5318.0000,N,00630.0000,W" in left
    assert left[-5:] == wrong[-5:]


def test_ubx_positions_are_cut_and_summed_again() -> None:
    left = scrubbed(b"\x00" + pvt(53.361336, -6.505620) + GSV)
    message = left[1 : -len(GSV)]
    assert unpack_from("<ii", message, 6 + 24) == (-65_000_000, 533_000_000)
    assert message == ubx(b"\x01\x07", message[6:-2])
    assert message[6:30] == bytes(range(24))


def test_ubx_messages_a_place_could_be_worked_out_of_are_emptied() -> None:
    left = scrubbed(ubx(b"\x01\x01", b"\x11" * 20) + ubx(b"\x0d\x01", b"\x22" * 16))
    assert left == ubx(b"\x01\x01", bytes(20)) + ubx(b"\x0d\x01", b"\x22" * 16)


@pytest.mark.parametrize("end", range(32, 100))
def test_half_a_ubx_message_tells_no_more(end) -> None:
    left = scrubbed(pvt(53.361336, -6.505620)[:end])
    assert pack("<i", 533_613_360)[:3] not in left
    assert pack("<i", -65_056_200)[:3] not in left


def test_entries_keep_their_order() -> None:
    scrubber = Scrubber()
    given_entries = [
        Entry(0, Received(GGA[:30])),
        Entry(1, Sent(b"\xb5\x62\x0a\x04\x00\x00\x0e\x34")),
        Entry(2, Received(GGA[30:])),
        Entry(3, Edge("DOOR", True)),
    ]
    came = [list(scrubber.add(entry.at_ns, entry.what)) for entry in given_entries]
    assert [len(each) for each in came[:2]] == [0, 0]  # the sentence is not whole yet
    entries = [entry for each in came for entry in each] + list(scrubber.end())
    assert [entry.at_ns for entry in entries] == [0, 1, 2, 3]
    assert entries[1:2] + entries[3:] == given_entries[1:2] + given_entries[3:]


def test_addresses_are_replaced_and_told_apart() -> None:
    scrubber = Scrubber()
    first, second = "A4:C1:38:00:00:01", "A4:C1:38:00:00:02"
    own = bytes.fromhex("A4C138000001")
    frames = [
        Advertisement(first, -61, {SERVICE: b"\x40" + own + own[::-1]}, {0x4C: own}),
        Notification(second, SERVICE, b"\x01"),
        Advertisement(first, -62, {}, {}),
    ]
    left = [entry.what for n, frame in enumerate(frames) for entry in scrubber.add(n, frame)]
    new = bytes.fromhex("020000000001")
    assert left == [
        Advertisement("02:00:00:00:00:01", -61, {SERVICE: b"\x40" + new + new[::-1]}, {0x4C: new}),
        Notification("02:00:00:00:00:02", SERVICE, b"\x01"),
        Advertisement("02:00:00:00:00:01", -62, {}, {}),
    ]


@pytest.mark.slow
def test_of_54_real_receivers_no_place_is_left_and_no_reading_lost(data_folder) -> None:
    logs = sorted((data_folder / "nmea").glob("*.log"))
    assert len(logs) >= 54
    places = 0
    for log in logs:
        stream = log.read_bytes()
        chance = random.Random(0)
        chunks, at = [], 0
        while at < len(stream):
            chunks.append(stream[at : at + chance.randint(1, 200)])
            at += len(chunks[-1])
        before, after = readings(stream), readings(scrubbed(*chunks))
        assert len(after) == len(before), log.name
        for was, now in zip(before, after, strict=True):
            assert {k: v for k, v in now.items() if k not in ("lat", "lon")} == {
                k: v for k, v in was.items() if k not in ("lat", "lon")
            }
            for name in ("lat", "lon"):
                if was.get(name) is not None:
                    places += 1
                    assert now[name] * 10 == pytest.approx(round(now[name] * 10), abs=1e-5), (log.name, now)
                    assert abs(now[name] - was[name]) <= 0.1 + 1e-9
    assert places > 2_500


def readings(stream: bytes) -> list[dict]:
    driver, found = GpsNmea(), []
    for frame in driver.framing.framer().feed(stream):
        with contextlib.suppress(BadFrame):
            if values := driver.decode(frame):
                found.append(dict(values))
    return found
