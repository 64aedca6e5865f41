"""The protocol's messages: round trips, and a named reason for everything that is not one."""

import time
from typing import Any

import msgpack
import pytest
from effort import effort
from hypothesis import example, given
from hypothesis import strategies as st
from wire_pieces import MESSAGES, ODD, REASONS, bent

from gateway.errors import WireError
from gateway.wire import Message, Refusal, pack_message, unpack_message


def reason_of(frames: list[bytes]) -> str | None:
    """Why these frames are no message; None if they are one. Anything but a WireError is a bug."""
    try:
        unpack_message(frames)
    except WireError as error:
        assert error.reason in REASONS
        return error.reason
    return None


@effort(150)
@given(MESSAGES)
def test_every_message_comes_back(message: Message) -> None:
    assert unpack_message(pack_message(message)) == message


@effort(100)
@given(st.lists(st.binary(max_size=200), max_size=3))
def test_noise_is_a_wire_error(frames: list[bytes]) -> None:
    assert reason_of(frames)


@effort(200)
@given(ODD, st.none() | st.binary(max_size=50))
@example(["no list of fields"], None)
@example({1: 2}, None)
@example([1, ["a list for a letter"]], None)
@example([1, {"P": 1}], None)
def test_msgpack_that_is_no_message_is_a_wire_error(plain: Any, body: bytes | None) -> None:
    assert reason_of([msgpack.packb(plain)] if body is None else [msgpack.packb(plain), body])


@effort(100)
@given(
    st.sampled_from("HWTDZGACPE"), st.sampled_from([1, 2]), st.lists(ODD, max_size=8), st.binary(max_size=50)
)
def test_a_letter_with_other_fields_is_a_message_or_a_wire_error(
    letter: str, version: int, fields: list[Any], body: bytes
) -> None:
    header = msgpack.packb([version, letter, *fields])
    for frames in ([header], [header, body]):
        reason_of(frames)


@effort(300)
@given(st.data(), MESSAGES)
def test_a_bent_message_is_a_message_or_a_wire_error(data: st.DataObject, message: Message) -> None:
    frames = data.draw(bent(pack_message(message)))
    if reason_of(frames) is None:
        read = unpack_message(frames)
        assert unpack_message(pack_message(read)) == read, "what is taken can be said again"


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "frame_count"),
        ([b""], "malformed"),
        ([msgpack.packb([2, "P", 1])], "version"),
        ([msgpack.packb([3, "A", 1, 2, 3, 4])], "version"),
        ([msgpack.packb([1, "Z", 1, 2, 1, 0, msgpack.packb([1, 1])]), b""], "version"),
        ([msgpack.packb([1, "C", 1, bytes(64)]), b""], "version"),
        ([msgpack.packb([True, "P", 1])], "version"),
        ([msgpack.packb([1.0, "P", 1])], "version"),
        ([msgpack.packb([1, "X", 1])], "unknown_letter"),
        ([msgpack.packb([9, "X", 1])], "unknown_letter"),
        ([msgpack.packb([1, "P", 1]), b"body"], "frame_count"),
        ([msgpack.packb([1, "D", 1, 2, 1, 1, 0])], "frame_count"),
        ([msgpack.packb([1, "D", 1, 2, 1, 1, 99]), b"body"], "crc"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 99, msgpack.packb([1, 1])]), b"body"], "crc"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([])]), b""], "malformed"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([1])]), b""], "malformed"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([1, 0])]), b""], "malformed"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([1] * 122)]), b""], "malformed"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([1, 65537])]), b""], "too_long"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([65536, 1])]), b""], "too_long"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, msgpack.packb([1, 65535, 1, 2])]), b""], "too_long"),
        ([msgpack.packb([2, "Z", 1, 2, 1, 0, b""]), b""], "malformed"),
        ([msgpack.packb([2, "C", 1, bytes(63)]), b""], "malformed"),
        ([msgpack.packb([2, "C", 1, bytes(64)]), bytes(1025)], "too_long"),
        ([b"x" * 5000], "too_long"),
        ([msgpack.packb([1, "D", 1, 2, 1, 1, 0]), bytes(65536)], "too_long"),
        ([msgpack.packb([1, "A", 1, 7, 1, 1])], "malformed"),
        ([msgpack.packb([1, "A", 1, 2, 2**63, 1])], "malformed"),
        ([msgpack.packb([1, "A", 1, 2, -1, 1])], "malformed"),
        ([msgpack.packb([1, "A", 1, 2, 1, 1, -1])], "malformed"),
        ([msgpack.packb([1, "A", 1, 2, True, 1])], "malformed"),
        ([msgpack.packb([1, "A", 1, 2])], "malformed"),
        ([msgpack.packb([1, "D", 1, 2, 1, 0, 0]), b""], "malformed"),
        ([msgpack.packb([1, "D", 1, 2, 1, 65536, 0]), b""], "malformed"),
        ([msgpack.packb([1, "D", 1, 2, 0, 1, 0]), b""], "malformed"),
        ([msgpack.packb([1, "G", 1, 2, 9, 3, "evicted", {}])], "malformed"),
        ([msgpack.packb([1, "G", 1, 2, 3, 9, "bored", {}])], "malformed"),
        ([msgpack.packb([1, "G", 1, 2, 3, 9, "evicted", [1]])], "malformed"),
        ([msgpack.packb([1, "H", "X", bytes(8), {}, [], ""])], "malformed"),
        ([msgpack.packb([1, "H", "U", bytes(7), {}, [], ""])], "malformed"),
        ([msgpack.packb([1, "H", "U", bytes(8), {}, [], "", [2, 1]])], "malformed"),
        ([msgpack.packb([1, "H", "U", bytes(8), {}, [], "", [0, 1]])], "malformed"),
        ([msgpack.packb([1, "H", "U", bytes(8), {}, [], "", [1]])], "malformed"),
        ([msgpack.packb([1, "W", 1, {}, 1, float("nan"), []])], "malformed"),
        ([msgpack.packb([1, "W", 1, {}, 1, float("inf"), []])], "malformed"),
        ([msgpack.packb([1, "W", 1, {}, 1, 0, []])], "malformed"),
        ([msgpack.packb([1, "W", 1, {}, 1, 1.0, [], 0])], "malformed"),
        ([msgpack.packb([1, "T", 1]), b"[" * 50000], "malformed"),
        ([msgpack.packb([1, "T", 1]), b"9" * 50000], "malformed"),
        ([msgpack.packb([1, "T", 1]), b"[]"], "malformed"),
        ([msgpack.packb([1, "T", 1]), b'"\xff"'], "malformed"),
        ([msgpack.packb([1, "T", 1]), b" " * 60001], "too_long"),
        ([b"\x91" * 4000], "malformed"),
        ([b"\xdd\xff\xff\xff\xff"], "malformed"),
        ([b"\xdf\xff\xff\xff\xff"], "malformed"),
        ([b"\xc6\xff\xff\xff\xff"], "malformed"),
    ],
)
def test_each_wrong_thing_has_its_name(frames: list[bytes], reason: str) -> None:
    began = time.process_time()
    assert reason_of(frames) == reason
    assert time.process_time() - began < 0.2


def test_a_message_over_a_cap_is_not_sent() -> None:
    for text, retry_s in (("x" * 5000, 1.0), ("", 1.0)):
        refusal = Refusal("code", text, retry_s)
        if text:
            with pytest.raises(WireError, match="too_long"):
                pack_message(refusal)
        else:
            assert unpack_message(pack_message(refusal)) == refusal
