"""Local rules at work: readings, events and a clock in, due rules out. Pure: no I/O, and it knows no clock.

A rule sees what its sensor's stages let through, as it is recorded. An event said again under a label that it
had already sets off nothing. Times are CLOCK_MONOTONIC in nanoseconds.
What a rule set may do at most is decided when the site file is compiled (`gateway.ruleconfig`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from gateway.plan import RulePlan
from gateway.reading import Event, Health, HealthCode, Reading, Record, Value

_SILENT = frozenset({HealthCode.PORT_GONE, HealthCode.PARKED, HealthCode.DEAF})


class Rules:
    """The rules of one port. `see` and `tick` give those that are due; each is then at rest for its time.

    `counters`: due (deeds given), rested (events that came while their rule was at rest). `rests` has until
    when each rests, in their order, and is kept up to date; `gateway.rests` hands it to the next worker.
    """

    def __init__(self, rules: Sequence[RulePlan], rests: "list[int] | memoryview | None" = None) -> None:
        self.counters: Counter[str] = Counter()
        rests = [0] * len(rules) if rests is None else rests
        self._rules = [_Rule(rule, self.counters, rests, place) for place, rule in enumerate(rules)]

    def see(self, now_ns: int, sensor: int, record: Record) -> list[RulePlan]:
        """A sensor's record: the rules that it makes due."""
        mine = [rule for rule in self._rules if rule.plan.sensor == sensor]
        if isinstance(record, Reading):
            for rule in mine:
                if rule.plan.measure in record.values:
                    rule.measured(now_ns, record.values[rule.plan.measure])
        elif isinstance(record, Event) and record.fresh:
            for rule in mine:
                if rule.plan.event == record.label:
                    rule.happened(now_ns)
        elif isinstance(record, Health) and record.code in _SILENT:
            for rule in mine:
                rule.silent()
        return _due(mine, now_ns)

    def tick(self, now_ns: int) -> list[RulePlan]:
        """What has become due by time alone."""
        return _due(self._rules, now_ns)

    def wakes_ns(self) -> int | None:
        """When `tick` is to be called next; None if time alone makes nothing due."""
        return min((at_ns for rule in self._rules if (at_ns := rule.wakes_ns()) is not None), default=None)


def _due(rules: "Iterable[_Rule]", now_ns: int) -> list[RulePlan]:
    return [rule.plan for rule in rules if rule.due(now_ns)]


class _Rule:
    """One rule. A level that is reached is `waiting` until it was held and the rule has rested."""

    def __init__(
        self, plan: RulePlan, counters: Counter[str], rests: list[int] | memoryview, place: int
    ) -> None:
        self.plan = plan
        self._counters = counters
        self._rests, self._place = rests, place
        self._since_ns: int | None = None  # the value is beyond the level since then
        self._done = False  # it triggered, and the value was not back since
        self._now = False  # an event, or a reading that counts by itself

    def happened(self, now_ns: int) -> None:
        """The rule's event, or a reading that is the value it waits for."""
        if now_ns < self._rests[self._place]:
            self._counters["rested"] += 1
        else:
            self._now = True

    def measured(self, now_ns: int, value: Value) -> None:
        """The rule's measure. A value that is not known is neither beyond the level nor back."""
        if value is None or not math.isfinite(value):
            self._since_ns = None
            return
        if self._beyond(float(value)):
            if self.plan.sign == "=" and not self.plan.hold_s:
                self.happened(now_ns)  # each reading that it is
            elif self._since_ns is None:
                self._since_ns = now_ns
        elif self._back(float(value)):
            self._since_ns = None
            self._done = False
        elif not self._done and self.plan.hold_s:
            self._since_ns = None  # between `back` and the level: held no longer

    def silent(self) -> None:
        """Nothing is heard of the sensor: nobody knows whether its value is held."""
        self._since_ns = None

    def due(self, now_ns: int) -> bool:
        """Whether it triggers now; then it did."""
        at_ns = self.wakes_ns()
        if not self._now and (at_ns is None or now_ns < at_ns):
            return False
        self._done = not self._now
        self._now = False
        self._rests[self._place] = now_ns + round(self.plan.rest_s * 1e9)
        self._counters["due"] += 1
        return True

    def wakes_ns(self) -> int | None:
        """When a level that is reached will have been held, and the rule rested."""
        if self._since_ns is None or self._done:
            return None
        return max(self._since_ns + round(self.plan.hold_s * 1e9), self._rests[self._place])

    def _beyond(self, value: float) -> bool:
        if self.plan.sign == "=":
            return math.isclose(value, self.plan.level, rel_tol=1e-9, abs_tol=1e-9)
        return value > self.plan.level if self.plan.sign == ">" else value < self.plan.level

    def _back(self, value: float) -> bool:
        if self.plan.sign == "=":
            return True
        return value <= self.plan.back if self.plan.sign == ">" else value >= self.plan.back
