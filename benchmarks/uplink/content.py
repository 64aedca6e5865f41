"""What a pole's spool holds: the measures of real drivers, with values that move as weather and noise do.

Nothing here is made to compress well: every value is a random walk with a sensor's own noise, rounded to the
driver's resolution, so that zstd finds in it what it would find in a real pole's records and no more.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final

import msgpack

from gateway.clock import SystemClock
from gateway.plan import SensorPlan, table_id
from gateway.reading import Event, Health, HealthCode, Measure, Reading
from gateway.records import BatchHeader, Item, Source, pack_record

BOX: Final = "bench-pole"
SECOND: Final = 10**9


@dataclass(frozen=True, slots=True)
class Course:
    """How one measure moves: it returns to `mean` from `spread` around it, `noise` is the sensor's own."""

    mean: float
    spread: float
    noise: float


# Readings a second, and what they show: a street in spring, a receiver with clear sky, a quiet microphone.
_POLE: Final[tuple[tuple[str, str, float, dict[str, Course]], ...]] = (
    ("gps", "gps-nmea", 1.0, {
        "lat": Course(51.0504, 1e-5, 2e-6), "lon": Course(13.7373, 1e-5, 2e-6),
        "altitude": Course(113, 2, 0.3), "quality": Course(1, 0, 0), "satellites": Course(9, 1, 0.4),
        "hdop": Course(1.1, 0.2, 0.05), "utc": Course(0, 0, 0),
    }),
    ("dust", "sds011", 1.0, {"pm2_5": Course(12, 4, 0.4), "pm10": Course(21, 6, 0.9)}),
    ("light", "gy39", 2.0, {
        "illuminance": Course(8200, 900, 15), "temperature": Course(14, 3, 0.02),
        "humidity": Course(61, 7, 0.2), "pressure": Course(1013, 3, 0.04),
    }),
    ("mic", "microphone", 4.0, {"level": Course(-52, 5, 2.5), "level_spl": Course(48, 5, 2.5)}),
    ("air", "environmental-sensing", 0.5, {
        "temperature": Course(14, 3, 0.03), "humidity": Course(61, 7, 0.15),
        "pressure": Course(1013, 3, 0.05),
    }),
)  # fmt: skip
_UTC_START_S: Final = 1_790_000_000
RECORDS_A_SECOND: Final = sum(rate for _, _, rate, _ in _POLE)


def sensors() -> tuple[SensorPlan, ...]:
    """The pole's sensors, with the measures that their drivers declare."""
    drivers = entry_points(group="gateway.drivers")
    plans = []
    for number, (name, driver, _, courses) in enumerate(_POLE, 1):
        emitted = {measure.name: measure for measure in drivers[driver].load().emits}
        measures: tuple[Measure, ...] = tuple(emitted[measure] for measure in courses)
        labels = ("gunshot", "glass", "alarm") if name == "mic" else ()
        plans.append(SensorPlan(number, name, driver, "none:None", {}, measures, labels, (), ()))
    return tuple(plans)


def table(plans: tuple[SensorPlan, ...]) -> dict[str, Any]:
    """The measure table of these sensors, as a plan makes it."""
    return {
        "box": BOX,
        "sensors": [
            {
                "number": s.number,
                "name": s.name,
                "driver": s.driver,
                "measures": [[m.name, m.unit, m.resolution] for m in s.measures],
                "labels": list(s.labels),
                "commands": [],
            }
            for s in plans
        ],
    }


def id_of(plans: tuple[SensorPlan, ...]) -> bytes:
    """The id of their table."""
    return table_id(table(plans))


def readings(plans: tuple[SensorPlan, ...], seed: int, start_ns: int, per_s: float = 0.0) -> Iterator[Item]:
    """The pole's telemetry in order of time, without end; `per_s`: at that rate instead of its own."""
    chance = random.Random(seed)
    speed = per_s / RECORDS_A_SECOND if per_s else 1.0
    periods_ns = [SECOND / (rate * speed) for _, _, rate, _ in _POLE]
    due = [(start_ns + int(chance.random() * period), index) for index, period in enumerate(periods_ns)]
    walks = [dict.fromkeys(courses, 0.0) for *_, courses in _POLE]
    while True:
        t_ns, index = min(due)
        _, _, rate, courses = _POLE[index]
        due[index] = (t_ns + int(periods_ns[index] * chance.uniform(0.98, 1.02)), index)
        values = {}
        for name, course in courses.items():
            walk = walks[index][name]
            pull = 1 / (600 * rate)  # forgets in ten minutes
            walk += -pull * walk + math.sqrt(2 * pull) * course.spread * chance.gauss(0, 1)
            walks[index][name] = walk
            values[name] = course.mean + walk + course.noise * chance.gauss(0, 1)
        if "utc" in values:
            values["utc"] = _UTC_START_S + t_ns / SECOND
        yield t_ns, pack_record(Reading(t_ns, plans[index].name, values), plans[index])


def header(base_ns: int, sources: tuple[Source, ...], table: bytes = b"\0" * 8) -> BatchHeader:
    """A batch header as the spool makes it on this machine."""
    state = SystemClock().state()
    wall_ns = state.wall_ns - (state.mono_ns - base_ns)
    return BatchHeader(state.boot, table, base_ns, wall_ns, state.source, state.error_us, sources)


def records_in(batch: bytes) -> int:
    """How many records a batch says it holds."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(batch[:4096])
    return sum(count for _, _, count in unpacker.unpack()[7])


def health(plans: tuple[SensorPlan, ...], t_ns: int, chance: random.Random) -> Item:
    """Some sensor sent frames that were wrong."""
    plan = chance.choice(plans)
    return t_ns, pack_record(
        Health(t_ns, plan.name, HealthCode.BAD_FRAMES, None, chance.randrange(1, 9)), plan
    )


def alert(plans: tuple[SensorPlan, ...], t_ns: int, chance: random.Random) -> Item:
    """A shot heard now."""
    mic = next(plan for plan in plans if plan.name == "mic")
    event = Event(
        t_ns,
        "mic",
        "gunshot",
        chance.randbytes(8),
        250_000,
        chance.uniform(0.8, 1),
        0.8,
        "00d1ce5eedf00d42",
        -9.5,
    )
    return t_ns, pack_record(event, mic)
