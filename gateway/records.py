"""Records and batches as bytes: what workers write, the spool stores, the wire carries, the hub reads.

A record is a msgpack array whose first element is its Kind; fields are only ever appended, and a
reader ignores fields it does not know. A batch is a stream of msgpack objects: one header array,
then for each record its time (whole microseconds after the header's base time) and its array.
The layout is described for other languages in docs/wire.md; tests/golden holds examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from gateway.clock import ClockSource, ClockState
from gateway.errors import BadFrame, WireError
from gateway.plan import SensorPlan
from gateway.pulse import unpack_pulse
from gateway.reading import BoxCommand, Event, Health, HealthCode, Kind, Outcome, Record, Result, Value

BATCH_VERSION: Final = 1
BATCH_MAX: Final = (2048, 4096, 4096, 4096)  # bytes, by lane: an alert never waits behind a long frame
RECORD_MAX: Final = 1024  # bytes; a record is numbers, never content
SOURCES_MAX: Final = 64
RECORDS_MAX: Final = 2048  # records in one batch
_QUANTUM_MAX: Final = 2**53
_ELEMENTS: Final = frozenset({int, float, bool, bytes, type(None)})

# What one record may hold, in the terms of msgpack's unpackers: more of it would spoil its whole batch.
RECORD_LIMITS: Final = {
    "max_array_len": 256,
    "max_bin_len": 64,
    "max_str_len": 64,
    "max_map_len": 0,
    "max_ext_len": 0,
}

# A record before it is spooled: its CLOCK_MONOTONIC time and its packed array.
Item = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a run of records in a batch comes from: a worker's incarnation and its numbering."""

    incarnation: int
    first_n: int
    count: int


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What all records of a batch share. `base_mono_ns` and `base_wall_ns` are the same moment."""

    boot: bytes
    table: bytes
    base_mono_ns: int
    base_wall_ns: int
    clock: ClockSource
    clock_error_us: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch read back: header, then (microseconds after the base time, record array) in order."""

    header: BatchHeader
    records: tuple[tuple[int, list[Any]], ...]


def pack_record(record: Record, sensor: SensorPlan) -> bytes:
    """One record as a msgpack array. Raises BadFrame for a value that is not a finite number."""
    fields: list[Any]
    if isinstance(record, Event):
        fields = [
            Kind.EVENT,
            sensor.number,
            sensor.labels.index(record.label),
            record.event_id,
            record.t_error_ns // 1000,
            round(record.score * 1000),
            round(record.threshold * 1000),
            bytes.fromhex(record.model),
            None if record.level is None else round(record.level * 10),
        ]
        if record.revision or record.pulse is not None:
            fields.append(record.revision)
        if record.pulse is not None:
            fields += record.pulse.pack()
    elif isinstance(record, Health):
        since_us = None if record.since_ns is None else (record.t_ns - record.since_ns) // 1000
        fields = [Kind.HEALTH, sensor.number, record.code, since_us, record.count]
        if record.measure:
            fields.append([measure.name for measure in sensor.measures].index(record.measure))
    elif isinstance(record, Result):
        command = sensor.commands.index(record.command)
        fields = [Kind.RESULT, sensor.number, command, record.command_id, record.ok]
    else:
        fields = [Kind.READING, sensor.number]
        fields += [quantum(record.values.get(m.name), m.resolution) for m in sensor.measures]
        while fields[-1] is None:  # what comes once a minute is declared last, and is nothing the rest of it
            fields.pop()
    packed: bytes = msgpack.packb(fields)
    return packed


def pack_anchor(state: ClockState) -> bytes:
    """A clock anchor: what the wall clock says now, for records stamped before it was known."""
    packed: bytes = msgpack.packb(
        [Kind.ANCHOR, 0, state.boot, state.mono_ns, state.wall_ns, state.source, state.error_us]
    )
    return packed


def pack_outcome(command: BoxCommand, order_id: bytes, outcome: Outcome) -> bytes:
    """The result of a command to the box itself; when, and in which life of the box, its batch says."""
    packed: bytes = msgpack.packb([Kind.RESULT, 0, command, order_id, outcome is Outcome.DONE, outcome])
    return packed


def quantum(value: Value, resolution: float) -> int | None:
    """The value as a whole multiple of its resolution; None stays None."""
    if value is None:
        return None
    steps = value / resolution
    if not math.isfinite(steps) or abs(steps) >= _QUANTUM_MAX:
        raise BadFrame(f"value {value!r} is not a number that can be sent")
    return round(steps)


def unpack_record(fields: list[Any], table: dict[str, Any]) -> dict[str, Any]:
    """A record array as a plain dict, names and units restored from the box's measure table.

    Raises WireError("bad_record") if the array does not fit the table or the kind's layout.
    """
    # No text, as a record is numbers, never content; nothing nested, as depth has no bound.
    if not all(type(element) in _ELEMENTS for element in fields):
        raise WireError("bad_record", "an element is neither a number nor bytes nor nil")
    try:
        kind = Kind(fields[0])
        number = fields[1]
        if number == 0:
            sensor: dict[str, Any] = {"name": "box", "measures": [], "labels": [], "commands": []}
        else:
            sensor = next(s for s in table["sensors"] if s["number"] == number)
        return {"kind": kind.name.lower(), "sensor": sensor["name"]} | _unpack(kind, fields, sensor)
    except (ValueError, IndexError, KeyError, TypeError, StopIteration, AttributeError) as error:
        raise WireError("bad_record", f"{fields!r:.80}: {error}") from error


def _hex(value: Any) -> str:
    """Bytes as text; a float has a hex() of its own."""
    if type(value) is not bytes:
        raise TypeError(f"{value!r:.20} is no id")
    return value.hex()


def _unpack(kind: Kind, fields: list[Any], sensor: dict[str, Any]) -> dict[str, Any]:
    if kind is Kind.READING:
        values: dict[str, Value] = {}
        for position, (name, unit, resolution) in enumerate(sensor["measures"], 2):
            steps = fields[position] if position < len(fields) else None
            values[name] = _value(steps, unit, resolution)
        calibrated = {c[0]: c[3] for c in sensor.get("calibrations", ()) if c[0] in values}
        return {"values": values} | ({"calibrations": calibrated} if calibrated else {})
    if kind is Kind.EVENT:
        return _unpack_event(fields, sensor["labels"])
    if kind is Kind.HEALTH:
        code, since_us, count = fields[2:5]
        since = None if since_us is None else since_us / 1e6
        plain = {"code": HealthCode(code).name.lower(), "for_s": since, "count": count}
        if len(fields) > 5 and type(fields[5]) is int and fields[5] >= 0:
            plain["measure"] = sensor["measures"][fields[5]][0]
        return plain
    if kind is Kind.ANCHOR:
        boot, mono_ns, wall_ns, source, error_us = fields[2:7]
        return {
            "boot": _hex(boot),
            "mono_ns": mono_ns,
            "wall_ns": wall_ns,
            "clock": ClockSource(source).name.lower(),
            "error_us": error_us,
        }
    if kind is Kind.RESULT:
        command, command_id, ok = fields[2:5]
        plain = {"id": _hex(command_id), "ok": bool(ok)}
        if fields[1] == 0:
            return plain | {"command": BoxCommand(command).name.lower(), "outcome": _outcome(fields[5])}
        return plain | {"command": sensor["commands"][command]}
    raise WireError("bad_record", f"{kind.name} is no stored record")


def _unpack_event(fields: list[Any], labels: list[str]) -> dict[str, Any]:
    label, event_id, error_us, score, threshold, model, level = fields[2:9]
    plain = {
        "label": labels[label],
        "id": _hex(event_id),
        "error_us": error_us,
        "score": score / 1000,
        "threshold": threshold / 1000,
        "model": _hex(model),
        "level": None if level is None else level / 10,
    }
    if len(fields) > 9:  # older boxes know no revisions
        if type(fields[9]) is not int or fields[9] < 0:
            raise TypeError("a revision is a whole number")
        plain["revision"] = fields[9]
    if len(fields) > 10:
        plain |= unpack_pulse(fields[10:], labels)
    return plain


def _outcome(code: int) -> str:
    """Its name; of a newer box's outcome only the number, as that it was not done is said beside it."""
    return Outcome(code).name.lower() if code in set(Outcome) else f"outcome_{code:d}"


def _value(steps: int | None, unit: str, resolution: float) -> Value:
    if steps is None:
        return None
    if type(steps) is not int:  # a str or list times a resolution would be a valid, huge value
        raise TypeError("a value is no whole number")
    if unit == "bool":
        return bool(steps)
    if resolution == int(resolution):
        return steps * int(resolution)
    # Round away binary noise: 2317 steps of 0.01 are 23.17, not 23.169999999999998.
    return round(steps * resolution, max(0, 2 - math.floor(math.log10(resolution))))


def pack_batch(header: BatchHeader, items: Sequence[Item]) -> bytes:
    """Header and records as one byte string, stored and sent as it is."""
    pack = msgpack.Packer().pack  # one for all: making one costs more than what it packs here
    plain = [
        BATCH_VERSION,
        header.boot,
        header.table,
        header.base_mono_ns,
        header.base_wall_ns,
        header.clock,
        header.clock_error_us,
        [[s.incarnation, s.first_n, s.count] for s in header.sources],
    ]
    parts: list[bytes] = [pack(plain)]
    for t_ns, packed in items:
        parts += (pack((t_ns - header.base_mono_ns) // 1000), packed)
    return b"".join(parts)


def unpack_batch(payload: bytes | memoryview) -> Batch:
    """Read a batch back. Raises WireError for anything that is not one; never trusts a length."""
    unpacker = msgpack.Unpacker(max_buffer_size=65536, **RECORD_LIMITS)
    try:
        unpacker.feed(payload)
        header = _header(unpacker.unpack())
        records: list[tuple[int, list[Any]]] = []
        for offset_us in unpacker:
            fields = unpacker.unpack()
            if type(offset_us) is not int or type(fields) is not list:
                raise WireError("bad_batch", "a record is not a time and an array")
            records.append((offset_us, fields))
    except WireError:
        raise
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise WireError("bad_batch", str(error)) from error
    if sum(s.count for s in header.sources) != len(records) or len(records) > RECORDS_MAX:
        raise WireError("bad_batch", "its sources do not add up to its records")
    return Batch(header, tuple(records))


def _header(plain: Any) -> BatchHeader:
    if type(plain) is not list:
        raise WireError("bad_batch", "the header is no array")
    version, boot, table, mono, wall, clock, error_us, sources = plain[:8]
    # An int first: an error's text must never be made of something nested.
    if type(version) is not int or version != BATCH_VERSION:
        raise WireError("batch_version", f"this end reads {BATCH_VERSION}")
    if not (
        isinstance(boot, bytes)
        and isinstance(table, bytes)
        and isinstance(sources, list)
        and all(type(x) is int for x in (mono, wall, clock, error_us))
    ):
        raise WireError("bad_batch", "header fields have the wrong types")
    if len(sources) > SOURCES_MAX or any(type(x) is not int or x < 0 for s in sources for x in s):
        raise WireError("bad_batch", "sources are not lists of three numbers")
    return BatchHeader(
        boot, table, mono, wall, ClockSource(clock), error_us, tuple(Source(*s) for s in sources)
    )
