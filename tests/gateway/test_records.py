"""Records and batches: round trips, sizes promised in the design, golden bytes, hostile input."""

import math
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockSource
from gateway.errors import BadFrame, WireError
from gateway.plan import SensorPlan
from gateway.reading import Event, Health, HealthCode, Measure, Reading, Result
from gateway.records import BatchHeader, Source, pack_batch, pack_record, quantum, unpack_batch, unpack_record

GPS = SensorPlan(
    number=1,
    name="gps",
    driver="gps-nmea",
    factory="x:Y",
    settings={},
    measures=(
        Measure("lat", "deg"),
        Measure("lon", "deg"),
        Measure("altitude", "m", 0.1),
        Measure("fix_quality", "1"),
        Measure("satellites", "1"),
    ),
    labels=("gunshot", "other"),
    commands=("on", "off"),
    stages=(),
)
TABLE = {
    "box": "b",
    "sensors": [
        {
            "number": 1,
            "name": "gps",
            "driver": "gps-nmea",
            "measures": [[m.name, m.unit, m.resolution] for m in GPS.measures],
            "labels": list(GPS.labels),
            "commands": list(GPS.commands),
        }
    ],
}
HEADER = BatchHeader(b"bootboot", b"tableid8", 10**15, 1_790_000_000 * 10**9, ClockSource.NTP, 1500, ())


def reading(t_ns: int = 10**15) -> Reading:
    values = {"lat": 50.0875431, "lon": 14.4213788, "altitude": 312.4, "fix_quality": 1, "satellites": 9}
    return Reading(t_ns, "gps", values)


def test_reading_comes_back_as_it_was_to_its_resolution() -> None:
    fields = msgpack.unpackb(pack_record(reading(), GPS))
    assert unpack_record(fields, TABLE) == {
        "kind": "reading",
        "sensor": "gps",
        "values": dict(reading().values),
    }


def test_event_health_and_result_come_back() -> None:
    event = Event(1, "gps", "other", b"12345678", 250_000, 0.87654, 0.8, "00112233aabbccdd", -12.34)
    assert unpack_record(msgpack.unpackb(pack_record(event, GPS)), TABLE) == {
        "kind": "event",
        "sensor": "gps",
        "label": "other",
        "id": b"12345678".hex(),
        "error_us": 250,
        "score": 0.877,
        "threshold": 0.8,
        "model": "00112233aabbccdd",
        "level": -12.3,
    }
    health = Health(5_000_000_000, "gps", HealthCode.DEAF, since_ns=2_000_000_000)
    unpacked = unpack_record(msgpack.unpackb(pack_record(health, GPS)), TABLE)
    assert (unpacked["code"], unpacked["for_s"]) == ("deaf", 3.0)
    result = Result(1, "gps", "off", b"abcdefgh", ok=True)
    assert unpack_record(msgpack.unpackb(pack_record(result, GPS)), TABLE)["command"] == "off"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_value_that_is_no_number_is_a_bad_frame(value: float) -> None:
    with pytest.raises(BadFrame):
        quantum(value, 0.1)


@pytest.mark.parametrize(("count", "limit"), [(10, 45), (100, 30)])
def test_gps_record_sizes_on_the_wire(count: int, limit: int) -> None:
    items = [(10**15 + n * 10**9, pack_record(reading(), GPS)) for n in range(count)]
    header = BatchHeader(
        HEADER.boot, HEADER.table, 10**15, HEADER.base_wall_ns, HEADER.clock, 1500, (Source(2**62, 1, count),)
    )
    assert len(pack_batch(header, items)) / count <= limit


def test_acoustic_event_size() -> None:
    event = Event(10**15, "gps", "gunshot", b"12345678", 250_000, 0.9, 0.8, "00112233aabbccdd", -12.3)
    header = BatchHeader(
        HEADER.boot, HEADER.table, 10**15, HEADER.base_wall_ns, HEADER.clock, 1500, (Source(2**62, 1, 1),)
    )
    assert len(pack_batch(header, [(10**15, pack_record(event, GPS))])) <= 120


def test_batch_comes_back() -> None:
    items = [(10**15 + n * 1000, msgpack.packb([1, n])) for n in range(5)]
    header = BatchHeader(
        HEADER.boot,
        HEADER.table,
        10**15,
        HEADER.base_wall_ns,
        HEADER.clock,
        7,
        (Source(9, 3, 2), Source(8, 1, 3)),
    )
    batch = unpack_batch(pack_batch(header, items))
    assert batch.header == header
    assert batch.records == tuple((n, [1, n]) for n in range(5))


def test_golden_batch_is_read_by_every_later_version() -> None:
    # Written by format 1. A reader that cannot read it has broken every box in the field.
    golden = bytes.fromhex(
        "9801c408626f6f74626f6f74c4087461626c65696438cf00038d7ea4c68000cf18d75fe4c4860000"
        "03cd05dc9193cf00000000000000090301"
        "cd03e89701 01ce1ddabb2fce0898b49ccd0c34 0109".replace(" ", "")
    )
    batch = unpack_batch(golden)
    assert batch.header.boot == b"bootboot"
    assert batch.header.sources == (Source(9, 3, 1),)
    assert unpack_record(batch.records[0][1], TABLE)["values"]["altitude"] == 312.4


@given(st.binary(max_size=300))
def test_hostile_bytes_are_a_wire_error_or_a_batch(junk: bytes) -> None:
    try:
        unpack_batch(junk)
    except WireError as error:
        assert error.reason in {"bad_batch", "batch_version"}


_NESTED = b"\x91" * 1005 + b"\xc0"  # msgpack reads it; Python cannot show it


@pytest.mark.parametrize("at", range(8))
def test_nested_header_is_a_wire_error(at: int) -> None:
    fields = [msgpack.packb(value) for value in (1, b"bootboot", b"tableid8", 0, 0, 3, 0, [[9, 3, 1]])]
    fields[at] = _NESTED
    with pytest.raises(WireError):
        unpack_batch(b"\x98" + b"".join(fields))


@pytest.mark.parametrize("before", [b"\x92", b"\x93\x01", b"\x93\x01\x01"])
def test_nested_record_is_a_bad_record(before: bytes) -> None:
    fields = msgpack.unpackb(before + _NESTED * (1 + (before[0] & 15) - len(before)))
    with pytest.raises(WireError, match="neither a number nor bytes nor nil"):
        unpack_record(fields, TABLE)


def test_text_is_no_element_of_a_record() -> None:
    with pytest.raises(WireError):
        unpack_record([3, 1, 1, None, "\x1b[2J"], TABLE)


def test_a_float_is_no_id_though_it_has_a_hex() -> None:
    with pytest.raises(WireError, match="is no id"):
        unpack_record([5, 0, 1.5, 1, 1, 1, 0], TABLE)


@given(st.lists(st.one_of(st.integers(), st.text(), st.binary(), st.none(), st.booleans()), max_size=9))
def test_hostile_records_are_a_wire_error(fields: list[object]) -> None:
    try:
        unpack_record(fields, TABLE)
    except WireError as error:
        assert error.reason == "bad_record"


def test_measures_without_a_value_at_the_end_take_no_room() -> None:
    names = tuple(Measure(f"m{n}", "dB[FS]") for n in range(40))
    packed = pack_record(Reading(0, "gps", {"m0": -61.5, "m2": -70.0}), replace(GPS, measures=names))
    assert len(packed) <= 12
    measures = [[m.name, m.unit, m.resolution] for m in names]
    table = {"box": "b", "sensors": [TABLE["sensors"][0] | {"measures": measures}]}
    plain = unpack_record(msgpack.unpackb(packed), table)
    assert list(plain["values"]) == [measure.name for measure in names]
    known = {name: value for name, value in plain["values"].items() if value is not None}
    assert known == {"m0": -61.5, "m2": -70.0}
