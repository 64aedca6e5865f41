"""The words of the data path: measures, readings, events, health. Frozen values, no I/O.

Time in every value is CLOCK_MONOTONIC in nanoseconds (`t_ns`), taken where the frame was read.
Wall time and its quality are added once a batch, by core (see `gateway.wire`).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from gateway.measures import known_measure
from gateway.pulse import Pulse
from gateway.units import MEANT, RESOLUTION

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
SENSOR_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
RESOLUTION_MIN: Final = 1e-12
RESOLUTION_MAX: Final = 1e9

Value = float | int | bool | None
Values = Mapping[str, Value]


class Kind(IntEnum):
    """What the spool keeps. The number is the first element of a record on the wire."""

    READING = 1
    EVENT = 2
    HEALTH = 3
    GAP = 4
    ANCHOR = 5
    RESULT = 6


class Lane(IntEnum):
    """Priority of a record, highest first. Every lane has its own sequence numbers."""

    ALERT = 0
    STATE = 1
    TELEMETRY = 2
    BULK = 3


UNSURE: Final = "unsure"  # a model says neither yes nor no; other boxes may know more
UNCLASSIFIED: Final = "unclassified"  # a bang that no model was there for

LANE_OF: Final[dict[Kind, Lane]] = {
    Kind.EVENT: Lane.ALERT,
    Kind.HEALTH: Lane.STATE,
    Kind.ANCHOR: Lane.STATE,
    Kind.RESULT: Lane.STATE,
    Kind.READING: Lane.TELEMETRY,
}


@dataclass(frozen=True, slots=True)
class Measure:
    """One quantity a driver emits: snake_case name, UCUM unit, and the step it is rounded to.

    Values travel as `round(value / resolution)`. What lies outside `low`..`high` is no measurement and is
    left out; where they are not given they are those of `gateway.measures`, and none for a name that only
    this driver knows. Raises ValueError for a unit that is not in `gateway.units`, or not that of the name.
    """

    name: str
    unit: str
    resolution: float = 0.0
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"measure name {self.name!r} is not snake_case (a-z, 0-9, _; at most 32)")
        if self.unit not in RESOLUTION:
            hint = f"; write {MEANT[self.unit]!r}" if self.unit in MEANT else ""
            raise ValueError(f"unit {self.unit!r} of measure {self.name!r} is not in gateway/units.py{hint}")
        known = known_measure(self.name)
        if known is not None and known.unit != self.unit:
            raise ValueError(
                f"measure {self.name!r} has the unit {known.unit!r} (gateway/measures.py), not "
                f"{self.unit!r}; convert it, or give it a name of its own"
            )
        if self.low is None:
            object.__setattr__(self, "low", known.low if known is not None else -math.inf)
        if self.high is None:
            object.__setattr__(self, "high", known.high if known is not None else math.inf)
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"measure {self.name!r} needs low < high")
        if self.resolution == 0:
            object.__setattr__(self, "resolution", RESOLUTION[self.unit])
        if not RESOLUTION_MIN <= self.resolution <= RESOLUTION_MAX:
            raise ValueError(
                f"resolution of measure {self.name!r} must lie in {RESOLUTION_MIN:g}..{RESOLUTION_MAX:g}"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """What it can be at all; infinite where nothing is known."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of one sensor at one time."""

    t_ns: int
    sensor: str
    values: Values


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person may act on. Minted by the worker that saw it.

    `label` is one of the sensor's declared labels, `score` and `threshold` lie in 0..1,
    `model` is the first 8 bytes of the model file's SHA-256 as hex, `level` an optional dB[FS] peak.
    An event may be said again, with the same id and a higher `revision`, when more is known; all stay, the
    newest holds. It is `fresh` when the label is new for it: only then a rule follows. What is not `urgent`,
    because it only confirms or nobody knows what it was, does not travel among the alerts.
    """

    t_ns: int
    sensor: str
    label: str
    event_id: bytes  # 8 random bytes
    t_error_ns: int
    score: float
    threshold: float
    model: str
    level: float | None = None
    revision: int = 0
    fresh: bool = True  # not on the wire
    urgent: bool = True  # not on the wire
    pulse: Pulse | None = None

    @property
    def lane(self) -> Lane:
        """The lane it travels in."""
        return Lane.ALERT if self.urgent else Lane.STATE


class HealthCode(IntEnum):
    """What a health record says about a sensor's port. `text` in the record adds nothing private."""

    DEAF = 1  # no frames between since_ns and t_ns; the port is heard again at t_ns
    PORT_GONE = 2  # the port went away at t_ns
    PARKED = 3  # the worker died too often and is left stopped
    BAD_FRAMES = 4  # count bad frames since the last such record
    MODEL_OFF = 5  # the sensor runs without its model; count 1: another version stands in; 2: it runs again
    DROPPED = 6  # count readings dropped because core was away too long
    LOST_FRAMES = 7  # count frames (edges, say) that came too fast to be read, since the last such record
    IMPLAUSIBLE = 8  # count values outside the measure's range since the last such record; they were left out
    STUCK = 9  # a value has not moved for longer than its measure can stand still, since since_ns
    DRIFT = 10  # a value moved away from its reference, or from what it once was
    MISHEARD = 11  # bytes come, but none of them make a frame, since since_ns: most likely the line's speed
    SUPPRESSED = 12  # count readings, or bangs, came faster than a sensor may talk, since the last record
    CALIBRATION_DUE = 13  # a calibration of this sensor is past its date
    # Of a microphone. Their count is the channel, 1 the first, where it began, and 0 where it is over.
    MIC_SILENT = 14  # nothing but zeros, or less than any microphone's own noise
    MIC_CONSTANT = 15  # always the same value, and it is not zero
    MIC_CLIPPED = 16  # it cannot show how loud it is: flat tops, most of the time
    MIC_OFFSET = 17  # far off zero
    MIC_CHANNEL = 18  # one channel is empty, a copy of another, or turned round, or two have changed places
    MIC_REPEATS = 19  # the same samples over and over
    MIC_HUM = 20  # hardly anything but the mains


@dataclass(frozen=True, slots=True)
class Health:
    """How a sensor is: one of the enumerated codes, an optional start of the condition, a count.

    STUCK, DRIFT and CALIBRATION_DUE name a `measure`; their `count` is 1 where it began, 0 where it is over.
    """

    t_ns: int
    sensor: str
    code: HealthCode
    since_ns: int | None = None
    count: int = 0
    measure: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one command: what was asked of which sensor, and whether it was done."""

    t_ns: int
    sensor: str
    command: str
    command_id: bytes  # 8 bytes
    ok: bool


class BoxCommand(IntEnum):
    """What a hub's owner can have a box do. A closed list: nothing else is ever done for a command."""

    UNKNOWN = 0  # in a result: a name that this box does not know
    PING = 1
    THROTTLE = 2
    RELOAD = 3
    LAMP = 4
    FLASH = 5
    AUTO = 6


class Outcome(IntEnum):
    """What became of a box's command; the last field of its result. All but DONE changed nothing yet."""

    DONE = 0
    FAILED = 1  # tried, and it could not be done: the box's log says why
    INTERRUPTED = 2  # core died while at it; whether it took effect is not known, it is not tried again
    EXPIRED = 3
    CLOCK_UNKNOWN = 4  # nothing says what time it is, so nobody can say whether it has expired
    UNKNOWN_COMMAND = 5
    BAD_ARGUMENTS = 6
    OTHER_BOX = 7  # signed for another box
    TOO_LONG_LIVED = 8  # expires later than a box would remember that it was done
    TOO_MANY = 9  # the ledger holds as many as it can that have not expired
    NOT_NOTED = 10  # the disk refuses to note it down, so it was not begun
    SITE_WRONG = 11  # the site file has errors, or names another box: the old plan goes on
    NO_SITE = 12  # this core was started from a plan alone
    NOT_PINNED = 13  # the box was enrolled before hubs signed commands
    OTHER_TABLE = 14  # the box's sensors are others than when it was signed, so its number may mean another
    OVERRULED = 15  # a lamp's wish is noted; what a person there or a rule wishes comes first


Record = Reading | Event | Health | Result


@dataclass(frozen=True, slots=True)
class Command:
    """One command a driver accepts, with bounds of its numeric arguments; `optional` ones may be left out."""

    name: str
    arguments: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    optional: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"command name {self.name!r} is not snake_case")
        if both := self.arguments.keys() & self.optional.keys():
            raise ValueError(f"{self.name} cannot both need {min(both)} and do without it")
