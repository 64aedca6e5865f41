"""Where a fixed antenna stands: the average of many fixes, and how far they lie from it.

A receiver's fixes wander by metres in the course of hours while satellites and air move, so an
average over a day is far better than any one fix, and one over a minute is not. The spread says
how much they wandered; it is not the error of the average.
"""

from math import cos, radians, sqrt
from typing import Final

METRES_PER_DEGREE: Final = 111_320.0  # of latitude, and of longitude at the equator


class Survey:
    """A running mean (Welford, 1962) of latitude, longitude and height, as offsets from the first fix."""

    def __init__(self) -> None:
        self.fixes = 0
        self._first = (0.0, 0.0, 0.0)
        self._mean = [0.0, 0.0, 0.0]
        self._squares = [0.0, 0.0, 0.0]

    def add(self, lat: float, lon: float, altitude: float) -> None:
        """Take one fix, in degrees and metres."""
        if self.fixes == 0:
            self._first = (lat, lon, altitude)
        self.fixes += 1
        east = (lon - self._first[1] + 540.0) % 360.0 - 180.0  # also across the date line
        for axis, offset in enumerate((lat - self._first[0], east, altitude - self._first[2])):
            step = offset - self._mean[axis]
            self._mean[axis] += step / self.fixes
            self._squares[axis] += step * (offset - self._mean[axis])

    def position(self) -> tuple[float, float, float]:
        """The mean latitude, longitude (degrees) and height (m)."""
        lon = (self._first[1] + self._mean[1] + 540.0) % 360.0 - 180.0
        return self._first[0] + self._mean[0], lon, self._first[2] + self._mean[2]

    def spread_m(self) -> float:
        """Root mean square horizontal distance of the fixes from their mean, in metres."""
        if self.fixes == 0:
            return 0.0
        narrow = cos(radians(self._first[0]))
        squares = self._squares[0] + self._squares[1] * narrow * narrow
        return METRES_PER_DEGREE * sqrt(squares / self.fixes)
