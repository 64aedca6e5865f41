"""What a record costs on the wire: its batch, its share of the batch's header, and the message around it.

Bars of the design; `pytest -s` prints the figures. TCP, CURVE and ZeroMQ add about 100 bytes a packet, which
many records share. Numbers are as large as they get after years.
"""

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.bundling import bundled
from gateway.clock import ClockSource
from gateway.hub.journal import Journal
from gateway.hub.sessions import Peer, Sessions
from gateway.plan import SensorPlan
from gateway.reading import Event, Measure, Reading
from gateway.records import BatchHeader, Item, Source, pack_batch, pack_record
from gateway.wire import Frame, Hello, Welcome, pack_message

T0_NS = 90 * 86_400 * 10**9  # three months up
SEQ = 50_000_000
DRAW = random.Random(1)


def _plan(*measures: Measure) -> SensorPlan:
    return SensorPlan(
        number=9, name="s", driver="d", factory="x:Y", settings={}, measures=measures, labels=("gunshot",),
        commands=(), stages=(),
    )  # fmt: skip


GPS = _plan(
    Measure("lat", "deg"), Measure("lon", "deg"), Measure("altitude", "m", 0.1), Measure("fix", "1"),
    Measure("satellites", "1"),
)  # fmt: skip
LUX = _plan(Measure("illuminance", "lx", 0.1))


def gps() -> bytes:
    values = {"lat": 50.0875431 + DRAW.random() / 1e4, "lon": -14.4213788 - DRAW.random() / 1e4}
    values |= {"altitude": 312 + DRAW.random(), "fix": 1, "satellites": DRAW.randint(4, 12)}
    return pack_record(Reading(1, "s", values), GPS)


def lux() -> bytes:
    return pack_record(Reading(1, "s", {"illuminance": DRAW.random() * 65_535}), LUX)


def pulse() -> bytes:
    event = Event(1, "s", "gunshot", b"12345678", 250_000, 0.913, 0.8, "00112233aabbccdd", -12.3)
    return pack_record(event, LUX)


@pytest.fixture
def session(tmp_path: Path) -> int:
    """A session's number, as the hub gives it out."""
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        hello = pack_message(Hello("U", b"epoch--1", {}, ()))
        ((_, welcome),) = Sessions(journal).receive(Peer(b"rid", "key"), hello, {"key": "elm-1"}, 0.0)
        assert isinstance(welcome, Welcome)
        return welcome.session


def frame(session: int, record: Callable[[], bytes], count: int, first: int = SEQ) -> Frame:
    """One a second, with the jitter of a serial line."""
    items: list[Item] = [(T0_NS + n * 10**9 + DRAW.randrange(10**7), record()) for n in range(count)]
    source = Source(2**64 - 1, first, count)
    wall_ns = 1_900_000_000 * 10**9
    header = BatchHeader(b"bootboot", b"tableid8", T0_NS, wall_ns, ClockSource.NTP, 1500, (source,))
    return Frame(session, 2, first, count, pack_batch(header, items))


@pytest.mark.parametrize(
    ("what", "count", "most"),
    [("gps", 10, 45), ("gps", 100, 30), ("lux", 10, 45), ("lux", 100, 30), ("pulse", 1, 120)],
)
def test_a_record_on_the_wire_is_as_small_as_promised(session: int, what: str, count: int, most: int) -> None:
    record = {"gps": gps, "lux": lux, "pulse": pulse}[what]
    size = sum(map(len, pack_message(frame(session, record, count)))) / count
    print(f"{what}: {size:.1f} bytes a record on the wire in batches of {count}; at most {most}")
    assert size <= most


def test_a_backlog_of_batches_is_smaller_still_in_a_bundle(session: int) -> None:
    frames = [frame(session, gps, 100, SEQ + 100 * n) for n in range(8)]
    bundle = bundled(frames)
    assert bundle is not None
    plain = sum(len(part) for f in frames for part in pack_message(f)) / 800
    packed = sum(map(len, pack_message(bundle))) / 800
    print(f"gps: {packed:.1f} bytes a record in a bundle of eight batches, {plain:.1f} without")
    assert packed < 0.8 * plain
