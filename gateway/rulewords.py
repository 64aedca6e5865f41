"""Rules in plain words, as `gateway check` prints them: one sentence each, and what they can do at most."""

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.plan import Plan, PortPlan, RulePlan, SensorPlan
from gateway.rulecircle import deeds_a_minute

_HEARS: Final = frozenset({"alsa"})
_SEES: Final = frozenset({"v4l2"})
_OF_A_LAMP: Final = ("level", "percent", "ramp_s", "for_s", "period_s")
_SPANS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))


def rule_lines(plan: Plan) -> Iterator[str]:
    """A sentence for each rule of a plan, and one for what all of them can do at most."""
    sensors = {sensor.number: sensor for sensor in plan.sensors}
    rules = [rule for port in plan.ports for rule in port.rules]
    for port in plan.ports:
        for rule in port.rules:
            yield f"rule {rule.name}: {sentence(rule, port, sensors)}"
    if rules:
        commanded = [rule for rule in rules if rule.command]
        targets = {rule.target: sensors[rule.target].name for rule in commanded}
        each = [
            f"{name} {deeds_a_minute([rule for rule in commanded if rule.target == number])}"
            for number, name in sorted(targets.items())
        ]
        most = f"in any minute at most {deeds_a_minute(rules)} deeds, whatever happens"
        yield f"rules: none sets itself off; {most}" + (f" (commands: {', '.join(each)})" if each else "")


def sentence(rule: RulePlan, port: PortPlan, sensors: Mapping[int, SensorPlan]) -> str:
    """When what happens, what is done, and how often at most."""
    trigger, deed = _trigger(rule, port.kind, sensors[rule.sensor]), _deed(rule, sensors)
    return f"When {trigger}, {deed}; at most every {span(rule.rest_s)}."


def span(seconds: float) -> str:
    """A duration in the unit that a person would say it in."""
    for size, name in _SPANS:
        if seconds >= size and seconds % size == 0:
            count = round(seconds / size)
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{seconds:g} s"


def _trigger(rule: RulePlan, kind: str, sensor: SensorPlan) -> str:
    who = sensor.name if sensor.name.startswith(sensor.driver) else f"{sensor.driver} {sensor.name}"
    if rule.event:
        verb = "hears" if kind in _HEARS else "sees" if kind in _SEES else "says"
        return f"{who} {verb} {rule.event}"
    unit = next(measure.unit for measure in sensor.measures if measure.name == rule.measure)
    held = f" for {span(rule.hold_s)}" if rule.hold_s else ""
    if rule.sign == "=":
        is_ = "stays" if rule.hold_s else "is"
        return f"{rule.measure} of {who} {is_} {_value(rule.level, unit)}{held}"
    verb, side = ("rises above", "down to") if rule.sign == ">" else ("falls below", "up to")
    if rule.hold_s:
        verb = "stays above" if rule.sign == ">" else "stays below"
    back = "" if rule.back == rule.level else f" (and was back {side} {_value(rule.back, unit)} before)"
    return f"{rule.measure} of {who} {verb} {_value(rule.level, unit)}{held}{back}"


def _value(value: float, unit: str) -> str:
    if unit == "bool":
        return "true" if value else "false"
    return f"{value:g}" if unit == "1" else f"{value:g} {unit}"


def _deed(rule: RulePlan, sensors: Mapping[int, SensorPlan]) -> str:
    if rule.label:
        return f"the event {rule.label} of {sensors[rule.sensor].name} is raised"
    target, given = sensors[rule.target].name, dict(rule.arguments)
    if not given.keys() <= set(_OF_A_LAMP) or rule.command not in {"on", "off", "dim", "flash", "auto"}:
        more = ", ".join(f"{name} {value:g}" for name, value in given.items())
        return f"{target} is told to {rule.command}" + (f" ({more})" if more else "")
    level = given.get("level", given.get("percent"))
    words = {
        "on": f"{target} goes on",
        "off": f"{target} goes off",
        "dim": f"{target} goes to {level or 0:g} %",
        "flash": f"{target} flashes" + ("" if level is None else f" at {level:g} %"),
        "auto": f"{target} goes by its schedule again",
    }[rule.command]
    if given.get("period_s"):
        words += f" every {span(given['period_s'])}"
    if given.get("ramp_s"):
        words += f" within {span(given['ramp_s'])}"
    return words + (f" for {span(given['for_s'])}" if "for_s" in given else "")
