"""Framing: however the bytes are cut up, the same frames come out; noise costs only itself."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing import Cobs, Counted, Fixed, Framing, Lines, ModbusRtu, Slip
from gateway.rtu import ADU_MAX, crc16

PACKET = Fixed(10, head=b"\xaa\xc0", tail=b"\xab", check=lambda p: sum(p[2:8]) & 0xFF == p[8])
UBX = Counted(
    b"\xb5\x62",
    length_at=4,
    overhead=8,
    check=lambda p: sum(p[2:-2]) & 0xFF == p[-2],
    limit=300,
    length_bytes=2,
    order="little",
)
CR = Lines(limit=40, end=b"\r")
NMEA = Lines(limit=82, begin=b"$")
CRLF = Lines(limit=40, end=b"\r\n")
ALL = (Lines(limit=40), CR, NMEA, CRLF, PACKET, UBX, Cobs(limit=300), Slip(limit=300), ModbusRtu())
HELD_MAX = {PACKET: 10, UBX: 300, Cobs(limit=300): 303, Slip(limit=300): 601, ModbusRtu(): ADU_MAX, NMEA: 84}


def packet(body: bytes) -> bytes:
    return b"\xaa\xc0" + body + bytes([sum(body) & 0xFF]) + b"\xab"


def ubx(body: bytes) -> bytes:
    inner = struct.pack("<BBH", 1, 7, len(body)) + body
    return b"\xb5\x62" + inner + bytes((sum(inner) & 0xFF, 0))


def words(body: bytes) -> bytes:
    """A Modbus answer with registers."""
    return ModbusRtu().wrap(bytes((17, 3, len(body) & ~1)) + body[: len(body) & ~1])


def run(framing: Framing, stream: bytes, cuts: list[int]) -> tuple[list[bytes], int]:
    framer = framing.framer()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    frames = [frame for a, b in itertools.pairwise(edges) for frame in framer.feed(stream[a:b])]
    return frames + list(framer.rest()), framer.skipped


def sent(framing: Framing, bodies: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Each body as it goes out, and the frame that is to come of it."""
    if framing is PACKET:
        return [(packet(body[:6].ljust(6)), packet(body[:6].ljust(6))) for body in bodies]
    if framing is UBX:
        return [(ubx(body), ubx(body)) for body in bodies]
    if isinstance(framing, ModbusRtu):
        return [(words(body), words(body)) for body in bodies]
    if isinstance(framing, Lines):
        bodies = [framing.begin + body.hex().encode()[:30] for body in bodies]
    return [(framing.wrap(body), body) for body in bodies]


BODIES = st.lists(st.binary(min_size=1, max_size=200), max_size=6)
CUTS = st.lists(st.integers(0, 10_000), max_size=30)
FRAMINGS = st.sampled_from(ALL)


@given(FRAMINGS, BODIES, CUTS)
def test_frames_come_whole_however_they_are_cut(
    framing: Framing, bodies: list[bytes], cuts: list[int]
) -> None:
    pairs = sent(framing, bodies)
    assert run(framing, b"".join(wire for wire, _ in pairs), cuts) == ([frame for _, frame in pairs], 0)


@given(FRAMINGS, st.binary(max_size=700), CUTS)
def test_any_bytes_give_the_same_frames_however_they_are_cut(
    framing: Framing, stream: bytes, cuts: list[int]
) -> None:
    assert run(framing, stream, cuts) == run(framing, stream, [])


@given(FRAMINGS, st.binary(max_size=60), BODIES, st.binary(max_size=60), CUTS)
def test_noise_costs_only_the_frames_it_touches(
    framing: Framing, before: bytes, bodies: list[bytes], after: bytes, cuts: list[int]
) -> None:
    pairs = sent(framing, bodies)
    frames, _ = run(framing, before + b"".join(wire for wire, _ in pairs) + after, cuts)
    wanted = [frame for _, frame in pairs][1:]
    # A wrong beginning in the noise may hold what follows back for a time that the stream does not last.
    if framing not in {UBX, PACKET} or not before + after:
        at = [i for i in range(len(frames) - len(wanted) + 1) if frames[i : i + len(wanted)] == wanted]
        assert at or not wanted


@given(st.binary(max_size=60).filter(lambda b: not {0xAA, 0xB5} & set(b)), BODIES, CUTS)
def test_noise_without_a_head_costs_no_packet(noise: bytes, bodies: list[bytes], cuts: list[int]) -> None:
    for framing in (PACKET, UBX):
        pairs = sent(framing, bodies)
        frames, skipped = run(framing, noise + b"".join(wire for wire, _ in pairs), cuts)
        assert (frames, skipped) == ([frame for _, frame in pairs], len(noise))


@given(st.sampled_from(list(HELD_MAX)), st.lists(st.binary(max_size=400), max_size=8))
def test_what_is_held_is_bounded_and_every_byte_is_a_frame_or_counted(
    framing: Framing, chunks: list[bytes]
) -> None:
    framer = framing.framer()
    framed = 0
    for chunk in chunks:
        framed += sum(len(frame) for frame in framer.feed(chunk))
        assert framer.held <= HELD_MAX[framing]
    total = sum(len(chunk) for chunk in chunks)
    assert framed + framer.skipped + framer.held <= total
    if framing in (PACKET, UBX, ModbusRtu()):
        assert framed + framer.skipped + framer.held == total


def test_a_bad_check_is_counted_and_the_next_packet_found() -> None:
    framer = PACKET.framer()
    bad = packet(b"abcdef")[:-2] + b"\x00\xab"
    assert list(framer.feed(bad + packet(b"ghijkl"))) == [packet(b"ghijkl")]
    assert framer.bad == 1
    assert framer.skipped == 10


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_that_never_ends_is_bounded_and_the_next_one_read(end: bytes) -> None:
    framer = Lines(limit=10, end=end).framer()
    assert list(framer.feed(b"x" * 1000)) == []
    assert framer.held < 2
    assert list(framer.feed(b"x" * 1000 + end + b"ok" + end)) == [b"ok"]
    assert framer.skipped == 2000 + len(end)


def test_the_longest_line_is_a_line_wherever_it_is_cut() -> None:
    framer = Lines(limit=10).framer()
    assert [*framer.feed(b"0123456789\r"), *framer.feed(b"\n")] == [b"0123456789"]


def test_a_line_that_lost_its_end_costs_only_itself_where_lines_have_a_beginning() -> None:
    framer = NMEA.framer()
    assert list(framer.feed(b"\xffnoise$GPGGA,12$GPRMC,1\r\nnothing\r\n")) == [b"$GPRMC,1"]
    assert framer.skipped == len(b"\xffnoise$GPGGA,12nothing")


@pytest.mark.parametrize("length", [0, 4, 200])
def test_counted_packets_carry_their_length(length: int) -> None:
    counted = Counted(head=b"\x5a\x5a", length_at=3, overhead=5)
    whole = b"\x5a\x5a\x15" + bytes([length]) + bytes(length) + b"\x00"
    assert run(counted, whole + whole, [3, 4, 9]) == ([whole, whole], 0)


def test_a_length_of_two_bytes_has_an_order() -> None:
    big = Counted(b"\x01", length_at=1, overhead=3, limit=600, length_bytes=2)
    assert run(big, b"\x01\x01\x02" + bytes(258), [2])[0] == [b"\x01\x01\x02" + bytes(258)]
    with pytest.raises(ValueError, match="overhead"):
        Counted(b"\x01", length_at=1, overhead=2, length_bytes=2)


def test_stuffing_as_the_papers_have_it() -> None:
    assert Cobs().wrap(bytes.fromhex("11220033")).hex() == "031122023300"
    assert Cobs().wrap(bytes(range(1, 255))).hex() == "ff" + bytes(range(1, 255)).hex() + "0100"
    assert Slip().wrap(b"\x01\xc0\x02\xdb").hex() == "c001dbdc02dbddc0"


@pytest.mark.parametrize(("framing", "wrong"), [(Cobs(), b"\x05ab\0"), (Slip(), b"a\xdbb\xc0")])
def test_what_is_stuffed_wrongly_is_bad_and_the_next_body_found(framing: Framing, wrong: bytes) -> None:
    framer = framing.framer()
    assert list(framer.feed(wrong + framing.wrap(b"ok"))) == [b"ok"]
    assert (framer.bad, framer.skipped) == (1, len(wrong))


def test_modbus_frames_of_the_standards_own_examples() -> None:
    assert crc16(b"123456789") == 0x4B37  # the check value of CRC-16/MODBUS
    question, answer = bytes.fromhex("1103006b00037687"), bytes.fromhex("110306ae415652434049ad")
    refusal = bytes.fromhex("0a81 02b0 53".replace(" ", ""))
    frames, skipped = run(ModbusRtu(), b"\x00" + question + answer + b"\xff\xff" + refusal, [5, 9, 30])
    assert frames == [question, answer, refusal]
    assert skipped == 3


def test_a_modbus_frame_behind_the_beginning_of_another_is_found_at_the_silence() -> None:
    framer = ModbusRtu().framer()
    answer = bytes.fromhex("110306ae415652434049ad")
    assert list(framer.feed(bytes.fromhex("1103c8ae41") + answer)) == []
    assert list(framer.rest()) == [answer]
    assert (framer.held, framer.skipped) == (0, 5)
