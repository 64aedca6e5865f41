"""The site file, read and checked: one TOML file in, one plan out, or every error in it at once.

It imports drivers and pydantic, so it runs in a short-lived child (`gateway.compile`). It opens no
port and no device. Every error is `file:line:column: what is wrong`, with the nearest valid name.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gateway import toml_keys
from gateway.driver import Driver, SerialDriver
from gateway.errors import ConfigError, GatewayError
from gateway.findings import Findings, SiteErrors
from gateway.lightconfig import read_lighting
from gateway.lineconfig import LineSharing
from gateway.link import socket_path
from gateway.measureconfig import KEYS as MEASURE_KEYS
from gateway.measureconfig import MeasureConfig
from gateway.numbering import numbered, plan_before
from gateway.plan import Plan, PortPlan, SensorPlan
from gateway.plugins import DRIVERS, STAGES, Plugin, asking, found, nearest, unknown
from gateway.ports.url import SCHEMES, parse_port, port_schemes, spelt
from gateway.reading import SENSOR_NAME, Command
from gateway.ruleconfig import read_rules
from gateway.spoolconfig import read_spool
from gateway.stagelist import StageList
from gateway.validate import Checked, check_settings
from gateway.wire import TABLE_MAX

TOP_KEYS: Final = ("box", "state", "spool", "sensor", "rule", "position", "lighting")
SENSOR_KEYS: Final = ("driver", "port", "stages", *MEASURE_KEYS)
SENSORS_END: Final = 65536  # numbers on the wire are below it
PORTS_MAX: Final = 255  # a port's number is one byte on the link; 255 is the supervisor
FILE_MAX: Final = 1 << 20  # bytes of a site file

_NAME_RULE: Final = "must be 1 to 32 of a-z, 0-9 and -, and begin with a letter"


def read_site(path: Path) -> Plan:
    """Compile a site file. Raises ConfigError (SiteErrors) with everything that is wrong in it."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX + 1)
    except OSError as error:
        mend = "; `gateway init` makes a new one" if isinstance(error, FileNotFoundError) else ""
        text = f"the site file cannot be read: {error.strerror}{mend}"
        raise ConfigError(text, str(path)) from None
    if len(raw) > FILE_MAX:
        raise ConfigError(f"over {FILE_MAX} bytes; is this the site file?", str(path))
    table, places = toml_keys.load_toml(raw, str(path))
    findings = Findings(places)
    plan = _Site(findings, path.absolute().parent).plan(table)
    if findings.errors:
        raise SiteErrors(findings.errors)
    return plan


@dataclass(slots=True)
class _Port:
    """A port while its sensors are being collected. `shape` is what they must agree on."""

    url: str
    kind: str
    shape: tuple[object, ...]
    sensors: list[SensorPlan] = field(default_factory=list)
    users: list[str] = field(default_factory=list)


class _Site:
    """One pass over one site file; what is wrong is left out of the plan and noted in `findings`."""

    def __init__(self, findings: Findings, folder: Path) -> None:
        self._findings = findings
        self._folder = folder
        self._home = folder  # the state folder, once that is read
        self._drivers = found(DRIVERS)
        self._stages = StageList(found(STAGES), findings)
        self._measures = MeasureConfig(findings)
        self._ports: dict[str, _Port] = {}
        self._lines = LineSharing()
        self._references: dict[str, str] = {}  # sensor's name -> name of the sensor it is held against
        self._accepts: dict[str, tuple[Command, ...]] = {}  # by the sensor's name
        self._lamps: dict[str, str] = {}  # sort of each sensor that is one

    def plan(self, table: Mapping[str, Any]) -> Plan:
        """The plan of the whole file, as far as it is right."""
        note = self._findings
        for key in table:
            if key not in TOP_KEYS:
                note.at_key((key,), f"there is no top-level key {key!r}{nearest(key, TOP_KEYS)}")
        box = note.text(table, (), "box", 'give the box a name, like box = "elm-st-0042"')
        if box and not SENSOR_NAME.fullmatch(box):
            note.at_value(("box",), f"the box's name {_NAME_RULE}{_mended(box)}")
        state = self._home = self._state(table)
        spool = read_spool(table.get("spool", {}), note)
        sensors = note.table(
            table.get("sensor", {}), ("sensor",), "write [sensor.NAME] and its keys below it"
        )
        before = plan_before(state)
        known = {sensor.name: sensor.number for sensor in before.sensors} if before is not None else {}
        for name, number in numbered(sensors or {}, known, 1, SENSORS_END).items():
            self._sensor(number, name, (sensors or {})[name])
        if len(self._ports) > PORTS_MAX:
            note.at_key(("sensor",), f"{len(self._ports)} ports; one box serves at most {PORTS_MAX}")
        known = {port.url: port.number for port in before.ports} if before is not None else {}
        numbers = numbered(self._ports, known, 0, PORTS_MAX)
        in_order = sorted(self._ports.values(), key=lambda port: numbers[port.url])
        ports = tuple(
            # By number, so that a file whose tables only changed places means the same plan.
            PortPlan(numbers[p.url], p.url, p.kind, tuple(sorted(p.sensors, key=lambda s: s.number)))
            for p in in_order
        )
        ports = self._measures.with_references(ports, self._references)
        ports = read_lighting(table, note, ports, self._lamps)
        ports = read_rules(table.get("rule", {}), note, ports, self._accepts)
        plan = Plan(box or "", state, ports, spool)
        if len(json.dumps(plan.table()).encode()) > TABLE_MAX:
            note.at_key(
                ("sensor",), f"the sensors' names and measures take over {TABLE_MAX} bytes; use two boxes"
            )
        return plan

    def _state(self, table: Mapping[str, Any]) -> Path:
        written = self._findings.text(
            table, (), "state", 'name a folder it may write to, like state = "state"'
        )
        state = Path(os.path.normpath(self._folder / (written or "")))
        if written:
            try:
                socket_path(state / "run" / f"port-{PORTS_MAX}.sock")  # the longest name in there
            except ConfigError as error:
                self._findings.at_value(("state",), str(error))
        return state

    def _sensor(self, number: int, name: str, written: Any) -> None:
        note, path = self._findings, ("sensor", name)
        if (entry := note.table(written, path, "write [sensor.NAME] above it")) is None:
            return
        if not SENSOR_NAME.fullmatch(name):
            note.at_key(path, f"a sensor's name {_NAME_RULE}{_mended(name)}")
        url = note.text(entry, path, "port", "say where it hangs; `gateway scan` proposes lines")
        wanted = note.text(entry, path, "driver", "say what reads it; `gateway drivers` lists all")
        if wanted is None:
            return
        try:
            plugin, driver = self._driver(wanted)
        except ConfigError as error:
            note.at_value((*path, "driver"), str(error))
            if url:
                self._port_url(name, url, None)  # its own errors are worth saying now
            return
        port = self._port(name, url, driver) if url else None
        written_stages = entry.get("stages", [])
        stages, labels = self._stages.read(written_stages, (*path, "stages"), driver.kind, self._home)
        try:
            with asking(plugin):
                checked = self._settings(entry, path, plugin, driver)
                measures = driver.measures(checked.settings) if checked else ()
                if len({measure.name for measure in measures}) != len(measures):
                    raise ConfigError(f"{plugin} is broken: measures() names one of them twice")
        except GatewayError as error:
            note.at_value((*path, "driver"), str(error))
            return
        if port is None or checked is None or not self._fits_line(port.url, name, plugin, driver, checked):
            return
        keys = self._measures.read(entry, path, measures)
        if keys.reference:
            self._references[name] = keys.reference
        self._accepts[name] = driver.commands()
        if driver.lamp:
            self._lamps[name] = driver.lamp
        commands = tuple(command.name for command in self._accepts[name])
        port.sensors.append(
            SensorPlan(
                number,
                name,
                plugin.name,
                plugin.factory,
                checked.plain,
                measures,
                labels,
                commands,
                stages,
                keys.calibrations,
                keys.still,
                keys.drift,
            )
        )

    def _driver(self, name: str) -> tuple[Plugin, type[Driver]]:
        if name not in self._drivers:
            raise ConfigError(unknown("driver", name, self._drivers))
        plugin = self._drivers[name]
        driver = plugin.load()
        if not (isinstance(driver, type) and issubclass(driver, Driver)):
            raise ConfigError(f"{plugin} is broken: it is not derived from gateway.driver.Driver")
        if taken := {f.name for f in fields(driver.settings_type())} & set(SENSOR_KEYS):
            raise ConfigError(
                f"{plugin} is broken: it has a setting named {min(taken)!r}, a word of the site file"
            )
        return plugin, driver

    def _settings(
        self, entry: Mapping[str, Any], path: toml_keys.Path, plugin: Plugin, driver: type[Driver]
    ) -> Checked | None:
        written = {key: value for key, value in entry.items() if key not in SENSOR_KEYS}
        owner = f"driver {plugin.name!r}"
        checked = check_settings(driver.settings_type(), written, owner, beside=SENSOR_KEYS)
        if isinstance(checked, Checked):
            return checked
        self._findings.add(path, checked)
        return None

    def _port(self, sensor: str, text: str, driver: type[Driver]) -> _Port | None:
        """The port of that URL, new or already in use; None and an error if this sensor cannot hang on it."""
        path = ("sensor", sensor, "port")
        if (url := self._port_url(sensor, text, driver.kind)) is None:
            return None
        # All audio drivers on one sound card must ask for the same stream.
        shape = tuple(getattr(driver, name, None) for name in ("rate_hz", "channels"))
        port = self._ports.setdefault(url, _Port(url, driver.kind, shape))
        if (port.kind, port.shape) != (driver.kind, shape):
            other = port.users[0]
            self._findings.at_value(
                path, f"this driver and that of {other!r} cannot share {text}: they differ in frames"
            )
            return None
        port.users.append(sensor)
        return port

    def _fits_line(
        self, url: str, sensor: str, plugin: Plugin, driver: type[Driver], checked: Checked
    ) -> bool:
        """Whether a serial sensor fits those that are on its line already; an error if not."""
        if issubclass(driver, SerialDriver):
            try:
                with asking(plugin):
                    self._lines.join(url, sensor, driver(checked.settings))
            except GatewayError as error:
                self._findings.at_value(("sensor", sensor, "port"), str(error))
                return False
        return True

    def _port_url(self, sensor: str, text: str, kind: str | None) -> str | None:
        """The URL as it goes into the plan (files made absolute), or None and an error."""
        try:
            return self._checked_url(text, kind)
        except ConfigError as error:
            self._findings.at_value(("sensor", sensor, "port"), error.text)
            return None

    def _checked_url(self, text: str, kind: str | None) -> str:
        scheme = text.partition(":")[0]
        if scheme not in SCHEMES:
            raise ConfigError(f"port {spelt(text)} begins with no known scheme{nearest(scheme, SCHEMES)}")
        url = parse_port(text)
        if kind is not None and scheme not in port_schemes(kind):
            ways = ", ".join(f"{each}:..." for each in port_schemes(kind)[:-1])
            raise ConfigError(f"this driver reads {kind} ports, not {scheme}: write {ways} or replay:FILE")
        if scheme != "replay":
            return text
        file = Path(os.path.normpath(self._folder / url.place))
        if not file.exists():
            raise ConfigError(f"there is no file {file} to replay")
        query = text.partition("?")[2]
        return f"replay:{quote(str(file))}" + (f"?{query}" if query else "")


def _mended(name: str) -> str:
    """The nearest name that would be accepted, if there is one."""
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-0123456789")[:32].strip("-")
    return f"; did you mean {near!r}?" if near else ""
