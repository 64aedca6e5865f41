"""The [position] and [lighting.NAME] tables of the site file: when a lamp burns, and what proves it.

[position]
latitude = 60.17
longitude = 24.94

[lighting.street-lamp]                  # a sensor whose driver is a lamp's
on = "sunset - 20 min"                  # or a time on the clock: "17:30"
off = "sunrise"
level = 70                              # percent; 100 if left away
dim = [{ from = "23:30", to = "05:00", level = 40 }]
zone = "Europe/Helsinki"                # of the clock; needed only where there is a time on it
ramp = "30 s"
safe = 100                              # while nobody knows what time it is
override = "12 h"                       # how long a wish without for_s holds
proof = { sensor = "meter", measure = "power", above = 5, settle = "10 s" }
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Final

from gateway.findings import Findings
from gateway.lampcommands import FOR_MAX_S, RAMP_MAX_S
from gateway.lampproof import LABELS
from gateway.lightplan import OVERRIDE_S, Dimming, LightingPlan, Moment, ProofPlan
from gateway.plan import FeedPlan, PortPlan, SensorPlan
from gateway.plugins import nearest, unknown
from gateway.reading import Measure
from gateway.stage import seconds
from gateway.toml_keys import Path
from gateway.validate import shown

POSITION_KEYS: Final = ("latitude", "longitude")
KEYS: Final = ("on", "off", "level", "dim", "zone", "ramp", "safe", "override", "proof")
DIM_KEYS: Final = ("from", "to", "level")
PROOF_KEYS: Final = ("sensor", "measure", "above", "settle")
OFFSET_MAX_S: Final = 6 * 3600
DIMS_MAX: Final = 8
SETTLE_S: Final = (1.0, 600.0)
MEASURES: Final = (Measure("lamp_told", "%"), Measure("lamp_source", "1"))

_MOMENT: Final = re.compile(r"(sunset|sunrise)(?:\s*([+-])\s*(\S.*))?")
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def read_lighting(
    table: Mapping[str, Any], findings: Findings, ports: Sequence[PortPlan], lamps: Mapping[str, str]
) -> tuple[PortPlan, ...]:
    """The ports, whose lamps have their lighting, their labels and what the framework reads of them.

    `table` is the whole site file; `lamps` has the sort of each lamp, "switch" or "dimmer", by its sensor's
    name. What is wrong is noted and left out.
    """
    position = _position(table.get("position"), findings)
    written = findings.table(table.get("lighting", {}), ("lighting",), "write [lighting.NAME] and its keys")
    found: dict[str, LightingPlan] = {}
    for name, entry in (written or {}).items():
        path = ("lighting", name)
        if name not in lamps:
            is_sensor = any(sensor.name == name for port in ports for sensor in port.sensors)
            why = f"sensor {name!r} is no lamp: its driver has none of a lamp's commands"
            findings.at_key(path, why if is_sensor else unknown("lamp", name, lamps))
        elif (entry := findings.table(entry, path, "write [lighting.NAME] above it")) is not None:
            found[name] = _Lighting(findings, path, entry, lamps[name] == "switch", ports).plan(
                name, position
            )
    return _with_feeds([_lit(port, lamps, found) for port in ports])


def _lit(port: PortPlan, lamps: Mapping[str, str], found: Mapping[str, LightingPlan]) -> PortPlan:
    sensors = []
    for sensor in port.sensors:
        if sensor.name in lamps:
            sensor = replace(sensor, measures=(*sensor.measures, *MEASURES))
        if (lighting := found.get(sensor.name)) is not None:
            labels = sensor.labels if lighting.proof is None else (*sensor.labels, *LABELS)
            sensor = replace(sensor, lighting=lighting.plain(), labels=labels)
        sensors.append(sensor)
    return replace(port, sensors=tuple(sensors))


def _with_feeds(ports: Sequence[PortPlan]) -> tuple[PortPlan, ...]:
    """Proofs that another sensor gives are fed by its port."""
    feeds: dict[int, list[FeedPlan]] = {port.number: list(port.feeds) for port in ports}
    home = {sensor.number: port.number for port in ports for sensor in port.sensors}
    for port in ports:
        for sensor in port.sensors:
            proof = sensor.lighting.get("proof")
            if proof is not None and proof["sensor"]:
                feed = FeedPlan(proof["sensor"], proof["measure"], port.number, sensor.number)
                feeds[home[proof["sensor"]]].append(feed)
    return tuple(replace(port, feeds=tuple(feeds[port.number])) for port in ports)


def _position(written: Any, note: Findings) -> tuple[float, float] | None:
    """Latitude and longitude of the pole in degrees; None if the site file does not say, or says it wrong."""
    if written is None:
        return None
    table = note.table(written, ("position",), "write [position] and its keys below it")
    if table is None:
        return None
    for key in table:
        if key not in POSITION_KEYS:
            note.at_key(("position", key), f"[position] has no key {key!r}{nearest(key, POSITION_KEYS)}")
    degrees = []
    for key, most in zip(POSITION_KEYS, (90, 180), strict=True):
        value: Any = table.get(key)
        if key not in table:
            note.at_key(("position",), f"[position] needs the key {key!r}, in degrees")
        elif type(value) not in (int, float) or not -most <= value <= most:
            text = f"{key} must be degrees from -{most} to {most}, not {shown(value)}"
            note.at_value(("position", key), text)
        else:
            degrees.append(float(value))
    return (degrees[0], degrees[1]) if len(degrees) == 2 else None


class _Lighting:
    """One [lighting.NAME] table."""

    def __init__(
        self, note: Findings, path: Path, entry: Mapping[str, Any], is_switch: bool, ports: Sequence[PortPlan]
    ) -> None:
        self._note = note
        self._path = path
        self._entry = entry
        self._is_switch = is_switch
        self._ports = ports

    def plan(self, name: str, position: tuple[float, float] | None) -> LightingPlan:
        """Its part of the plan; what is wrong is noted."""
        for key in self._entry:
            if key not in KEYS:
                self._note.at_key(
                    (*self._path, key), f"[lighting.{name}] has no key {key!r}{nearest(key, KEYS)}"
                )
        on, off = self._moment("on"), self._moment("off")
        for one, other in (("on", "off"), ("off", "on")):
            if one in self._entry and other not in self._entry:
                self._wrong(one, f"a lamp that has {one!r} needs {other!r}, too")
        if on is not None and on == off:
            self._wrong("off", "it goes on and off at the same time")
        dims = self._dims(has_schedule=on is not None)
        is_clock = bool(dims) or any(moment is not None and not moment.sun for moment in (on, off))
        is_sun = any(moment is not None and moment.sun for moment in (on, off))
        self._check_sun(is_sun and position is None)
        latitude, longitude = position if is_sun and position is not None else (0.0, 0.0)
        level = self._percent("level", 100, 1)
        return LightingPlan(
            latitude=latitude,
            longitude=longitude,
            zone=self._zone(is_clock),
            on=on,
            off=off,
            level=level,
            dims=dims,
            ramp_s=self._ramp_s(),
            safe=self._percent("safe", 100, 0),
            override_s=self._duration("override", OVERRIDE_S, 1, FOR_MAX_S),
            proof=self._proof(name),
        )

    def _wrong(self, key: str, text: str) -> None:
        self._note.at_value((*self._path, key), text)

    def _check_sun(self, is_nowhere: bool) -> None:
        """Sunset needs a place, and astral."""
        key = "on" if str(self._entry.get("on", "")).startswith("sun") else "off"
        if is_nowhere and "sun" in str(self._entry.get(key)):
            text = "sunset and sunrise need the pole's place: write [position] with latitude and longitude"
            self._wrong(key, text)
        if find_spec("astral") is None and "sun" in str(self._entry.get(key)):
            self._wrong(key, "sunset and sunrise need astral: pip install 'pole-gateway[lighting]'")

    def _moment(self, key: str) -> Moment | None:
        written = self._entry.get(key)
        if written is None:
            return None
        text = written if isinstance(written, str) else ""
        if (clock := _clock_s(text)) is not None:
            return Moment("", clock)
        match = _MOMENT.fullmatch(text)
        try:
            offset_s = seconds(match[3]) if match and match[3] else 0.0
        except ValueError as error:
            self._wrong(key, str(error))
            return None
        if match is None or offset_s > OFFSET_MAX_S:
            far = f", at most {OFFSET_MAX_S // 3600} h away" if match else ""
            examples = 'like "sunset - 20 min", "sunrise" or "23:30"'
            self._wrong(key, f"{key} must be a time of day {examples}{far}, not {shown(written)}")
            return None
        return Moment(match[1], round(-offset_s if match[2] == "-" else offset_s))

    def _dims(self, *, has_schedule: bool) -> tuple[Dimming, ...]:
        written = self._entry.get("dim", [])
        if not isinstance(written, list) or len(written) > DIMS_MAX:
            example = 'dim = [{ from = "23:30", to = "05:00", level = 40 }]'
            self._wrong("dim", f"dim must be a list of at most {DIMS_MAX}: {example}")
            return ()
        if written and not has_schedule:
            self._wrong("dim", "there is nothing to dim without `on` and `off`")
        dims = [self._dim(number, entry) for number, entry in enumerate(written)]
        return tuple(dim for dim in dims if dim is not None)

    def _dim(self, number: int, entry: Any) -> Dimming | None:
        path: Path = (*self._path, "dim", number)
        if not isinstance(entry, dict):
            self._note.at_value(path, 'write it like { from = "23:30", to = "05:00", level = 40 }')
            return None
        for key in entry:
            if key not in DIM_KEYS:
                self._note.at_key((*path, key), f"a dimming has no key {key!r}{nearest(key, DIM_KEYS)}")
        if missing := [key for key in DIM_KEYS if key not in entry]:
            self._note.at_value(path, f"a dimming needs {' and '.join(missing)}")
            return None
        times = []
        for key in ("from", "to"):
            clock_s = _clock_s(entry[key])
            if clock_s is None:
                self._note.at_value((*path, key), f'{key} must be like "23:30", not {shown(entry[key])}')
            times.append(clock_s)
        level, most = entry["level"], 0 if self._is_switch else 100
        if type(level) is not int or not 0 <= level <= most:
            rule = (
                "0, as a switch cannot be dimmed" if self._is_switch else "a whole percentage from 0 to 100"
            )
            self._note.at_value((*path, "level"), f"level must be {rule}, not {shown(level)}")
            return None
        start_s, end_s = times
        if start_s is None or end_s is None:
            return None
        if start_s == end_s:
            self._note.at_value((*path, "to"), "it ends when it begins")
            return None
        return Dimming(start_s, end_s, level)

    def _zone(self, is_clock: bool) -> str:
        zone = self._entry.get("zone")
        if zone is None:
            if is_clock:
                text = 'a time on the clock needs the clock\'s zone, like zone = "Europe/Berlin"'
                self._note.at_key(self._path, text)
            return ""
        from zoneinfo import ZoneInfo, available_timezones

        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, TypeError, OSError):
            known = sorted(available_timezones())
            tails = {each.rpartition("/")[2].lower(): each for each in known}
            same = tails.get(str(zone).rpartition("/")[2].lower())
            hint = f"; did you mean {same!r}?" if same else nearest(str(zone), known)[:60]
            self._wrong("zone", f"the tz database has no zone {shown(zone)}{hint}")
            return ""
        return str(zone) if is_clock else ""

    def _ramp_s(self) -> float:
        ramp_s = self._duration("ramp", 0.0, 0, RAMP_MAX_S)
        if ramp_s and self._is_switch:
            self._wrong("ramp", "a switch is on or off and has no ramp")
        return ramp_s

    def _duration(self, key: str, default: float, least: float, most: float) -> float:
        written = self._entry.get(key)
        if written is None:
            return default
        try:
            found = seconds(written) if isinstance(written, str) else -1.0
        except ValueError:
            found = -1.0
        if not least <= found <= most:
            text = f'must be a duration like "30 s" or "12 h", from {least:g} s to {most / 3600:g} h'
            self._wrong(key, f"{key} {text}, not {shown(written)}")
            return default
        return found

    def _percent(self, key: str, default: int, least: int) -> int:
        level = self._entry.get(key, default)
        if self._is_switch and key in self._entry and level not in (0, 100)[least > 0 :]:
            self._wrong(key, f"a switch is on (100) or off (0), so {key} cannot be {shown(level)}")
            return default
        if type(level) is not int or not least <= level <= 100:
            self._wrong(key, f"{key} must be a whole percentage from {least} to 100, not {shown(level)}")
            return default
        return level

    def _proof(self, name: str) -> ProofPlan | None:
        written, path = self._entry.get("proof"), (*self._path, "proof")
        if written is None:
            return None
        table = self._note.table(written, path, 'write it like { measure = "power", above = 5 }')
        if table is None:
            return None
        for key in table:
            if key not in PROOF_KEYS:
                self._note.at_key((*path, key), f"a proof has no key {key!r}{nearest(key, PROOF_KEYS)}")
        sensors = {sensor.name: sensor for port in self._ports for sensor in port.sensors}
        of = table.get("sensor", name)
        if of not in sensors:
            self._note.at_value((*path, "sensor"), unknown("sensor", str(of), sensors))
            return None
        return self._proof_of(table, path, sensors[of], of == name)

    def _proof_of(
        self, table: Mapping[str, Any], path: Path, sensor: SensorPlan, is_own: bool
    ) -> ProofPlan | None:
        measures = {measure.name: measure for measure in sensor.measures}
        found = table.get("measure")
        if found not in measures:
            text = f"sensor {sensor.name!r} has no measure {shown(found)}{nearest(str(found), measures)}"
            (self._note.at_value if "measure" in table else self._note.at_key)(
                (*path, "measure") if "measure" in table else path, text
            )
            return None
        measure = measures[found]
        above = table.get("above", 1 if measure.unit == "bool" else None)
        if type(above) not in (int, float) or not above > 0:
            text = f"above must be what {found} has only while the lamp burns, over 0 {measure.unit}"
            where = (*path, "above") if "above" in table else path
            (self._note.at_value if "above" in table else self._note.at_key)(where, text)
            return None
        settle = table.get("settle", "10 s")
        try:
            settle_s = seconds(settle) if isinstance(settle, str) else 0.0
        except ValueError:
            settle_s = 0.0
        if not SETTLE_S[0] <= settle_s <= SETTLE_S[1]:
            text = f'settle must be like "10 s", from {SETTLE_S[0]:g} s to {SETTLE_S[1] / 60:g} min'
            self._note.at_value((*path, "settle"), f"{text}, not {shown(settle)}")
            return None
        is_light = measure.unit == "lx"
        return ProofPlan(0 if is_own else sensor.number, measure.name, float(above), settle_s, is_light)


def _clock_s(written: Any) -> int | None:
    """Seconds after midnight of "23:30"; None if it is no such thing."""
    match = _CLOCK.fullmatch(written) if isinstance(written, str) else None
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60
