"""When a lamp burns by itself: sunset, sunrise and clocks on the wall, for one position. Pure.

A night goes from one noon to the next. A lamp burns in it from `on` to `off`, each a sun's moment with an
offset or a time on the clock; where `on` is not before `off` (a June night that begins after 23:00) it
stays dark. Two clock times need no night: they are an interval of every day. Where the sun does not rise
(polar night) the lamp burns on from noon to noon; where it does not set, it stays dark.

Sunset and sunrise are when the sun's centre is 50 arc minutes below the horizon (almanacs allow for
refraction and the sun's radius): searched along astral's elevation between noon and midnight, as its own
`sunset` does not know those that fall on another date. Clock times follow daylight saving by the tz
database: one that a change skips is an hour later, of one that comes twice the first counts.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.lightplan import LightingPlan, Moment

HORIZON_DEG: Final = -50 / 60
_DAY_S: Final = 86_400
_DAYS: Final = 2  # before and after the one that is asked for
_PRECISION_S: Final = 0.5


class Schedule:
    """The schedule of one lamp; the plan has `on` and `off`. Times are seconds of UTC since 1970."""

    def __init__(self, plan: LightingPlan) -> None:
        self._plan = plan
        self._zone = ZoneInfo(plan.zone) if plan.zone else UTC
        self._nights: dict[date, tuple[float, float] | None] = {}

    def level_at(self, wall_s: float) -> int:
        """How bright the lamp is to be, in percent."""
        if not any(on_s <= wall_s < off_s for on_s, off_s in self.burning(wall_s)):
            return 0
        dims = (level for start_s, end_s, level in self.dimmed(wall_s) if start_s <= wall_s < end_s)
        return next(dims, self._plan.level)

    def next_change(self, wall_s: float) -> float:
        """When it will next be another one; a day later, if not within a day."""
        now = self.level_at(wall_s)
        edges = {edge for pair in self.burning(wall_s) for edge in pair}
        edges |= {edge for start_s, end_s, _ in self.dimmed(wall_s) for edge in (start_s, end_s)}
        changes = (edge for edge in sorted(edges) if edge > wall_s and self.level_at(edge) != now)
        return min(next(changes, wall_s + _DAY_S), wall_s + _DAY_S)

    def burning(self, wall_s: float) -> list[tuple[float, float]]:
        """From when to when it burns in the nights around that time."""
        today = datetime.fromtimestamp(wall_s, self._zone).date()
        days = [today + timedelta(days=n) for n in range(-_DAYS, _DAYS + 1)]
        self._nights = {day: self._nights[day] if day in self._nights else self._night(day) for day in days}
        return [night for night in self._nights.values() if night is not None]

    def dimmed(self, wall_s: float) -> Iterator[tuple[float, float, int]]:
        """Start, end and level of the dimmings around that time, whether it burns in them or not."""
        today = datetime.fromtimestamp(wall_s, self._zone).date()
        for dim in self._plan.dims:
            for n in range(-_DAYS, _DAYS + 1):
                day = today + timedelta(days=n)
                end = day if dim.start_s < dim.end_s else day + timedelta(days=1)
                yield self._clock(day, dim.start_s), self._clock(end, dim.end_s), dim.level

    def _night(self, day: date) -> tuple[float, float] | None:
        """From when to when it burns in the night that begins at the noon of that day."""
        on, off = self._plan.on, self._plan.off
        if on is None or off is None:
            return None
        if not on.sun and not off.sun:
            end = day if on.seconds < off.seconds else day + timedelta(days=1)
            return self._clock(day, on.seconds), self._clock(end, off.seconds)
        on_s, off_s = self._moment(on, day, is_on=True), self._moment(off, day, is_on=False)
        return (on_s, off_s) if on_s is not None and off_s is not None and on_s < off_s else None

    def _moment(self, moment: Moment, day: date, *, is_on: bool) -> float | None:
        if not moment.sun:
            return self._clock(
                day if moment.seconds >= _DAY_S // 2 else day + timedelta(days=1), moment.seconds
            )
        noons = self._noon(day), self._noon(day + timedelta(days=1))
        midnight_s = sum(noons) / 2
        if self._is_up(midnight_s):
            return None  # the sun does not set
        noon_s = noons[moment.sun == "sunrise"]
        if self._is_up(noon_s):
            return self._crossing(noon_s, midnight_s) + moment.seconds
        # It does not rise: the night goes on from noon to noon. "On at sunrise" begins it all the same.
        return noons[not is_on] + moment.seconds

    def _crossing(self, up_s: float, down_s: float) -> float:
        """When the sun is at the horizon, between a time when it is up and one when it is down."""
        while abs(up_s - down_s) > _PRECISION_S:
            middle_s = (up_s + down_s) / 2
            if self._is_up(middle_s):
                up_s = middle_s
            else:
                down_s = middle_s
        return (up_s + down_s) / 2

    def _is_up(self, at_s: float) -> bool:
        from astral import Observer  # only a schedule by the sun needs it
        from astral.sun import elevation

        observer = Observer(self._plan.latitude, self._plan.longitude)
        return elevation(observer, datetime.fromtimestamp(at_s, UTC), with_refraction=False) > HORIZON_DEG

    def _noon(self, day: date) -> float:
        """When the sun is highest: nearest to the clock's noon that day; without one, to the mean sun's."""
        from astral import Observer
        from astral.sun import noon

        near_s = datetime(day.year, day.month, day.day, 12, tzinfo=self._zone).timestamp()
        if not self._plan.zone:  # beyond the date line a clock may be a day away from its longitude
            near_s -= self._plan.longitude * 240
        place = Observer(self._plan.latitude, self._plan.longitude)
        apart_s = noon(place, datetime.fromtimestamp(near_s, UTC).date()).timestamp() - near_s
        return near_s + apart_s - round(apart_s / _DAY_S) * _DAY_S

    def _clock(self, day: date, seconds: int) -> float:
        """When the clock on the wall shows so many seconds after midnight of that day."""
        hours, minutes = divmod(seconds // 60, 60)
        at = datetime(day.year, day.month, day.day, hours, minutes, seconds % 60, tzinfo=self._zone)
        return at.timestamp()
