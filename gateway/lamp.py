"""What a lamp should do now: wishes by rank, ramps, flashing. Pure; a clock in, levels to write out.

Whoever wishes something of a lamp is a person (at the pole), a rule of this box, or the hub, and in this
order the strongest wish counts; below them is the schedule, and where there is none, what the lamp does
when nobody asks. A wish may end; the newest of one source takes the place of its last.

    lamp = Lamp("dimmer")
    lamp.wish(Source.RULE, Wish(level=100, until_ns=now_ns + 600 * 10**9))
    turn = lamp.turn(now_ns)     # write turn.level, if any; come back at turn.wake_ns
    lamp.written(turn.level, now_ns)

Time is CLOCK_MONOTONIC in ns, levels are whole percent. In any span of W seconds `turn` asks for no more
than BURST + RATE_HZ[kind] * W writes, whatever is wished: a bus has others on it, and a relay's contacts
wear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

BURST: Final = 5
RATE_HZ: Final = {"switch": 1.0, "dimmer": 10.0}
STEP_NS: Final = (
    200_000_000  # between two steps of a ramp: half of what a dimmer may be told, so wishes get through
)
REPEAT_NS: Final = 600 * 10**9  # the same level once more: a lamp that lost its power has forgotten it
RETRY_NS: Final = (10**9, 60 * 10**9)  # first and longest pause after a write that failed
_SOON_NS: Final = 1_000_000


class Source(IntEnum):
    """Who decides on a lamp, strongest first; the value of `lamp_source`."""

    PERSON = 1
    RULE = 2
    HUB = 3
    SCHEDULE = 4
    NOBODY = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """A level in percent, reached within `ramp_s`, flashing if `period_s` > 0; `until_ns`, or for ever."""

    level: int
    ramp_s: float = 0.0
    period_s: float = 0.0
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done now: a level to write, if any, and when to ask again at the latest."""

    level: int | None
    wake_ns: int | None


class Lamp:
    """One lamp, a "switch" or a "dimmer". Nothing is asked of it before somebody wishes something."""

    def __init__(self, kind: str) -> None:
        self._is_switch = kind == "switch"
        self._rate = RATE_HZ[kind]
        self._wishes: dict[Source, Wish] = {}
        self._base: tuple[Source, Wish] | None = None
        self._now: Wish | None = None  # what is being followed, from level `_from` at `_since_ns` on
        self._from: int | None = None
        self._since_ns = 0
        self._wrote_ns: int | None = None
        self._retry_s_ns = (0, 0)  # the last pause, and its end
        self._tokens: tuple[float, int | None] = (float(BURST), None)
        self.told: int | None = None  # the level that the lamp was last told; None if that is not known

    @property
    def wishes(self) -> Mapping[Source, Wish]:
        """Those that have not ended, as far as `turn` has looked."""
        return self._wishes

    @property
    def source(self) -> Source | None:
        """Who decides; None as long as nobody ever did."""
        return min(self._wishes) if self._wishes else (self._base[0] if self._base else None)

    @property
    def is_moving(self) -> bool:
        """Whether it is on a ramp, or flashes."""
        return self._now is not None and (self._now.period_s > 0 or self.told != self._level(self._now.level))

    def wish(self, source: Source, wish: Wish) -> None:
        """Take a wish in the place of that source's last one."""
        self._wishes[source] = wish
        self._retry_s_ns = (0, 0)  # who asks wants to know at once whether it works

    def auto(self, source: Source) -> None:
        """End the wish of that source, if there is one."""
        self._wishes.pop(source, None)
        self._retry_s_ns = (0, 0)

    def base(self, source: Source, level: int, ramp_s: float = 0.0) -> None:
        """What it does when nobody wishes anything: SCHEDULE's level, or NOBODY's."""
        self._base = (source, Wish(level, ramp_s))

    def written(self, level: int, now_ns: int) -> None:
        """The lamp got that level."""
        self.told, self._wrote_ns = level, now_ns
        self._retry_s_ns = (0, 0)

    def failed(self, now_ns: int) -> None:
        """It could not be told, so nobody knows what it does; it is tried again after a while."""
        self.told = None
        pause_ns = min(max(2 * self._retry_s_ns[0], RETRY_NS[0]), RETRY_NS[1])
        self._retry_s_ns = (pause_ns, now_ns + pause_ns)

    def forget(self) -> None:
        """Its port was opened anew: it must be told again, at once."""
        self.told = None
        self._retry_s_ns = (0, 0)

    def turn(self, now_ns: int) -> Turn:
        """What to do now. A level that it gives counts as a write, whether it succeeds or not."""
        ended = [
            s for s, wish in self._wishes.items() if wish.until_ns is not None and wish.until_ns <= now_ns
        ]
        for source in ended:
            del self._wishes[source]
        wakes = [wish.until_ns for wish in self._wishes.values() if wish.until_ns is not None]
        wish = self._wishes[min(self._wishes)] if self._wishes else (self._base[1] if self._base else None)
        if wish is None:
            return Turn(None, None)
        self._follow(wish, now_ns)
        level, change_ns = self._wanted(wish, now_ns)
        if change_ns is not None:
            wakes.append(change_ns)
        due_ns = self._due_ns(level, now_ns)
        if due_ns is not None and due_ns > now_ns:
            wakes.append(due_ns)
        elif due_ns is not None and (token_ns := self._take_token(now_ns)) > now_ns:
            wakes.append(token_ns)
        elif due_ns is not None:
            return Turn(level, now_ns)  # ask again at once: there is the time of the next step, too
        return Turn(None, max(min(wakes), now_ns + _SOON_NS) if wakes else None)

    def _follow(self, wish: Wish, now_ns: int) -> None:
        """Begin anew if what is wanted changed; the same once more, or by another source, changes nothing."""
        before = self._now
        if before is not None and (before.level, before.ramp_s, before.period_s) == (
            wish.level, wish.ramp_s, wish.period_s
        ):  # fmt: skip
            return
        self._now, self._from, self._since_ns = wish, self.told, now_ns

    def _wanted(self, wish: Wish, now_ns: int) -> tuple[int, int | None]:
        """The level that is right now, and when another one will be."""
        passed_ns = now_ns - self._since_ns
        if wish.period_s > 0:
            half_ns = int(wish.period_s * 5e8)
            halves = passed_ns // half_ns
            return self._level(0 if halves % 2 else wish.level), self._since_ns + (halves + 1) * half_ns
        ramp_ns = int(wish.ramp_s * 1e9)
        way = 0 if self._from is None else wish.level - self._from
        if self._is_switch or not way or passed_ns >= ramp_ns:
            return self._level(wish.level), None
        steps = (2 * abs(way) * passed_ns + ramp_ns) // (2 * ramp_ns)  # whole percents gone, rounded
        at_ns = self._since_ns + (2 * steps + 1) * ramp_ns // (2 * abs(way)) + 1
        level = (self._from or 0) + (steps if way > 0 else -steps)
        earliest_ns = (self._wrote_ns or 0) + STEP_NS
        if self.told is not None and level != self.told and now_ns < earliest_ns:
            return self.told, earliest_ns
        return level, max(at_ns, earliest_ns)

    def _due_ns(self, level: int, now_ns: int) -> int | None:
        """When this level is to be written: in the past, if now."""
        if level != self.told:
            return self._retry_s_ns[1]
        return (self._wrote_ns or 0) + REPEAT_NS

    def _take_token(self, now_ns: int) -> int:
        """Take one of the writes that the bus and the contacts can bear; else the time when there is one."""
        tokens, at_ns = self._tokens
        gained = 0.0 if at_ns is None else (now_ns - at_ns) * self._rate / 1e9
        tokens = min(BURST, tokens + gained)
        if tokens < 1:
            self._tokens = (tokens, now_ns)
            return now_ns + max(int((1 - tokens) / self._rate * 1e9), _SOON_NS)
        self._tokens = (tokens - 1, now_ns)
        return now_ns

    def _level(self, level: int) -> int:
        return 100 * (level > 0) if self._is_switch else level
