"""Framing: however the bytes are cut up, the same frames come out; noise costs only itself."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing import Counted, Fixed, Framing, Lines

PACKET = Fixed(10, head=b"\xaa\xc0", tail=b"\xab", check=lambda p: sum(p[2:8]) & 0xFF == p[8])


def packet(body: bytes) -> bytes:
    return b"\xaa\xc0" + body + bytes([sum(body) & 0xFF]) + b"\xab"


def run(framing: Framing, stream: bytes, cuts: list[int]) -> list[bytes]:
    framer = framing.framer()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [frame for a, b in itertools.pairwise(edges) for frame in framer.feed(stream[a:b])]


BODIES = st.lists(st.binary(min_size=6, max_size=6), max_size=8)
CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(BODIES, CUTS)
def test_packets_come_whole_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    packets = [packet(body) for body in bodies]
    assert run(PACKET, b"".join(packets), cuts) == packets


@given(st.binary(max_size=40).filter(lambda b: 0xAA not in b), BODIES, CUTS)
def test_noise_before_packets_costs_no_packet(noise: bytes, bodies: list[bytes], cuts: list[int]) -> None:
    packets = [packet(body) for body in bodies]
    assert run(PACKET, noise + b"".join(packets), cuts) == packets


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda b: not set(b) & {10, 13}), max_size=8), CUTS)
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    assert run(Lines(), b"".join(line + b"\r\n" for line in lines), cuts) == lines


@given(st.binary(max_size=400), CUTS)
def test_every_byte_of_noise_is_a_frame_or_counted(noise: bytes, cuts: list[int]) -> None:
    framer = PACKET.framer()
    framed = sum(len(frame) for frame in framer.feed(noise))
    assert framed + framer.skipped <= len(noise)
    assert len(noise) - framed - framer.skipped < 10  # what may still become a packet


def test_a_bad_check_is_counted_and_the_next_packet_found() -> None:
    framer = PACKET.framer()
    bad = packet(b"abcdef")[:-2] + b"\x00\xab"
    assert list(framer.feed(bad + packet(b"ghijkl"))) == [packet(b"ghijkl")]
    assert framer.bad == 1
    assert framer.skipped == 10


def test_a_line_that_never_ends_is_bounded_and_the_next_one_read() -> None:
    framer = Lines(limit=10).framer()
    assert list(framer.feed(b"x" * 1000)) == []
    assert list(framer.feed(b"x" * 1000 + b"\nok\n")) == [b"ok"]
    assert framer.skipped == 2001


@pytest.mark.parametrize("length", [0, 4, 200])
def test_counted_packets_carry_their_length(length: int) -> None:
    counted = Counted(head=b"\x5a\x5a", length_at=3, overhead=5)
    whole = b"\x5a\x5a\x15" + bytes([length]) + bytes(length) + b"\x00"
    assert run(counted, whole + whole, [3, 4, 9]) == [whole, whole]
