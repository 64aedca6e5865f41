"""The plan: the site file, validated and compiled to plain values (plan.json in the state folder).

A short-lived child makes it (`gateway.config`); supervisor, workers and core read only this, so
none of them needs pydantic or any driver but its own. Reading it back trusts it: it was checked
when it was written, and only the box's own user can write it.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.reading import Measure

VERSION: Final = 3
CALIBRATION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,31}")
RESERVE_MAX: Final = 512 << 20  # bytes left free where the site file does not say


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of a sensor: "module:Class" and its settings as keyword arguments."""

    factory: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a laboratory, or a comparison on the spot, found: truth = gain * what the sensor says + offset.

    `date` and `due` are days as ISO 8601 writes them; `due` is empty if it holds for ever.
    """

    measure: str
    gain: float
    offset: float
    id: str
    date: str
    due: str = ""


@dataclass(frozen=True, slots=True)
class DriftPlan:
    """What a measure is held against, day by day: a reference sensor's readings, its own floor, or both."""

    measure: str
    limit: float  # how far it may lie from that
    reference: int = 0  # number of the sensor that says the truth; 0: none
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class RulePlan:
    """A local rule: when something happens at a sensor, a command is sent or an event is raised.

    It belongs to the port of its trigger, and its worker decides. The trigger is an event's label, or a
    reading of `measure` that goes over (">"), under ("<") or is ("=") `level` for `hold_s`; then it does not
    trigger again before the value was back at `back`, and never before `rest_s`. What it does is `command`
    of the sensor `target` on the port `target_port`, or an event called `label` of the triggering sensor.
    """

    name: str
    sensor: int
    event: str = ""
    measure: str = ""
    sign: str = ""
    level: float = 0.0
    back: float = 0.0
    hold_s: float = 0.0
    rest_s: float = 0.0
    target_port: int = 0
    target: int = 0
    command: str = ""
    arguments: dict[str, float] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """One measure of a sensor here is told to another sensor of this box, as a proof or for comparison."""

    sensor: int
    measure: str
    target_port: int
    target: int


@dataclass(frozen=True, slots=True)
class SensorPlan:
    """One configured sensor. `number` stands for its name on the wire."""

    number: int
    name: str
    driver: str  # name of the driver's entry point
    factory: str  # "module:Class"
    settings: dict[str, Any]
    measures: tuple[Measure, ...]
    labels: tuple[str, ...]  # what its events may be called, in wire order
    commands: tuple[str, ...]
    stages: tuple[StagePlan, ...]
    calibrations: tuple[Calibration, ...] = ()
    still: dict[str, float] = field(default_factory=dict)  # seconds that a measure may stand exactly still
    drift: tuple[DriftPlan, ...] = ()
    lighting: dict[str, Any] = field(
        default_factory=dict
    )  # of a lamp: a gateway.lightplan.LightingPlan, plain


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One bus, served by one worker process. `kind` says what frames it hands over."""

    number: int
    url: str
    kind: str  # serial, ble, gpio, alsa, v4l2
    sensors: tuple[SensorPlan, ...]
    rules: tuple[RulePlan, ...] = ()
    feeds: tuple[FeedPlan, ...] = ()

    @property
    def unit(self) -> str:
        """Which of the box's units serves it: cameras on a network have one of their own (decision 007)."""
        return "cameras" if self.url.startswith("rtsp:") else "sensors"

    def fingerprint(self) -> bytes:
        """First 8 bytes of the SHA-256 over it: who has the same means the same sensors by their numbers."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()[:8]


@dataclass(frozen=True, slots=True)
class SpoolPlan:
    """What the lanes may take of the disk, highest priority first, and their commit windows in seconds.

    `quota_mib` is the most a lane takes, `floor_mib` what no other lane can take from it, `reserve_mib`
    what the lanes leave free on the file system; None is a twentieth of it, at most half a GiB.
    """

    quota_mib: tuple[int, int, int, int] = (64, 64, 512, 32)
    window_s: tuple[float, float, float, float] = (0.002, 0.05, 1.0, 5.0)
    floor_mib: tuple[int, int, int, int] = (64, 16, 64, 16)
    reserve_mib: int | None = None

    def reserve_bytes(self, total_bytes: int) -> int:
        """What stays free on a file system of that size."""
        if self.reserve_mib is not None:
            return self.reserve_mib << 20
        return min(total_bytes // 20, RESERVE_MAX)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the box's processes need to know of the site file."""

    box: str
    state: Path
    ports: tuple[PortPlan, ...]
    spool: SpoolPlan = field(default_factory=SpoolPlan)

    @property
    def sensors(self) -> tuple[SensorPlan, ...]:
        """Every sensor of every port, by number."""
        return tuple(sorted((s for p in self.ports for s in p.sensors), key=lambda s: s.number))

    def table(self) -> dict[str, Any]:
        """The measure table: all that a hub needs to read this plan's records."""
        return {
            "box": self.box,
            "sensors": [
                {
                    "number": s.number,
                    "name": s.name,
                    "driver": s.driver,
                    "measures": [[m.name, m.unit, m.resolution] for m in s.measures],
                    "labels": list(s.labels),
                    "commands": list(s.commands),
                }
                | ({"calibrations": [_in_table(c) for c in s.calibrations]} if s.calibrations else {})
                for s in self.sensors
            ],
        }

    def table_id(self) -> bytes:
        """First 8 bytes of the SHA-256 over the table; every batch names it."""
        return table_id(self.table())

    def text(self) -> str:
        """The plan as JSON, for `parse_plan`."""
        plain = asdict(self) | {"version": VERSION, "state": str(self.state)}
        return json.dumps(plain, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write the plan beside its final place, then rename: a reader sees all of it or none.

        A plan that is there already is not written again: a full disk does not stop a box that ran
        yesterday. Raises OSError if it cannot be written.
        """
        text = self.text().encode()
        if path.exists() and path.read_bytes() == text:
            return
        beside = path.with_suffix(".new")
        beside.write_bytes(text)
        os.replace(beside, path)


def _in_table(calibration: Calibration) -> list[str | float]:
    """As a hub needs it, to name it and to compute back what the sensor said."""
    c = calibration
    return [c.measure, c.gain, c.offset, c.id, c.date, c.due]


def table_id(table: dict[str, Any]) -> bytes:
    """First 8 bytes of the SHA-256 over a measure table in canonical JSON."""
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).digest()[:8]


def load_plan(path: Path) -> Plan:
    """Read a plan back. Raises ConfigError if it is missing, damaged or of another version."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"there is no plan at {path}; run `gateway run SITE`") from None
    return parse_plan(text, f"the plan at {path}")


def parse_plan(text: bytes, name: str) -> Plan:
    """A plan from its JSON. Raises ConfigError, calling it `name`, if damaged or of another version."""
    try:
        plain = json.loads(text)
        if plain["version"] != VERSION:
            raise ConfigError(
                f"{name} is version {plain['version']}, not {VERSION}; run `gateway run SITE` again"
            )
        return Plan(
            box=plain["box"],
            state=Path(plain["state"]),
            ports=tuple(_port(p) for p in plain["ports"]),
            spool=_spool(plain["spool"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} is damaged ({error}); run `gateway run SITE` again") from error


def _spool(plain: dict[str, Any]) -> SpoolPlan:
    return SpoolPlan(
        quota_mib=tuple(plain["quota_mib"]),
        window_s=tuple(plain["window_s"]),
        floor_mib=tuple(plain["floor_mib"]),
        reserve_mib=plain["reserve_mib"],
    )


def _port(plain: dict[str, Any]) -> PortPlan:
    return PortPlan(
        plain["number"],
        plain["url"],
        plain["kind"],
        tuple(_sensor(s) for s in plain["sensors"]),
        tuple(RulePlan(**rule) for rule in plain["rules"]),
        tuple(FeedPlan(**feed) for feed in plain["feeds"]),
    )


def _sensor(plain: dict[str, Any]) -> SensorPlan:
    return SensorPlan(
        number=plain["number"],
        name=plain["name"],
        driver=plain["driver"],
        factory=plain["factory"],
        settings=plain["settings"],
        measures=tuple(Measure(**m) for m in plain["measures"]),
        labels=tuple(plain["labels"]),
        commands=tuple(plain["commands"]),
        stages=tuple(StagePlan(s["factory"], s["settings"]) for s in plain["stages"]),
        calibrations=tuple(Calibration(**each) for each in plain["calibrations"]),
        still=plain["still"],
        drift=tuple(DriftPlan(**each) for each in plain["drift"]),
        lighting=plain["lighting"],
    )
