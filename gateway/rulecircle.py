"""Could rules set each other off for ever? Which sensor may change what, and a search for a way round. Pure.

A rule follows from its sensor; what it raises happens at that sensor; what it commands may change all that
the commanded sensor says, and what other sensors say that watch it: those that prove a lamp (a feed to it),
and those that share its device. What changes in the world and no plan knows of (a lamp that a camera sees by
chance) is bounded by the rules' `rest` alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gateway.plan import PortPlan, RulePlan, SensorPlan

_DEVICE: Final = ("address", "unit", "line")  # settings that tell devices of one port apart

_Node = tuple[str, str]  # ("sensor", number), ("event", "number.label"), ("rule", name)


def circle(rules: Sequence[RulePlan], ports: Sequence[PortPlan]) -> list[str]:
    """Names of rules that could set each other off, in turn; empty if there is no way round."""
    follows = _follows(rules, ports)
    for rule in rules:
        way = _way(("rule", rule.name), follows)
        if way:
            return [name for kind, name in way if kind == "rule"]
    return []


def deeds_a_minute(rules: Sequence[RulePlan]) -> int:
    """The most that these rules can do in any minute, whatever happens: each rests after each deed."""
    return sum(math.ceil(60 / rule.rest_s) for rule in rules)


def _follows(rules: Sequence[RulePlan], ports: Sequence[PortPlan]) -> Mapping[_Node, list[_Node]]:
    """What may follow at once from each rule, from a change at each sensor, and from each raised event."""
    follows: dict[_Node, list[_Node]] = {}
    raised = {(rule.sensor, rule.label) for rule in rules if rule.label}
    for rule in rules:
        # A raised event changes nothing else at its sensor; any other event and reading may.
        if (rule.sensor, rule.event) in raised:
            cause = ("event", f"{rule.sensor}.{rule.event}")
        else:
            cause = ("sensor", str(rule.sensor))
        follows.setdefault(cause, []).append(("rule", rule.name))
        effect = ("event", f"{rule.sensor}.{rule.label}") if rule.label else ("sensor", str(rule.target))
        follows.setdefault(("rule", rule.name), []).append(effect)
    for one, other in _linked(ports):
        follows.setdefault(("sensor", str(one)), []).append(("sensor", str(other)))
    return follows


def _linked(ports: Sequence[PortPlan]) -> Iterator[tuple[int, int]]:
    """Pairs of sensors of which the first, when it changes, may change what the second says."""
    commanded = {sensor.number for port in ports for sensor in port.sensors if sensor.commands}
    for port in ports:
        for feed in port.feeds:
            yield feed.sensor, feed.target
            if feed.target in commanded:  # a lamp, and what shows that it burns
                yield feed.target, feed.sensor
        for one in port.sensors:
            for other in port.sensors:
                if one is not other and _device(one) == _device(other):
                    yield one.number, other.number


def _device(sensor: SensorPlan) -> tuple[object, ...]:
    """What tells the sensor's device from others on its port; nothing where they all hear the same."""
    return tuple(sensor.settings.get(key) for key in _DEVICE)


def _way(start: _Node, follows: Mapping[_Node, list[_Node]]) -> list[_Node]:
    """A shortest way from a node back to itself; empty if there is none."""
    before: dict[_Node, _Node] = {}
    rim = [start]
    while rim:
        node = rim.pop(0)
        for following in follows.get(node, ()):
            if following == start:
                way = [node]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if following not in before:
                before[following] = node
                rim.append(following)
    return []
