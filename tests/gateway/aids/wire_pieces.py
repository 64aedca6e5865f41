"""Messages of every kind for hypothesis: valid ones, bent ones, and bytes that never were a message."""

from typing import Any

import msgpack
from hypothesis import strategies as st

from gateway.wire import (
    COMMAND_MAX,
    GAP_REASONS,
    PARTS_MAX,
    SEQ_MAX,
    Ack,
    Bundle,
    Command,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
)

# Every reason that reading a message may give: they are names of counters.
REASONS = {"frame_count", "too_long", "version", "unknown_letter", "malformed", "crc"}

ANY_SEQ = st.one_of(
    st.integers(0, 40), st.integers(0, SEQ_MAX - 1), st.sampled_from([SEQ_MAX - 1, 2**32, 2**31])
)
SEQ = ANY_SEQ.map(lambda seq: seq or 1)
LANE = st.integers(0, 3)
ID8 = st.binary(min_size=8, max_size=8)
SECONDS = st.one_of(st.floats(1e-9, 86399), st.integers(1, 86399).map(float))
COUNTS = st.dictionaries(st.integers(0, 9), ANY_SEQ, max_size=5)
PART = st.tuples(st.integers(1, 65535), st.integers(1, 1000))

HELLO = st.builds(
    Hello,
    st.sampled_from("UB"),
    ID8,
    st.dictionaries(LANE, st.tuples(ANY_SEQ, ANY_SEQ)),
    st.lists(ID8, max_size=16).map(tuple),
    st.text(max_size=40),
    st.tuples(SEQ, SEQ).map(lambda pair: (min(pair), max(pair))),
)
WELCOME = st.builds(
    Welcome,
    ANY_SEQ,
    st.dictionaries(LANE, ANY_SEQ),
    ANY_SEQ,
    SECONDS,
    st.lists(ID8, max_size=16).map(tuple),
    SEQ,
)
TABLE = st.builds(Table, ANY_SEQ, st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9)))
FRAME = st.builds(Frame, ANY_SEQ, LANE, SEQ, st.integers(1, 65535), st.binary(max_size=4096))
BUNDLE = st.builds(
    Bundle,
    ANY_SEQ,
    LANE,
    SEQ,
    st.lists(PART, min_size=1, max_size=PARTS_MAX).map(tuple),
    st.binary(max_size=999),
)
GAP = st.builds(
    lambda session, lane, first, more, reason, counts: Gap(
        session, lane, first, min(first + more, SEQ_MAX - 1), reason, counts
    ),
    ANY_SEQ, LANE, SEQ, ANY_SEQ, st.sampled_from(GAP_REASONS), COUNTS,
)  # fmt: skip
ACK = st.builds(Ack, ANY_SEQ, LANE, ANY_SEQ, ANY_SEQ, ANY_SEQ)
COMMAND = st.builds(Command, ANY_SEQ, st.binary(min_size=64, max_size=64), st.binary(max_size=COMMAND_MAX))
PING = st.builds(Ping, ANY_SEQ)
REFUSAL = st.builds(Refusal, st.text(max_size=20), st.text(max_size=100), SECONDS)

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    HELLO, WELCOME, TABLE, FRAME, BUNDLE, GAP, ACK, COMMAND, PING, REFUSAL
)

# What msgpack can say where something else was expected, nested and of its extension types too.
ODD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=600),
        st.binary(max_size=600),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=12)),
        st.builds(msgpack.Timestamp, st.integers(0, 2**33), st.integers(0, 10**9 - 1)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=70),
        st.dictionaries(st.integers(-1, 5) | st.text(max_size=3), inner, max_size=5),
    ),
    max_leaves=8,
)


@st.composite
def bent(draw: st.DrawFn, frames: list[bytes]) -> list[bytes]:
    """A message with something wrong: a field, a missing or added one, a byte, a frame, an end."""
    header = list(msgpack.unpackb(frames[0], strict_map_key=False))
    how = draw(st.sampled_from(["field", "field", "field", "drop", "add", "byte", "cut", "frames"]))
    if how == "field":
        header[draw(st.integers(0, len(header) - 1))] = draw(ODD)
    elif how == "drop":
        del header[draw(st.integers(0, len(header) - 1)) :]
    elif how == "add":
        header += draw(st.lists(ODD, max_size=3))
    if how in {"field", "drop", "add"}:
        return [msgpack.packb(header), *frames[1:]]
    if how == "frames":
        return draw(
            st.sampled_from([[], frames[:1], [*frames, b""], [*frames, frames[0]], frames[::-1], frames * 2])
        )
    at = draw(st.integers(0, len(frames) - 1))
    frame = bytearray(frames[at])
    if not frame:
        return [*frames, b""]
    place = draw(st.integers(0, len(frame) - 1))
    if how == "byte":
        frame[place] ^= draw(st.integers(1, 255))
    else:
        del frame[place:]
    return [*frames[:at], bytes(frame), *frames[at + 1 :]]
