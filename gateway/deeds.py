"""What follows from records in the worker that makes them: its port's rules, and feeds to other sensors.

Imported only by workers whose plan has rules or feeds. What a rule does goes straight to the worker that
holds the other sensor's port; neither core nor hub is needed, and nothing here waits for them.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from gateway.clock import SystemClock
from gateway.commandsocket import CommandSocket
from gateway.log import Condition, say
from gateway.neighbours import Neighbours
from gateway.plan import FeedPlan, Plan, PortPlan, RulePlan, SensorPlan
from gateway.reading import Event, Reading, Record, Result
from gateway.rests import kept_rests
from gateway.rules import Rules

FLUSH_S: Final = 1.0  # a worker that stops gives what is under way this long
_RULE_MODEL: Final = "00" * 8  # an event that a rule raises comes from no model
_log = logging.getLogger("rules")

PutRecord = Callable[[Record, SensorPlan], object]


class Deeds:
    """Rules and feeds of one port. `see` is called with every record, from `run` on; it never blocks."""

    def __init__(self, plan: Plan, port: PortPlan, commands: CommandSocket | None, put: PutRecord) -> None:
        self._port = port
        self._commands = commands
        self._put = put
        self._by_number = {sensor.number: sensor for sensor in plan.sensors}
        self._rules = Rules(port.rules, _rests(plan, port))
        self._feeds = _by_sensor(port.feeds)
        self._neighbours = Neighbours(plan.state / "run")
        self._well = {rule.name: Condition(_log, f"rule {rule.name}") for rule in port.rules}
        self._under_way: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns: int | None = None
        self._own: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        """Of rules, deeds and feeds."""
        return self._own + self._rules.counters + self._neighbours.counters

    def see(self, record: Record, sensor: SensorPlan) -> None:
        """A record was made here: do what follows from it."""
        if isinstance(record, Reading):
            for feed in self._feeds.get(sensor.number, ()):
                if feed.measure in record.values:
                    self._feed(feed, record)
        if self._port.rules:
            self._do(self._rules.see(time.monotonic_ns(), sensor.number, record))
            self._set_timer()

    async def run(self) -> None:
        """Do what becomes due, until cancelled; then what is under way gets a moment more.

        A bug in the driver that a deed is for, on this same port, comes out here.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None  # from here on records come without deeds
                if self._timer is not None:
                    self._timer.cancel()
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=FLUSH_S)
                self._neighbours.close()

    def _feed(self, feed: FeedPlan, record: Reading) -> None:
        value = record.values[feed.measure]
        if feed.target_port != self._port.number:
            self._neighbours.feed(feed.target_port, feed.sensor, feed.measure, value, record.t_ns)
        elif self._commands is not None:
            self._commands.feed(feed.sensor, feed.measure, value, record.t_ns)

    def _do(self, due: list[RulePlan]) -> None:
        for rule in due:
            if rule.label:
                self._raise(rule)
            elif self._group is not None:
                task = self._group.create_task(self._command(rule))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    def _raise(self, rule: RulePlan) -> None:
        """An event of the sensor that triggered; other rules may follow from it, which is downwards only."""
        sensor = self._by_number[rule.sensor]
        self._own["events_raised"] += 1
        now_ns = time.monotonic_ns()
        self._put(Event(now_ns, sensor.name, rule.label, os.urandom(8), 0, 1.0, 1.0, _RULE_MODEL), sensor)

    async def _command(self, rule: RulePlan) -> None:
        done: int | None
        target = self._by_number[rule.target]
        is_recorded = True
        if rule.target_port != self._port.number:
            done, text = await self._neighbours.ask(
                rule.target_port, rule.target, rule.command, rule.arguments
            )
            is_recorded = done is not None
        elif self._commands is not None:
            done, text = await self._commands.carry_out(rule.target, rule.command, rule.arguments, "rule")
        else:
            done, text, is_recorded = None, f"{target.name} takes no commands", False
        if done:
            self._own["deeds_done"] += 1
            self._well[rule.name].heals()
            return
        self._own["deeds_failed"] += 1
        self._well[rule.name].breaks(f"could not have {target.name} do {rule.command}: {text}")
        if not is_recorded:
            result = Result(time.monotonic_ns(), target.name, rule.command, os.urandom(8), False)
            self._put(result, target)

    def _set_timer(self) -> None:
        """Have the loop wake us when a level will have been held."""
        wakes_ns = self._rules.wakes_ns()
        if wakes_ns == self._timer_ns or self._group is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_ns = wakes_ns
        if wakes_ns is not None:
            pause_s = max(0.0, (wakes_ns - time.monotonic_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_ns = None
        self._do(self._rules.tick(time.monotonic_ns()))
        self._set_timer()


def _rests(plan: Plan, port: PortPlan) -> memoryview | None:
    """What the worker before this one left; a disk that refuses is no reason to be without rules."""
    path = plan.state / "run" / f"port-{port.number}.rests"
    try:
        return kept_rests(path, SystemClock().state().boot, port.rules)
    except OSError as error:
        say(_log, logging.ERROR, f"{path} cannot be made ({error.strerror}); a restart ends all rests")
        return None


def _by_sensor(feeds: tuple[FeedPlan, ...]) -> Mapping[int, list[FeedPlan]]:
    found: dict[int, list[FeedPlan]] = {}
    for feed in feeds:
        found.setdefault(feed.sensor, []).append(feed)
    return found
