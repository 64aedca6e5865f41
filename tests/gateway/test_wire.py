"""The protocol's messages: round trips, and a named reason for everything that is not one."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.wire import (
    Ack,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
    pack_message,
    unpack_message,
)

SEQ = st.integers(1, 2**63 - 1)
LANE = st.integers(0, 3)
ID8 = st.binary(min_size=8, max_size=8)

MESSAGES = st.one_of(
    st.builds(
        Hello,
        st.sampled_from("UB"),
        ID8,
        st.dictionaries(LANE, st.tuples(SEQ, SEQ)),
        st.lists(ID8, max_size=16).map(tuple),
        st.text(max_size=40),
    ),
    st.builds(
        Welcome,
        SEQ,
        st.dictionaries(LANE, SEQ),
        SEQ,
        st.floats(0.1, 1000),
        st.lists(ID8, max_size=16).map(tuple),
    ),
    st.builds(Table, SEQ, st.just({"box": "b", "sensors": []})),
    st.builds(Frame, SEQ, LANE, SEQ, st.integers(1, 65535), st.binary(max_size=4096)),
    st.builds(
        lambda first, n: Gap(1, 2, first, first + n, "evicted", {1: n}),
        st.integers(1, 2**60),
        st.integers(0, 99),
    ),
    st.builds(Ack, SEQ, LANE, SEQ, SEQ),
    st.builds(Ping, SEQ),
    st.builds(Refusal, st.text(max_size=20), st.text(max_size=100), st.floats(0.1, 1000)),
)


@given(MESSAGES)
def test_every_message_comes_back(message: Message) -> None:
    assert unpack_message(pack_message(message)) == message


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_noise_is_a_wire_error(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        unpack_message(frames)


@given(MESSAGES, st.data())
def test_a_changed_field_is_a_message_or_a_wire_error(message: Message, data: st.DataObject) -> None:
    frames = pack_message(message)
    header = msgpack.unpackb(frames[0], strict_map_key=False)
    at = data.draw(st.integers(0, len(header) - 1))
    header[at] = data.draw(
        st.one_of(st.none(), st.integers(-5, 2**64 - 1), st.text(max_size=3), st.binary(max_size=9))
    )
    try:
        unpack_message([msgpack.packb(header), *frames[1:]])
    except WireError as error:
        assert error.reason.isidentifier()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b""], "malformed"),
        ([msgpack.packb([2, "P", 1])], "version"),
        ([msgpack.packb([1, "X", 1])], "unknown_letter"),
        ([msgpack.packb([1, "P", 1]), b"body"], "frame_count"),
        ([msgpack.packb([1, "D", 1, 2, 1, 1, 99]), b"body"], "crc"),
        ([b"x" * 5000], "too_long"),
        ([msgpack.packb([1, "A", 1, 7, 1, 1])], "malformed"),
        ([msgpack.packb([1, "G", 1, 2, 9, 3, "evicted", {}])], "malformed"),
        ([msgpack.packb([1, "T", 1]), b"[" * 50000], "malformed"),
    ],
)
def test_each_wrong_thing_has_its_name(frames: list[bytes], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        unpack_message(frames)
    assert caught.value.reason == reason
