"""When a sample was taken: a line through what the card says of its position, and when it said so.

A stamp is a pair: so many samples had been taken when the clock showed so much. The kernel reads the
position first and the clock after it, so a stamp is late, by microseconds or by ten milliseconds, and
never early by more than the card's own grain. A least-squares line would settle in the middle of the
lateness and tilt with every busy second. This one is laid under the stamps: of all lines that no stamp
is earlier than, the one closest to them (the edge of their lower convex hull at the middle of the last
minute). Late stamps, however many and however late, have no part in it.

Crystals of sound cards are off by 20 to 50 ppm, 3 ms in a minute; the slope of the line is that error.
Pure: no I/O, no clock of its own.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

Point = tuple[float, float]  # seconds since the first stamp, nanoseconds later than the nominal rate has it

BUCKET_S: Final = 0.5  # of these, only the least late stamp counts
BUCKETS: Final = 120  # a minute: shorter knows the rate less well, longer no longer follows its drift
RATE_PPM: Final = 120.0  # what a card's rate may be off: 100, and a margin
_SLOPE_FROM_S: Final = 8.0  # the rate is not guessed from less
_KNOWN_FROM_S: Final = 20.0  # a rate found over so long outlives a restart: the crystal is the same
_STAYS_PPB: Final = 2000.0  # how well it is known then
_DRIFT_PPB: Final = 500.0  # a crystal's rate is no better known than this: it drifts with the sun
_EARLY_NS: Final = 50_000  # a stamp may be early by this: a card's FIFO is emptied in bursts
_FIRST_NS: Final = (
    20e6  # one stamp alone may be this late; of n stamps, the best is taken to be n times better
)
_TRUSTED_S: Final = 10.0  # from then on, a stamp that contradicts the line means that samples went astray
_SLIP_NS: Final = 3e6
_RECENT: Final = 8  # stamps that must agree, before one that is too early is believed
_SLIP_BUCKETS: Final = 4  # 2 s in which no stamp was near the line: it is the line that is wrong


@dataclass(slots=True)
class _Line:
    """Lateness at x is at_ns + slope * (x - middle_s); slope in ns/s, which is parts per billion."""

    middle_s: float = 0.0
    at_ns: float = 0.0
    slope: float = 0.0
    slope_error: float = RATE_PPM * 1000
    spread_ns: float = 0.0  # what the best stamps of half a second are usually late

    def at(self, x: float) -> float:
        return self.at_ns + self.slope * (x - self.middle_s)


class SampleClock:
    """Feed it every stamp; ask it for the time of any sample near the last one.

    `late_ns` is the lateness that no stamp shows because all have it: the grain of the card's position.
    Indices count from the start of the capture; after lost samples call `restart`.
    """

    def __init__(self, rate_hz: int, late_ns: int = 0) -> None:
        self.rate_hz = rate_hz
        self._late_ns = late_ns
        self._buckets: deque[Point] = deque(maxlen=BUCKETS)
        self._known: tuple[float, float] | None = None  # slope and its error, of an earlier run
        self._line = _Line()
        self.slips = 0  # times the card lost or invented samples without saying so
        self.restart()

    @property
    def rate_error_ppm(self) -> float:
        """How much faster than its nominal rate the card takes samples."""
        return -self._line.slope / 1000

    @property
    def is_set(self) -> bool:
        """Whether it was fed a stamp since it was made or restarted."""
        return self._first is not None

    def restart(self) -> None:
        """Samples were lost: forget when they were taken. How fast they are taken stays known."""
        if self._span() >= _KNOWN_FROM_S:
            self._known = self._line.slope, max(self._line.slope_error, _STAYS_PPB)
        self._buckets.clear()
        self._best: Point | None = None  # the least late stamp of the half second that runs
        self._bucket_from = 0.0  # when that began
        self._stamps = 0
        self._recent: deque[float] = deque(maxlen=_RECENT)  # how late the last stamps were, by the line
        self._first: tuple[int, int] | None = None
        self._line = _Line()
        if self._known is not None:
            self._line.slope, self._line.slope_error = self._known

    def stamp(self, index: int, t_ns: int) -> int:
        """At `t_ns`, `index` samples had been taken. Gives the samples that the card lost unsaid: mostly 0.

        Indices never go back. Where samples were lost, add them to the indices from this one
        on, `restart`, and tell it this stamp again.
        """
        if self._first is None:
            self._first = index, t_ns
        x, late = self._point(index, t_ns)
        over = late - self._line.at(x)
        self._stamps += 1
        self._recent.append(over)
        if x > _TRUSTED_S and -over > max(_SLIP_NS, 2 * self._usual_error(x)):
            if max(self._recent) < -_SLIP_NS:
                return self._slip(index, t_ns, 0.0)
            return 0  # one alone is wrong itself
        self._line.at_ns += min(0.0, over)
        if self._best is None:
            self._bucket_from, self._best = x, (x, late)
        elif x - self._bucket_from >= BUCKET_S:
            self._buckets.append(self._best)
            self._fit()
            self._bucket_from, self._best = x, (x, late)
            if (shift := self._shift()) > 0:
                return self._slip(index, t_ns, shift)
        elif over < self._best[1] - self._line.at(self._best[0]):
            self._best = x, late
        return 0

    def time_of(self, index: int) -> tuple[int, int]:
        """When this sample was taken, and how far that may be off, in ns. Needs a stamp first."""
        assert self._first is not None
        x = (index - self._first[0]) / self.rate_hz
        nominal = self._first[1] + (index - self._first[0]) * 1_000_000_000 // self.rate_hz
        return nominal + round(self._line.at(x)), round(self._error(x))

    def index_at(self, t_ns: int) -> int:
        """The sample taken at this time; the inverse of `time_of`."""
        assert self._first is not None
        x = (t_ns - self._first[1]) / 1e9
        return self._first[0] + round((x - self._line.at(x) / 1e9) * self.rate_hz)

    def _point(self, index: int, t_ns: int) -> Point:
        assert self._first is not None
        count = index - self._first[0]
        return count / self.rate_hz, float(t_ns - self._first[1] - count * 1_000_000_000 // self.rate_hz)

    def _span(self) -> float:
        return self._buckets[-1][0] - self._buckets[0][0] if len(self._buckets) > 1 else 0.0

    def _fit(self) -> None:
        """Lay the line anew under the buckets. About 100 us, twice a second."""
        points = list(self._buckets)
        line = self._line
        line.middle_s = sum(x for x, _ in points) / len(points)
        span = self._span()
        if span >= _SLOPE_FROM_S:
            slope = hull_slope(points, line.middle_s)
            line.slope = min(max(slope, -RATE_PPM * 1000), RATE_PPM * 1000)
        lateness = sorted(late - line.slope * (x - line.middle_s) for x, late in points)
        line.at_ns = lateness[0]
        line.spread_ns = median(lateness) - lateness[0]
        if span >= _SLOPE_FROM_S:
            # Two supports, each off by a spread; never better than a crystal drifts in a minute.
            found = 2.0 * (line.spread_ns + _EARLY_NS) / span + _DRIFT_PPB
            line.slope_error = min(found, RATE_PPM * 1000)

    def _error(self, x: float) -> float:
        """By the line; more while the last stamps agree that it is wrong: they may be the first of many."""
        recent = self._recent
        excess = max(0.0, min(recent) - 2.0 * self._line.spread_ns, -recent[-1]) if recent else 0.0
        return self._usual_error(x) + excess

    def _usual_error(self, x: float) -> float:
        line = self._line
        away = abs(x - line.middle_s)
        if not self._buckets or self._span() < _SLOPE_FROM_S:
            away = max(away, self._span())  # the line may be laid on its oldest stamp
        newest = self._buckets[-1] if self._buckets else None
        excess = 0.0 if newest is None else newest[1] - line.at(newest[0])
        return (
            self._late_ns
            + _EARLY_NS
            + 2.0 * line.spread_ns
            + max(0.0, excess)
            + _FIRST_NS / max(1, self._stamps)
            + away * line.slope_error
        )

    def _shift(self) -> float:
        """By how many ns every stamp of the last two seconds is later than the line; 0 if in doubt."""
        if self._span() <= _TRUSTED_S:
            return 0.0
        recent = list(self._buckets)[-_SLIP_BUCKETS:]
        shift = min(late - self._line.at(x) for x, late in recent)
        return shift if shift > max(_SLIP_NS, 4 * self._line.spread_ns) else 0.0

    def _slip(self, index: int, t_ns: int, shift: float) -> int:
        self.slips += 1
        self.restart()
        self.stamp(index, t_ns)
        return round(shift * self.rate_hz / 1e9)


def hull_slope(points: Sequence[Point], middle: float) -> float:
    """Slope of the lower convex hull's edge at `middle`, the last edge beyond it.

    Two points at least, in order of x.
    """
    hull: list[Point] = []
    for x, y in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    last = (hull[-2], hull[-1])
    left, right = next(((a, b) for a, b in pairwise(hull) if b[0] >= middle), last)
    return (right[1] - left[1]) / (right[0] - left[0])


def _turns_down(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0
