"""The NAT that forgets: what it calls a connection, and what it lets through."""

import struct

from gateway_hil.nat import Nat, flow_of

BOX, HUB = bytes([198, 18, 0, 1]), bytes([198, 18, 0, 2])


def tcp(
    source: tuple[bytes, int], target: tuple[bytes, int], *, options: bytes = b"", offset: int = 0
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 40, 7, offset, 64, 6, 0)
    return head + source[0] + target[0] + options + struct.pack(">HH", source[1], target[1]) + bytes(16)


def test_both_directions_are_one_connection() -> None:
    there, back = tcp((BOX, 40_000), (HUB, 7711)), tcp((HUB, 7711), (BOX, 40_000))
    assert flow_of(there) == flow_of(back) is not None
    assert flow_of(there) != flow_of(tcp((BOX, 40_001), (HUB, 7711)))
    assert flow_of(there) == flow_of(tcp((BOX, 40_000), (HUB, 7711), options=b"\1\1\1\0"))


def test_what_is_no_whole_tcp_over_ipv4_is_no_connection() -> None:
    packet = tcp((BOX, 40_000), (HUB, 7711))
    assert flow_of(packet[:19]) is None
    assert flow_of(packet[:22]) is None
    assert flow_of(b"\x60" + packet[1:]) is None, "IPv6"
    assert flow_of(packet[:9] + b"\x11" + packet[10:]) is None, "UDP"
    assert flow_of(tcp((BOX, 40_000), (HUB, 7711), offset=100)) is None, "a fragment's rest"


def test_what_was_forgotten_stays_out_and_new_connections_pass() -> None:
    nat = Nat()
    old, new = (BOX, 40_000), (BOX, 40_001)
    assert nat.passes(tcp(old, (HUB, 7711)))
    assert nat.forget() == 1
    assert not nat.passes(tcp(old, (HUB, 7711)))
    assert not nat.passes(tcp((HUB, 7711), old)), "the hub's packets neither"
    assert nat.passes(tcp(new, (HUB, 7711)))
    assert nat.passes(b"\x60" + bytes(40))
    assert nat.forget() == 1
    assert not nat.passes(tcp(new, (HUB, 7711)))
    assert not nat.passes(tcp(old, (HUB, 7711))), "forgotten is for ever"
