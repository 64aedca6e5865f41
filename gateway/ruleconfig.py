"""The [rule.NAME] tables of the site file: what triggers each rule, and the one thing that it does.

Refused are rules that could set each other off in a circle (`gateway.rulecircle`). What is left is a set of
rules that ends by itself, each at most once in its `rest`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.findings import Findings
from gateway.plan import PortPlan, RulePlan, SensorPlan
from gateway.plugins import nearest
from gateway.reading import NAME, SENSOR_NAME, UNSURE, Command, Measure
from gateway.rulecircle import circle
from gateway.stage import seconds
from gateway.toml_keys import Path
from gateway.validate import shown

KEYS: Final = ("when", "do", "with", "raise", "back", "hold", "rest")
RULES_MAX: Final = 32
REST_S: Final = 10.0  # where a rule names none
REST_MIN_S: Final = 1.0
LONGEST_S: Final = 86_400.0

_WHEN: Final = re.compile(r"\s*([^.\s<>=]+)\.([^.\s<>=]+)\s*(?:([<>=]+)\s*([^\s<>=]+)(?:\s+(\S+))?\s*)?")
_WORDS: Final = {"true": 1.0, "on": 1.0, "false": 0.0, "off": 0.0}
_EXAMPLES: Final = 'write it like "mic.gunshot" or "river.water_level > 2.5"'


def read_rules(
    written: Any, findings: Findings, ports: Sequence[PortPlan], accepts: Mapping[str, Sequence[Command]]
) -> tuple[PortPlan, ...]:
    """The ports with their rules, and the labels these raise; what is wrong is noted and left out.

    `accepts` has the commands of each sensor by its name. The ports have their feeds already.
    """
    rules = findings.table(written, ("rule",), "write [rule.NAME] and its keys below it") or {}
    if len(rules) > RULES_MAX:
        findings.at_key(("rule",), f"{len(rules)} rules; one box has at most {RULES_MAX}")
        return tuple(ports)
    reader = _Rules(findings, ports, accepts)
    labels = {name: reader.raised(name, entry) for name, entry in rules.items()}
    ports = _with_labels(ports, [label for label in labels.values() if label is not None])
    reader = _Rules(findings, ports, accepts)
    found = [rule for name, entry in rules.items() if (rule := reader.rule(name, entry)) is not None]
    if not findings.errors and (names := circle(found, ports)):
        findings.at_key(("rule", names[0]), reader.said_circle(names))
        return tuple(ports)
    by_sensor = {sensor.number: port.number for port in ports for sensor in port.sensors}
    return tuple(
        replace(port, rules=tuple(rule for rule in found if by_sensor[rule.sensor] == port.number))
        for port in ports
    )


@dataclass(frozen=True, slots=True)
class _Raised:
    """An event that a rule raises, before it is known to be right."""

    sensor: int
    label: str


class _Rules:
    """Reads rules against the sensors of a site file."""

    def __init__(
        self, findings: Findings, ports: Sequence[PortPlan], accepts: Mapping[str, Sequence[Command]]
    ) -> None:
        self._findings = findings
        self._ports = {sensor.name: port for port in ports for sensor in port.sensors}
        self._sensors = {sensor.name: sensor for port in ports for sensor in port.sensors}
        self._accepts = accepts

    def raised(self, name: str, entry: Any) -> _Raised | None:
        """The event that a rule raises, if it is right; its errors are noted by `rule`."""
        if not isinstance(entry, dict) or not isinstance(entry.get("when"), str):
            return None
        match = _WHEN.fullmatch(entry["when"])
        sensor = self._sensors.get(match[1]) if match else None
        label = entry.get("raise")
        if sensor is None or not isinstance(label, str) or not NAME.fullmatch(label):
            return None
        if label in sensor.labels or label in {measure.name for measure in sensor.measures}:
            text = f"{sensor.name} has a {label!r} already; give the rule's event a name of its own"
            self._findings.at_value(("rule", name, "raise"), text)
            return None
        return _Raised(sensor.number, label)

    def rule(self, name: str, written: Any) -> RulePlan | None:
        """One rule; None if something is wrong with it."""
        note, path = self._findings, ("rule", name)
        before = len(note.errors)
        if (entry := note.table(written, path, "write [rule.NAME] above it")) is None:
            return None
        if not SENSOR_NAME.fullmatch(name):
            note.at_key(path, "a rule's name must be 1 to 32 of a-z, 0-9 and -, and begin with a letter")
        for key in entry:
            if key not in KEYS:
                note.at_key((*path, key), f"rule {name!r} has no key {key!r}{nearest(key, KEYS)}")
        trigger = self._trigger(entry, path)
        deed = self._deed(entry, path)
        hold_s = self._duration(entry, path, "hold", 0.0, 0.0)
        rest_s = self._duration(entry, path, "rest", REST_S, REST_MIN_S)
        if trigger is None or deed is None or hold_s is None or rest_s is None:
            return None
        if hold_s and not trigger["sign"]:
            note.at_value((*path, "hold"), "an event is over at once; only a level can be held")
        return (
            RulePlan(name=name, **trigger, **deed, hold_s=hold_s, rest_s=rest_s)
            if len(note.errors) == before
            else None
        )

    def said_circle(self, names: Sequence[str]) -> str:
        """What to say of rules that set each other off."""
        mend = "watch a sensor that it does not change, or take it out"
        if len(names) == 1:
            return f"rule {names[0]!r} could set itself off for ever; {mend}"
        round_ = ", then ".join([*names, names[0]])
        return f"these rules could set each other off for ever: {round_}; {mend}"

    def _trigger(self, entry: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
        note, place = self._findings, (*path, "when")
        when = entry.get("when")
        if "when" not in entry:
            note.at_key(path, f"rule {path[-1]!r} needs the key 'when': {_EXAMPLES}")
            return None
        match = _WHEN.fullmatch(when) if isinstance(when, str) else None
        if match is None:
            note.at_value(place, f"when = {shown(when)} cannot be read; {_EXAMPLES}")
            return None
        name, what, sign, level, unit = match.groups()
        if (sensor := self._sensor(name, place)) is None:
            return None
        measures = {measure.name: measure for measure in sensor.measures}
        if what == UNSURE and what in sensor.labels:
            note.at_value(place, f"an event of {name} that is only {UNSURE} sets nothing off; name another")
            return None
        if what in sensor.labels and sign is None:
            if "back" in entry:
                note.at_value((*path, "back"), "an event has no level to come back from")
            return {"sensor": sensor.number, "event": what, "sign": ""}
        if what in sensor.labels:
            note.at_value(place, f"{what} is an event of {name} and has no value; write only {name}.{what}")
            return None
        if what not in measures:
            known = [*sensor.labels, *measures]
            hint = nearest(what, known) or "; it gives none"
            note.at_value(place, f"{name} ({sensor.driver}) gives no {what!r}{hint}")
            return None
        if sign is None:
            note.at_value(
                place, f'{what} is measured all the time; say what it must reach, like "{name}.{what} > 2.5"'
            )
            return None
        if (value := self._level(level, unit, sign, measures[what], place)) is None:
            return None
        if (back := self._back(entry, path, sign, value)) is None:
            return None
        return {"sensor": sensor.number, "measure": what, "sign": sign, "level": value, "back": back}

    def _level(self, text: str, unit: str | None, sign: str, measure: Measure, place: Path) -> float | None:
        if sign not in {"<", ">", "="}:
            self._findings.at_value(
                place, f"there is no {sign!r} between a measure and its level: write >, < or ="
            )
            return None
        if unit is not None and unit != measure.unit:
            self._findings.at_value(place, f"{measure.name} is measured in {measure.unit}, not in {unit}")
            return None
        try:
            value = _WORDS[text] if text in _WORDS else float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._findings.at_value(place, f"{text!r} is no number that {measure.name} could reach")
            return None
        low, high = measure.bounds
        if not (value < high if sign == ">" else value > low if sign == "<" else low <= value <= high):
            text = f"{measure.name} lies between {low:g} and {high:g} {measure.unit}; "
            self._findings.at_value(place, f"{text}it is never {sign} {value:g}")
            return None
        return value

    def _back(self, entry: Mapping[str, Any], path: Path, sign: str, level: float) -> float | None:
        """Where the value counts as back: the level itself, unless the rule says otherwise."""
        if "back" not in entry:
            return level
        back, place = entry["back"], (*path, "back")
        if type(back) not in {int, float} or not math.isfinite(back):
            self._findings.at_value(place, f"back must be a number, not {shown(back)}")
            return None
        if sign == "=" or (back > level if sign == ">" else back < level):
            side = {">": f"{level:g} or less", "<": f"{level:g} or more", "=": "left out: = has no far side"}[
                sign
            ]
            self._findings.at_value(place, f"back must be {side}, not {back:g}")
            return None
        return float(back)

    def _deed(self, entry: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
        note = self._findings
        if ("do" in entry) == ("raise" in entry):
            text = "both do and raise; make two rules of it" if "do" in entry else "neither do nor raise"
            note.at_key(path, f"rule {path[-1]!r} does one thing, and it has {text}")
            return None
        if "raise" in entry:
            label = entry["raise"]
            if "with" in entry:
                note.at_key((*path, "with"), "an event takes nothing with it; with belongs to do")
            if not isinstance(label, str) or not NAME.fullmatch(label):
                text = "must name an event with 1 to 32 of a-z, 0-9 and _, beginning with a letter"
                note.at_value((*path, "raise"), f"raise {text}, not {shown(label)}")
                return None
            return {"label": label}
        return self._command(entry, path)

    def _command(self, entry: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
        note, place = self._findings, (*path, "do")
        name, _, command_name = str(entry["do"]).partition(".")
        if not isinstance(entry["do"], str) or not command_name:
            note.at_value(place, f'do = {shown(entry["do"])} cannot be read; write it like "lamp.on"')
            return None
        if (sensor := self._sensor(name, place)) is None:
            return None
        commands = {command.name: command for command in self._accepts.get(name, ())}
        if command_name not in commands:
            hint = nearest(command_name, commands) or "; it takes none"
            note.at_value(place, f"{name} ({sensor.driver}) has no command {command_name!r}{hint}")
            return None
        arguments = self._arguments(entry.get("with", {}), path, commands[command_name])
        if arguments is None:
            return None
        port = self._ports[name]
        return {
            "target_port": port.number,
            "target": sensor.number,
            "command": command_name,
            "arguments": arguments,
        }

    def _arguments(self, written: Any, path: Path, command: Command) -> dict[str, float] | None:
        note, place = self._findings, (*path, "with")
        before = len(note.errors)
        given = note.table(written, place, "write it like { level = 100 }")
        if given is None:
            return None
        bounds = dict(command.arguments)
        optional = dict(getattr(command, "optional", {}))
        if missing := [name for name in bounds if name not in given]:
            verb = f"{command.name} needs {', '.join(missing)}"
            note.at_key(path, f"{verb}: with = {{ {', '.join(f'{name} = …' for name in missing)} }}")
        known = bounds | optional
        for name, value in given.items():
            if name not in known:
                hint = nearest(name, known) or "; it takes none"
                note.at_key((*place, name), f"{command.name} takes no {name!r}{hint}")
                continue
            low, high = known[name]
            if type(value) not in {int, float} or not low <= value <= high:
                text = (
                    f"{name} of {command.name} must be a number from {low:g} to {high:g}, not {shown(value)}"
                )
                note.at_value((*place, name), text)
        return {name: float(value) for name, value in given.items()} if len(note.errors) == before else None

    def _duration(
        self, entry: Mapping[str, Any], path: Path, key: str, default: float, least: float
    ) -> float | None:
        if key not in entry:
            return default
        text, place = entry[key], (*path, key)
        if not isinstance(text, str):
            self._findings.at_value(
                place, f'{key} must say its unit, like "{shown(text)} s", not {shown(text)}'
            )
            return None
        try:
            found = seconds(text)
        except ValueError as error:
            self._findings.at_value(place, f"{key}: {error}")
            return None
        if not least <= found <= LONGEST_S:
            self._findings.at_value(place, f"{key} must lie between {least:g} s and 24 h, not {shown(text)}")
            return None
        return found

    def _sensor(self, name: str, place: Path) -> SensorPlan | None:
        if name not in self._sensors:
            hint = nearest(name, self._sensors) or "; there are none"
            self._findings.at_value(place, f"there is no sensor {name!r}{hint}")
        return self._sensors.get(name)


def _with_labels(ports: Sequence[PortPlan], raised: Iterable[_Raised]) -> tuple[PortPlan, ...]:
    """The ports, with the events that rules raise among their sensors' labels, behind those of before."""
    more: dict[int, list[str]] = {}
    for each in raised:
        labels = more.setdefault(each.sensor, [])
        if each.label not in labels:
            labels.append(each.label)
    return tuple(
        replace(
            port,
            sensors=tuple(
                replace(sensor, labels=(*sensor.labels, *more.get(sensor.number, ())))
                for sensor in port.sensors
            ),
        )
        for port in ports
    )
