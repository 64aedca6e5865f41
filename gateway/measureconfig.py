"""What the site file says of a sensor's measures: calibrations, how long one may stand still, its drift.

    [[sensor.air.calibration]]
    measure = "pm2_5"
    gain = 1.08                  # truth = gain * what the sensor says + offset; 1 if left out
    offset = -0.4                # in the measure's unit; 0 if left out
    date = 2026-03-01
    id = "lab-17"                # what the laboratory calls it; it travels with the readings
    due = 2027-03-01             # may be left out

    [sensor.air]
    still = { temperature = "12 h", humidity = "off" }
    drift = { temperature = 1.5 }
    reference = "weather"        # the sensor of this box that says the truth

Of several calibrations of a measure the newest by date counts; the others are its history.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.findings import Findings
from gateway.measures import known_measure
from gateway.plan import CALIBRATION_ID, Calibration, DriftPlan, FeedPlan, PortPlan, SensorPlan
from gateway.plugins import nearest
from gateway.reading import Measure
from gateway.stage import seconds
from gateway.toml_keys import Path
from gateway.validate import shown

KEYS: Final = ("calibration", "still", "drift", "reference")
_CALIBRATION_KEYS: Final = ("measure", "gain", "offset", "date", "id", "due")
_SIZE_MAX: Final = 1e9  # of a gain and an offset
_STILL_MIN_S: Final = 1.0
_OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class MeasureKeys:
    """What one sensor's keys say. `reference` is a sensor's name, which may stand further down the file."""

    calibrations: tuple[Calibration, ...]
    still: dict[str, float]
    drift: tuple[DriftPlan, ...]
    reference: str


class MeasureConfig:
    """Reads these keys of one sensor after the other; errors go to `findings`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def read(self, entry: Mapping[str, Any], path: Path, measures: Iterable[Measure]) -> MeasureKeys:
        """The keys of a sensor that emits these measures; what is wrong is left out."""
        numbers = {measure.name: measure for measure in measures if measure.unit != "bool"}
        reference = entry.get("reference", "")
        if not isinstance(reference, str):
            text = f"reference must be the name of another sensor in quotes, not {shown(reference)}"
            self._findings.at_value((*path, "reference"), text)
            reference = ""
        return MeasureKeys(
            self._calibrations(entry.get("calibration", []), (*path, "calibration"), numbers),
            self._still(entry.get("still", {}), (*path, "still"), numbers),
            self._drift(entry.get("drift", {}), (*path, "drift"), numbers),
            reference,
        )

    # --- calibrations -----------------------------------------------------------------------------

    def _calibrations(
        self, written: Any, path: Path, measures: Mapping[str, Measure]
    ) -> tuple[Calibration, ...]:
        if not isinstance(written, list) or not all(isinstance(each, dict) for each in written):
            owner = f"[[sensor.{path[-2]}.calibration]]"
            self._findings.at_key(path, f"write {owner} above each calibration's keys, with two brackets")
            return ()
        newest: dict[str, Calibration] = {}
        seen: set[tuple[str, str]] = set()
        for index, entry in enumerate(written):
            found = self._calibration(entry, (*path, index), measures)
            if found is None:
                continue
            if (found.measure, found.date) in seen:
                text = f"{found.measure} has two calibrations of {found.date}; keep the one that counts"
                self._findings.at_value((*path, index, "date"), text)
            seen.add((found.measure, found.date))
            before = newest.get(found.measure)
            if before is None or before.date < found.date:
                newest[found.measure] = found
        return tuple(newest[name] for name in sorted(newest))

    def _calibration(
        self, entry: Mapping[str, Any], path: Path, measures: Mapping[str, Measure]
    ) -> Calibration | None:
        note = self._findings
        errors_before = len(note.errors)
        for key in entry:
            if key not in _CALIBRATION_KEYS:
                text = f"a calibration has no key {key!r}{nearest(key, _CALIBRATION_KEYS)}"
                note.at_key((*path, key), text)
        for key, otherwise in (
            ("measure", "say what was calibrated"),
            ("date", "say when, like date = 2026-03-01"),
            ("id", 'say what it is called, like id = "lab-17"'),
        ):
            if key not in entry:
                note.at_key(path, f"a calibration needs the key {key!r}: {otherwise}")
        measure = entry.get("measure")
        if "measure" in entry and measure not in measures:
            text = f"this sensor measures no {shown(measure)}{nearest(str(measure), measures)}"
            note.at_value((*path, "measure"), text)
        gain = self._number(entry.get("gain", 1.0), (*path, "gain"))
        if gain == 0:
            note.at_value((*path, "gain"), "a gain of 0 makes every value the same; leave it out for 1")
        offset = self._number(entry.get("offset", 0.0), (*path, "offset"))
        name = entry.get("id", "x")
        if not isinstance(name, str) or not CALIBRATION_ID.fullmatch(name):
            text = f"id must be 1 to 32 letters, digits and . _ / -, not {shown(name)}"
            note.at_value((*path, "id"), text)
        date = self._day(entry.get("date", dt.date.min), (*path, "date"))
        due = self._day(entry.get("due", dt.date.max), (*path, "due"))
        if date is not None and due is not None and due <= date:
            note.at_value((*path, "due"), f"due must lie after date, and {due} is not after {date}")
        if len(note.errors) > errors_before or gain is None or offset is None or date is None:
            return None
        due_text = str(due) if "due" in entry else ""
        return Calibration(str(measure), gain, offset, str(name), str(date), due_text)

    def _number(self, written: Any, path: Path) -> float | None:
        if type(written) in (int, float) and math.isfinite(written) and abs(written) <= _SIZE_MAX:
            return float(written)
        self._findings.at_value(
            path, f"{path[-1]} must be a number up to {_SIZE_MAX:g}, not {shown(written)}"
        )
        return None

    def _day(self, written: Any, path: Path) -> dt.date | None:
        if isinstance(written, dt.date) and not isinstance(written, dt.datetime):
            return written
        text = f"{path[-1]} must be a day without quotes, like 2026-03-01, not {shown(written)}"
        self._findings.at_value(path, text)
        return None

    # --- standing still, drift ------------------------------------------------------------------------

    def _still(self, written: Any, path: Path, measures: Mapping[str, Measure]) -> dict[str, float]:
        known = {name: known_measure(name) for name in measures}
        still = {name: each.still_s for name, each in known.items() if each is not None and each.still_s}
        for name, value in self._of_measures(written, path, measures):
            if value == _OFF:
                still.pop(name, None)
                continue
            try:
                still[name] = seconds(value if isinstance(value, str) else "")
                if still[name] < _STILL_MIN_S:
                    raise ValueError
            except ValueError:
                text = f'{name} must be a time of 1 s or more, like "12 h", or "{_OFF}", not {shown(value)}'
                self._findings.at_value((*path, name), text)
        return {name: still_s for name, still_s in still.items() if still_s is not None}

    def _drift(self, written: Any, path: Path, measures: Mapping[str, Measure]) -> tuple[DriftPlan, ...]:
        plans = {}
        for name in measures:
            known = known_measure(name)
            if known is not None and known.drift is not None:
                plans[name] = DriftPlan(name, known.drift, floor=known.floor)
        for name, value in self._of_measures(written, path, measures):
            if value == _OFF:
                plans.pop(name, None)
                continue
            if type(value) not in (int, float) or not 0 < value <= _SIZE_MAX:
                text = f'{name} must be how far it may drift, in its unit, or "{_OFF}", not {shown(value)}'
                self._findings.at_value((*path, name), text)
                continue
            plans[name] = DriftPlan(name, float(value), floor=plans[name].floor if name in plans else None)
        return tuple(plans[name] for name in sorted(plans))

    def _of_measures(
        self, written: Any, path: Path, measures: Mapping[str, Measure]
    ) -> Iterable[tuple[str, Any]]:
        """The entries that name a measure of the sensor."""
        table = self._findings.table(written, path, f"write {path[-1]} = {{ MEASURE = ... }}") or {}
        for name, value in table.items():
            if name in measures:
                yield name, value
            else:
                text = f"this sensor measures no {name!r}{nearest(name, measures)}"
                self._findings.at_key((*path, name), text)

    # --- references -----------------------------------------------------------------------------------

    def with_references(
        self, ports: tuple[PortPlan, ...], references: Mapping[str, str]
    ) -> tuple[PortPlan, ...]:
        """The ports, with what each sensor is compared with (by name) brought to it as feeds."""
        at = {sensor.name: (port, sensor) for port in ports for sensor in port.sensors}
        feeds: dict[int, list[FeedPlan]] = {}
        drift: dict[int, tuple[DriftPlan, ...]] = {}
        for name, reference in references.items():
            if name not in at:
                continue  # it has errors of its own
            path: Path = ("sensor", name, "reference")
            if reference == name or reference not in at:
                others = [other for other in at if other != name]
                hint = nearest(reference, others) or "; name another sensor of this file"
                self._findings.at_value(path, f"{reference!r} is no other sensor of this box{hint}")
                continue
            (port, sensor), (other_port, other) = at[name], at[reference]
            shared = self._shared(sensor, other)
            if not shared:
                text = f"{reference!r} and this sensor share no measure that has a limit for its drift; "
                self._findings.at_value(path, text + "write drift = { MEASURE = LIMIT }")
                continue
            feeds.setdefault(other_port.number, []).extend(
                FeedPlan(other.number, measure, port.number, sensor.number) for measure in shared
            )
            drift[sensor.number] = tuple(
                DriftPlan(d.measure, d.limit, other.number, d.floor) if d.measure in shared else d
                for d in sensor.drift
            )
        return tuple(_with(port, feeds.get(port.number, []), drift) for port in ports)

    def _shared(self, sensor: SensorPlan, other: SensorPlan) -> list[str]:
        units = {measure.name: measure.unit for measure in other.measures}
        own = {measure.name: measure.unit for measure in sensor.measures}
        return [d.measure for d in sensor.drift if units.get(d.measure) == own[d.measure]]


def _with(port: PortPlan, feeds: list[FeedPlan], drift: Mapping[int, tuple[DriftPlan, ...]]) -> PortPlan:
    sensors = tuple(
        # Without a reference or a floor there is nothing to hold it against.
        replace(s, drift=tuple(d for d in drift.get(s.number, s.drift) if d.reference or d.floor is not None))
        for s in port.sensors
    )
    return replace(port, sensors=sensors, feeds=(*port.feeds, *feeds))
