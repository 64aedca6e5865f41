"""One journal row as records ready for the index. Pure: bytes and a measure table in, plain values out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import ClockSource
from gateway.errors import WireError
from gateway.hub.journal import Row
from gateway.reading import Kind
from gateway.records import Batch, BatchHeader, unpack_batch, unpack_record

_INT64: Final = 2**63  # what a column holds
_TIME_MAX: Final = 2**62  # ns; the sum of two times still fits a column


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment on both clocks of one boot, from a clock that was set."""

    boot: bytes
    mono_ns: int
    wall_ns: int
    source: int
    error_us: int


@dataclass(frozen=True, slots=True)
class IndexedRecord:
    """One record as the index stores it; `body` is JSON without what has its own column."""

    seq: int
    kind: str
    sensor: str
    t_wall_ns: int
    clock: int
    clock_error_us: int
    boot: bytes
    t_mono_ns: int
    incarnation: int
    n: int
    body: str
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True)
class UnpackedRow:
    """The records of a row, the ones that cannot be read with the reason, or the table it lacks."""

    records: list[IndexedRecord]
    rejected: list[tuple[int, WireError]]
    missing_table: bytes | None = None


def unpack_row(row: Row, table_of: Callable[[bytes], dict[str, Any] | None]) -> UnpackedRow:
    """Take a frame's batch apart, from `fresh_seq` on. Raises WireError if it is no batch at all."""
    batch = unpack_batch(row.payload)
    if len(batch.records) != row.count:
        raise WireError("record_count", f"{len(batch.records)} records in a frame that claims {row.count}")
    _check_header(batch.header)
    table = table_of(batch.header.table)
    if table is None:
        return UnpackedRow([], [], batch.header.table)
    unpacked = UnpackedRow([], [])
    for at, (incarnation, n) in enumerate(_origins(batch)):
        seq = row.first_seq + at
        if seq < row.fresh_seq:
            continue  # held already, from an earlier frame
        offset_us, fields = batch.records[at]
        try:
            unpacked.records.append(_record(batch.header, table, seq, offset_us, fields, incarnation, n))
        except WireError as error:
            unpacked.rejected.append((seq, error))
    return unpacked


def _check_header(header: BatchHeader) -> None:
    if len(header.boot) != 8 or len(header.table) != 8:
        raise WireError("bad_batch", "boot id and table id are 8 bytes")
    numbers = [header.base_mono_ns, header.base_wall_ns, header.clock_error_us]
    for source in header.sources:
        numbers += [source.incarnation, source.first_n + source.count]
    if not all(0 <= number < _INT64 for number in numbers):
        raise WireError("bad_batch", "a number in the header is out of range")


def _origins(batch: Batch) -> Iterator[tuple[int, int]]:
    """For each record in order the worker's incarnation and the record's number there."""
    for source in batch.header.sources:
        for n in range(source.first_n, source.first_n + source.count):
            yield source.incarnation, n


def _record(
    header: BatchHeader,
    table: dict[str, Any],
    seq: int,
    offset_us: int,
    fields: list[Any],
    incarnation: int,
    n: int,
) -> IndexedRecord:
    plain = unpack_record(fields, table)
    t_mono_ns, t_wall_ns = (base + offset_us * 1000 for base in (header.base_mono_ns, header.base_wall_ns))
    if not (0 <= t_mono_ns < _TIME_MAX and abs(t_wall_ns) < _TIME_MAX):
        raise WireError("bad_record", "its time is out of range")
    kind, sensor = plain.pop("kind"), plain.pop("sensor")
    anchor = _anchor(fields) if kind == Kind.ANCHOR.name.lower() else None
    try:
        body = json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WireError("bad_record", f"a value has the wrong type ({error})") from error
    return IndexedRecord(
        seq, kind, sensor, t_wall_ns, header.clock, header.clock_error_us,
        header.boot, t_mono_ns, incarnation, n, body, anchor,
    )  # fmt: skip


def _anchor(fields: list[Any]) -> Anchor | None:
    """The anchor in a record, as gateway.records.pack_anchor lays it out; None if the clock was not set."""
    boot, *numbers = fields[2:7]
    if type(boot) is not bytes or len(boot) != 8:
        raise WireError("bad_record", "an anchor's boot id is not 8 bytes")
    if any(type(number) is not int or not 0 <= number < _TIME_MAX for number in numbers):
        raise WireError("bad_record", "an anchor's numbers are out of range")
    mono_ns, wall_ns, source, error_us = numbers
    return None if source == ClockSource.NONE else Anchor(boot, mono_ns, wall_ns, source, error_us)
