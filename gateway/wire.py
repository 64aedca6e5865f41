"""The uplink protocol's messages: a msgpack array in the first ZeroMQ frame, a body in the second.

Every message starts with [version, letter], the version being the first that knows the letter. Box and
hub agree on a version by Hello and Welcome, and send nothing that is newer. Lengths, counts and types are
bounded here, on the way in, so neither end ever trusts a number from the other. docs/wire.md tells the same
story for people who write a hub in another language.

    box                       hub
    Hello ───────────────────▶
          ◀─────────────────── Welcome       where to resume, how much may be under way
    Table ───────────────────▶               only those the hub asked for
    Frame, Bundle, Gap ──────▶
          ◀─────────────────── Ack           on the hub's disk up to and including `acked`
          ◀─────────────────── Command       signed by the hub's key; its result comes as a record
    Ping  ◀──────────────────▶ Ping          any traffic counts as life
          ◀─────────────────── Refusal       then the box closes and tries again later
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from gateway.errors import WireError
from gateway.reading import Lane

PROTOCOLS: Final = (1, 2)  # the oldest and the newest version spoken here
MESSAGE_MAX: Final = 65536  # bytes; both sockets set ZMQ_MAXMSGSIZE to it
HEADER_MAX: Final = 4096
TABLE_MAX: Final = 60000
PARTS_MAX: Final = 60  # frames in a bundle
BUNDLE_RAW_MAX: Final = 65536  # bytes of a bundle's frames, unpacked
COMMAND_MAX: Final = 1024  # bytes of a command's signed content
SIGNATURE_SIZE: Final = 64  # Ed25519, RFC 8032
TABLES_MAX: Final = 16
SEQ_MAX: Final = 2**63
LANES_BY_ROLE: Final[dict[str, tuple[Lane, ...]]] = {
    "U": (Lane.ALERT, Lane.STATE),
    "B": (Lane.TELEMETRY, Lane.BULK),
}


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a connection: what the box holds. `role` is "U" (urgent) or "B" (bulk).

    `lanes` maps lane number to (first sequence number held, next one to be given out).
    """

    role: str
    epoch: bytes  # 8 random bytes made when the spool was created
    lanes: dict[int, tuple[int, int]]
    tables: tuple[bytes, ...]  # ids of the measure tables its records use
    software: str = ""
    protocols: tuple[int, int] = (1, 1)  # oldest and newest version that the box speaks


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub's answer. `acked` maps lane to the last sequence number on the hub's disk (0: none)."""

    session: int
    acked: dict[int, int]
    credit: int  # bytes that may be under way
    heartbeat_s: float
    wanted: tuple[bytes, ...] = ()
    protocol: int = 1  # what is spoken from here on


@dataclass(frozen=True, slots=True)
class Table:
    """A measure table the hub asked for; its id is the hash of its content (gateway.plan.table_id)."""

    session: int
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """A stored batch as it is: `count` records numbered from `first_seq`. `payload` is a batch."""

    session: int
    lane: int
    first_seq: int
    count: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """Frames of one lane that follow each other, their payloads joined and compressed with zstd (version 2).

    `parts` holds the record count and the payload size of each frame, in order.
    """

    session: int
    lane: int
    first_seq: int
    parts: tuple[tuple[int, int], ...]
    packed: bytes

    @property
    def count(self) -> int:
        """Records in all its frames."""
        return sum(count for count, _ in self.parts)


@dataclass(frozen=True, slots=True)
class Gap:
    """Records `first_seq`..`last_seq` are lost on the box and will never come; `counts` is by Kind."""

    session: int
    lane: int
    first_seq: int
    last_seq: int
    reason: str  # one of GAP_REASONS
    counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything in `lane` up to `acked` is on the hub's disk; `credit` replaces the Welcome's.

    `held_us` is how long the hub had the newest of it before it said so: no part of the way.
    """

    session: int
    lane: int
    acked: int
    credit: int
    held_us: int = 0


@dataclass(frozen=True, slots=True)
class Ping:
    """Sign of life, answered by nothing but the peer's own pings."""

    session: int


@dataclass(frozen=True, slots=True)
class Command:
    """What the box shall do, as the hub's owner signed it (version 2); gateway.order reads `content`."""

    session: int
    signature: bytes  # Ed25519 over gateway.order.signed(content)
    content: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The hub will not serve this connection; `retry_s` says when to come back."""

    code: str
    text: str
    retry_s: float


Message = Hello | Welcome | Table | Frame | Bundle | Gap | Ack | Command | Ping | Refusal
NEWER: Final = {"Z": 2, "C": 2}  # letters that version 1 does not have
GAP_REASONS: Final = ("evicted", "corrupt", "disk", "forgotten", "renumbered")


def pack_message(message: Message) -> list[bytes]:
    """The ZeroMQ frames of one message. Raises WireError if it is over a cap."""
    body: bytes | None = None
    fields: list[Any]
    match message:
        case Hello():
            lanes = {lane: list(span) for lane, span in message.lanes.items()}
            fields = ["H", message.role, message.epoch, lanes, list(message.tables), message.software]
            fields.append(list(message.protocols))
        case Welcome():
            wanted = list(message.wanted)
            fields = ["W", message.session, message.acked, message.credit, message.heartbeat_s, wanted]
            fields.append(message.protocol)
        case Table():
            fields, body = ["T", message.session], json.dumps(message.table).encode()
        case Frame():
            body = message.payload
            crc = zlib.crc32(body)
            fields = ["D", message.session, message.lane, message.first_seq, message.count, crc]
        case Bundle():
            body = message.packed
            crc = zlib.crc32(body)
            parts = [number for part in message.parts for number in part]
            fields = ["Z", message.session, message.lane, message.first_seq, crc, msgpack.packb(parts)]
        case Gap():
            span = [message.first_seq, message.last_seq]
            fields = ["G", message.session, message.lane, *span, message.reason, message.counts]
        case Ack():
            fields = ["A", message.session, message.lane, message.acked, message.credit, message.held_us]
        case Command():
            fields, body = ["C", message.session, message.signature], message.content
        case Ping():
            fields = ["P", message.session]
        case Refusal():
            fields = ["E", message.code, message.text, message.retry_s]
    header: bytes = msgpack.packb([NEWER.get(fields[0], 1), *fields])
    if len(header) > HEADER_MAX or len(header) + len(body or b"") > MESSAGE_MAX:
        raise WireError("too_long", f"{len(header)} + {len(body or b'')} bytes")
    return [header] if body is None else [header, body]


def unpack_message(frames: list[bytes]) -> Message:
    """Read one message. Raises WireError with a counter name for anything outside the protocol."""
    if not 1 <= len(frames) <= 2:
        raise WireError("frame_count", f"{len(frames)}")
    if len(frames[0]) > HEADER_MAX or sum(map(len, frames)) > MESSAGE_MAX:
        raise WireError("too_long", f"{[len(f) for f in frames]}")
    try:
        version, letter, *fields = msgpack.unpackb(
            frames[0],
            strict_map_key=False,
            max_str_len=512,
            max_bin_len=512,
            max_array_len=64,
            max_map_len=64,
        )
        # A type, too: True and 1.0 equal 1.
        if letter in _READERS and (type(version) is not int or version != NEWER.get(letter, 1)):
            raise WireError("version", f"a message {letter!r:.20} of version {version!r:.20}")
        return _unpack(letter, fields, frames[1] if len(frames) == 2 else None)
    except WireError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise WireError("malformed", str(error)) from error


def _unpack(letter: str, fields: list[Any], body: bytes | None) -> Message:
    if letter not in _READERS:
        raise WireError("unknown_letter", f"{letter!r}")
    if (body is not None) != (letter in _WITH_BODY):
        raise WireError("frame_count", f"message {letter!r}")
    return _READERS[letter](fields, body or b"")


def _hello(fields: list[Any], _: bytes) -> Hello:
    role, epoch, lanes, tables, software = fields[:5]
    if role not in LANES_BY_ROLE:
        raise WireError("malformed", f"role {role!r}")
    spans = {_lane(lane): (_seq(span[0]), _seq(span[1])) for lane, span in lanes.items()}
    oldest, newest = fields[5] if len(fields) > 5 else (1, 1)
    if not 1 <= _seq(oldest) <= _seq(newest):
        raise WireError("malformed", f"versions {oldest}..{newest}")
    return Hello(role, _bytes8(epoch), spans, _ids(tables), _text(software), (oldest, newest))


def _welcome(fields: list[Any], _: bytes) -> Welcome:
    session, acked, credit, heartbeat_s, wanted = fields[:5]
    lanes = {_lane(lane): _seq(seq) for lane, seq in acked.items()}
    protocol = _positive(fields[5]) if len(fields) > 5 else 1
    return Welcome(_seq(session), lanes, _seq(credit), _seconds(heartbeat_s), _ids(wanted), protocol)


def _table(fields: list[Any], body: bytes) -> Table:
    if len(body) > TABLE_MAX:
        raise WireError("too_long", "table")
    table = json.loads(body)
    if not isinstance(table, dict):
        raise WireError("malformed", "table")
    return Table(_seq(fields[0]), table)


def _frame(fields: list[Any], body: bytes) -> Frame:
    session, lane, first, count, crc = fields[:5]
    if zlib.crc32(body) != crc:
        raise WireError("crc", "frame body")
    if not 1 <= _seq(count) <= 65535:
        raise WireError("malformed", f"count {count}")
    return Frame(_seq(session), _lane(lane), _positive(first), count, body)


def _bundle(fields: list[Any], body: bytes) -> Bundle:
    session, lane, first, crc, packed_parts = fields[:5]
    if zlib.crc32(body) != crc:
        raise WireError("crc", "bundle body")
    numbers = msgpack.unpackb(packed_parts, max_array_len=2 * PARTS_MAX)
    if type(numbers) is not list or not numbers or len(numbers) % 2:
        raise WireError("malformed", "a bundle's parts come in pairs")
    parts = tuple(
        (_positive(count), _positive(size)) for count, size in zip(numbers[::2], numbers[1::2], strict=True)
    )
    if any(count > 65535 for count, _ in parts) or sum(size for _, size in parts) > BUNDLE_RAW_MAX:
        raise WireError("too_long", f"a bundle of {len(parts)} frames")
    return Bundle(_seq(session), _lane(lane), _positive(first), parts, body)


def _gap(fields: list[Any], _: bytes) -> Gap:
    session, lane, first, last, reason, counts = fields[:6]
    if _positive(last) < _positive(first) or reason not in GAP_REASONS:
        raise WireError("malformed", f"gap {first}..{last} {reason!r}")
    by_kind = {_seq(kind): _seq(count) for kind, count in counts.items()}
    return Gap(_seq(session), _lane(lane), first, last, reason, by_kind)


def _ack(fields: list[Any], _: bytes) -> Ack:
    session, lane, acked, credit = fields[:4]
    held_us = _seq(fields[4]) if len(fields) > 4 else 0
    return Ack(_seq(session), _lane(lane), _seq(acked), _seq(credit), held_us)


def _command(fields: list[Any], body: bytes) -> Command:
    session, signature = fields[:2]
    if type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
        raise WireError("malformed", "a signature is not 64 bytes")
    if len(body) > COMMAND_MAX:
        raise WireError("too_long", "command")
    return Command(_seq(session), signature, body)


def _ping(fields: list[Any], _: bytes) -> Ping:
    return Ping(_seq(fields[0]))


def _refusal(fields: list[Any], _: bytes) -> Refusal:
    code, text, retry_s = fields[:3]
    return Refusal(_text(code), _text(text), _seconds(retry_s))


_WITH_BODY: Final = frozenset("TDZC")
_READERS: Final[dict[str, Callable[[list[Any], bytes], Message]]] = {
    "H": _hello,
    "W": _welcome,
    "T": _table,
    "D": _frame,
    "Z": _bundle,
    "G": _gap,
    "A": _ack,
    "C": _command,
    "P": _ping,
    "E": _refusal,
}


def _ids(values: Any) -> tuple[bytes, ...]:
    return tuple(_bytes8(value) for value in values[:TABLES_MAX])


def _seq(value: Any) -> int:
    if type(value) is not int or not 0 <= value < SEQ_MAX:
        raise WireError("malformed", f"{value!r} is no number in range")
    return value


def _positive(value: Any) -> int:
    if _seq(value) == 0:
        raise WireError("malformed", "sequence numbers start at 1")
    return int(value)


def _lane(value: Any) -> int:
    return int(Lane(_seq(value)))


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 86400:
        raise WireError("malformed", f"{value!r} is no time")
    return float(value)


def _bytes8(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != 8:
        raise WireError("malformed", "an id is not 8 bytes")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise WireError("malformed", "not text")
    return value[:200]
