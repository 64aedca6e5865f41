"""The uplink protocol's messages, version 1: a msgpack array in the first ZeroMQ frame, a body in the second.

Every message starts with [protocol version, letter]. Lengths, counts and types are bounded here, on
the way in, so neither end ever trusts a number from the other. docs/wire.md tells the same story for
people who write a hub in another language.

    box                       hub
    Hello ───────────────────▶
          ◀─────────────────── Welcome       where to resume, how much may be under way
    Table ───────────────────▶               only those the hub asked for
    Frame, Gap ──────────────▶
          ◀─────────────────── Ack           on the hub's disk up to and including `acked`
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

PROTOCOL: Final = 1
MESSAGE_MAX: Final = 65536  # bytes; both sockets set ZMQ_MAXMSGSIZE to it
HEADER_MAX: Final = 4096
TABLE_MAX: Final = 60000
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


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub's answer. `acked` maps lane to the last sequence number on the hub's disk (0: none)."""

    session: int
    acked: dict[int, int]
    credit: int  # bytes that may be under way
    heartbeat_s: float
    wanted: tuple[bytes, ...] = ()


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
    """Everything in `lane` up to `acked` is on the hub's disk; `credit` replaces the Welcome's."""

    session: int
    lane: int
    acked: int
    credit: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Sign of life, answered by nothing but the peer's own pings."""

    session: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The hub will not serve this connection; `retry_s` says when to come back."""

    code: str
    text: str
    retry_s: float


Message = Hello | Welcome | Table | Frame | Gap | Ack | Ping | Refusal
GAP_REASONS: Final = ("evicted", "corrupt", "disk", "forgotten", "renumbered")


def pack_message(message: Message) -> list[bytes]:
    """The ZeroMQ frames of one message. Raises WireError if it is over a cap."""
    body: bytes | None = None
    fields: list[Any]
    match message:
        case Hello():
            lanes = {lane: list(span) for lane, span in message.lanes.items()}
            fields = ["H", message.role, message.epoch, lanes, list(message.tables), message.software]
        case Welcome():
            wanted = list(message.wanted)
            fields = ["W", message.session, message.acked, message.credit, message.heartbeat_s, wanted]
        case Table():
            fields, body = ["T", message.session], json.dumps(message.table).encode()
        case Frame():
            body = message.payload
            crc = zlib.crc32(body)
            fields = ["D", message.session, message.lane, message.first_seq, message.count, crc]
        case Gap():
            span = [message.first_seq, message.last_seq]
            fields = ["G", message.session, message.lane, *span, message.reason, message.counts]
        case Ack():
            fields = ["A", message.session, message.lane, message.acked, message.credit]
        case Ping():
            fields = ["P", message.session]
        case Refusal():
            fields = ["E", message.code, message.text, message.retry_s]
    header: bytes = msgpack.packb([PROTOCOL, *fields])
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
            frames[0], strict_map_key=False, max_str_len=512, max_bin_len=64, max_array_len=64, max_map_len=64
        )
        if version != PROTOCOL:
            raise WireError("version", f"peer speaks {version!r}, this end {PROTOCOL}")
        return _unpack(letter, fields, frames[1] if len(frames) == 2 else None)
    except WireError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise WireError("malformed", str(error)) from error


def _unpack(letter: str, fields: list[Any], body: bytes | None) -> Message:
    if letter not in _READERS:
        raise WireError("unknown_letter", f"{letter!r}")
    if (body is not None) != (letter in {"T", "D"}):
        raise WireError("frame_count", f"message {letter!r}")
    return _READERS[letter](fields, body or b"")


def _hello(fields: list[Any], _: bytes) -> Hello:
    role, epoch, lanes, tables, software = fields[:5]
    if role not in LANES_BY_ROLE:
        raise WireError("malformed", f"role {role!r}")
    spans = {_lane(lane): (_seq(span[0]), _seq(span[1])) for lane, span in lanes.items()}
    return Hello(role, _bytes8(epoch), spans, _ids(tables), _text(software))


def _welcome(fields: list[Any], _: bytes) -> Welcome:
    session, acked, credit, heartbeat_s, wanted = fields[:5]
    lanes = {_lane(lane): _seq(seq) for lane, seq in acked.items()}
    return Welcome(_seq(session), lanes, _seq(credit), _seconds(heartbeat_s), _ids(wanted))


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


def _gap(fields: list[Any], _: bytes) -> Gap:
    session, lane, first, last, reason, counts = fields[:6]
    if _positive(last) < _positive(first) or reason not in GAP_REASONS:
        raise WireError("malformed", f"gap {first}..{last} {reason!r}")
    by_kind = {_seq(kind): _seq(count) for kind, count in counts.items()}
    return Gap(_seq(session), _lane(lane), first, last, reason, by_kind)


def _ack(fields: list[Any], _: bytes) -> Ack:
    session, lane, acked, credit = fields[:4]
    return Ack(_seq(session), _lane(lane), _seq(acked), _seq(credit))


def _ping(fields: list[Any], _: bytes) -> Ping:
    return Ping(_seq(fields[0]))


def _refusal(fields: list[Any], _: bytes) -> Refusal:
    code, text, retry_s = fields[:3]
    return Refusal(_text(code), _text(text), _seconds(retry_s))


_READERS: Final[dict[str, Callable[[list[Any], bytes], Message]]] = {
    "H": _hello,
    "W": _welcome,
    "T": _table,
    "D": _frame,
    "G": _gap,
    "A": _ack,
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
