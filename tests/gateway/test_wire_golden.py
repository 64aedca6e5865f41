"""Bytes on the wire as they were when a version was made: whoever changes a format sees red here.

Written down, not computed: boxes and hubs of different age meet in one city. docs/wire.md has the fields.
"""

import msgpack
import pytest

from gateway.wire import (
    NEWER,
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
    pack_message,
    unpack_message,
)

EPOCH = b"epoch--1"
SAID_NOW: dict[str, tuple[Message, str, str | None]] = {
    "Hello": (
        Hello("B", EPOCH, {2: (5, 300), 3: (1, 1)}, (b"tableid8",), "1.4", (1, 2)),
        "9801a148a142c40865706f63682d2d31820292 05cd012c03920101 91c4087461626c65696438a3312e34920102",
        None,
    ),
    "Welcome": (
        Welcome(77, {2: 4, 3: 0}, 262144, 30.0, (b"tableid8",), 2),
        "9801a1574d8202040300ce00040000cb403e000000000000 91c4087461626c6569643802",
        None,
    ),
    "Table": (Table(77, {"box": "elm-1"}), "9301a1544d", "7b22626f78223a2022656c6d2d31227d"),
    "Frame": (Frame(77, 2, 300, 3, b"a batch"), "9701a1444d02cd012c03ce892838d0", "61206261746368"),
    "Bundle": (
        Bundle(77, 2, 300, ((3, 500), (20, 4096)), b"zstd"),
        "9702a15a4d02cd012cce72fd505ec40994 03cd01f414cd1000",
        "7a737464",
    ),
    "Gap": (
        Gap(77, 2, 300, 70000, "evicted", {1: 69701}),
        "9801a1474d02cd012cce00011170a765766963746564 8101ce00011045",
        None,
    ),
    "Ack": (Ack(77, 2, 302, 262144, 20500), "9701a1414d02cd012ece00040000cd5014", None),
    "Command": (
        Command(77, bytes(range(64)), b"\x81\x01\x02"),
        "9402a1434dc440" + bytes(range(64)).hex(),
        "810102",
    ),
    "Ping": (Ping(77), "9301a1504d", None),
    "Refusal": (
        Refusal("revoked", "not on the list", 300.0),
        "9501a145a77265766f6b6564af6e6f74206f6e20746865206c697374 cb4072c00000000000",
        None,
    ),
}
# What version 1 said before fields were appended: read for as long as such a box or hub may live.
SAID_ONCE: dict[str, tuple[Message, str]] = {
    "Hello": (
        Hello("B", EPOCH, {2: (5, 300), 3: (1, 1)}, (b"tableid8",), "1.4", (1, 1)),
        "9701a148a142c40865706f63682d2d31820292 05cd012c03920101 91c4087461626c65696438a3312e34",
    ),
    "Welcome": (
        Welcome(77, {2: 4, 3: 0}, 262144, 30.0, (b"tableid8",), 1),
        "9701a1574d8202040300ce00040000cb403e000000000000 91c4087461626c65696438",
    ),
    "Ack": (Ack(77, 2, 302, 262144, 0), "9601a1414d02cd012ece00040000"),
}


def golden(name: str) -> tuple[Message, list[bytes]]:
    message, header, body = SAID_NOW[name]
    return message, [bytes.fromhex(part) for part in (header, body) if part is not None]


@pytest.mark.parametrize("name", SAID_NOW)
def test_a_message_is_said_in_the_bytes_it_always_had(name: str) -> None:
    message, frames = golden(name)
    assert [frame.hex() for frame in pack_message(message)] == [frame.hex() for frame in frames]
    assert unpack_message(frames) == message


@pytest.mark.parametrize("name", SAID_ONCE)
def test_what_version_1_said_is_read(name: str) -> None:
    message, header = SAID_ONCE[name]
    assert unpack_message([bytes.fromhex(header)]) == message


@pytest.mark.parametrize("name", SAID_NOW)
def test_fields_that_a_later_version_appends_are_ignored(name: str) -> None:
    message, (header, *body) = golden(name)
    later = msgpack.packb([*msgpack.unpackb(header, strict_map_key=False), "something", {"new": [1]}])
    assert unpack_message([later, *body]) == message


def test_every_letter_says_the_version_that_made_it() -> None:
    said = {name: msgpack.unpackb(golden(name)[1][0], strict_map_key=False)[:2] for name in SAID_NOW}
    assert {name for name, (version, _) in said.items() if version == 2} == {"Bundle", "Command"}
    assert {letter: version for version, letter in said.values() if version > 1} == NEWER
    assert len({letter for _, letter in said.values()}) == len(SAID_NOW)
