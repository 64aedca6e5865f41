"""`gateway record`: what really comes from a device, byte for byte, as a capture."""

import argparse
import asyncio
import datetime as dt
import sys
from pathlib import Path
from typing import Final

from gateway.capture import HEADER_KEYS, is_capture, read_capture, read_header
from gateway.commands.given import add_settings, driver_with, settings_of
from gateway.commands.recording import Recording
from gateway.commands.scrub import SAYS, Scrubber
from gateway.commands.sitefile import add_site
from gateway.driver import Advertisement, Driver, Edge, Measure, Notification, SerialDriver
from gateway.errors import ConfigError
from gateway.plan import PortPlan
from gateway.plugins import DRIVERS, find, unknown
from gateway.ports import Port, open_port
from gateway.ports.url import parse_port
from gateway.settings import build_settings

_LINE: Final = "9600 8n1"
_NOTHING: Final = {
    "serial": "nothing came: check the plug, the line settings (--line) and its power",
    "ble": "nothing came: check the address (--set address=...), the battery, and come nearer",
    "gpio": "nothing came: check the line's name (--set line=...) and the wire",
}
_ASKED: Final = {
    "device": "the device: maker, model, version",
    "firmware": "its firmware",
    "by": "who recorded it",
    "where": "where it was recorded, as far as others may know",
}


class Record:
    """Open a port by itself and write all that passes into a capture."""

    name = "record"
    help = "record a device into a capture, for a test or a bug report"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SOURCE FILE, how to open the port, and what stands in the header."""
        parser.add_argument(
            "source",
            metavar="PORT|SENSOR",
            help="a port, like serial:usb-1a86:7523, a sensor's name, or replay:FILE to copy a capture",
        )
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="the capture to write; must not be there yet"
        )
        opened = parser.add_mutually_exclusive_group()
        opened.add_argument("--driver", help="the driver whose line settings and questions to use")
        opened.add_argument("--line", help=f'line settings of a port without a driver (default: "{_LINE}")')
        add_settings(parser)
        parser.add_argument("--seconds", type=float, help="stop after so long (default: at Ctrl-C)")
        parser.add_argument(
            "--scrub",
            action="store_true",
            help="leave out the place: coordinates are cut, addresses replaced",
        )
        for key, text in _ASKED.items():
            parser.add_argument(f"--{key}", help=f"{text}; for the header, asked for on a terminal")
        add_site(parser, option=True)

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if nothing came."""
        if arguments.file.exists():
            raise ConfigError(f"{arguments.file} is already there; name another file")
        if arguments.source.startswith("replay:"):
            return self._copy(arguments, Path(parse_port(arguments.source).place))
        url, driver, name = _opened(arguments)
        kind = driver.kind
        port: Port = open_port(PortPlan(0, url, kind, ()), [driver])
        recording = _recording(arguments, kind, {"driver": name})
        opened = f"recording {url} into {arguments.file}; Ctrl-C ends it"
        try:
            asyncio.run(recording.run(port, arguments.seconds, opened))
        finally:
            recording.close()
        return _told(recording, kind)

    def _copy(self, arguments: argparse.Namespace, source: Path) -> int:
        """A capture that was made before, maybe scrubbed this time."""
        if not source.is_file() or not is_capture(source):
            raise ConfigError(f"{source} is no capture; only captures can be copied")
        with source.open(encoding="utf-8", errors="replace") as lines:
            before = read_header(lines, str(source))
            lines.seek(0)
            first = next(read_capture(lines, str(source)), None)
        if arguments.scrub:
            before.pop("by", None)  # it may name a person, or a computer
        match first.what if first else None:
            case Advertisement() | Notification():
                kind = "ble"
            case Edge():
                kind = "gpio"
            case _:
                kind = "serial"
        recording = _recording(arguments, kind, before)
        try:
            recording.copy(source)
        finally:
            recording.close()
        return _told(recording, kind)


def _recording(arguments: argparse.Namespace, kind: str, known: dict[str, str]) -> Recording:
    """The recording with its header: what is known, what was given, and what a person says when asked."""
    header = dict(known)
    header.setdefault("when", dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    for key, text in _ASKED.items():
        given = getattr(arguments, key)
        if given is None and key not in header and sys.stdin.isatty():
            print(f"{text} (Enter for none): ", end="", file=sys.stderr, flush=True)
            given = sys.stdin.readline().strip()
        if given is not None:
            header[key] = given
    if arguments.scrub:
        header["scrubbed"] = SAYS[kind]
    order = [*HEADER_KEYS, *header]
    header = {key: header[key] for key in sorted(header, key=order.index) if header[key]}
    return Recording(arguments.file, header, Scrubber() if arguments.scrub else None)


def _told(recording: Recording, kind: str) -> int:
    if not recording.received:
        print(_NOTHING[kind], file=sys.stderr)
        return 1
    what = f"{recording.octets} bytes in " if recording.octets else ""
    print(f"{what}{recording.entries} entries", file=sys.stderr)
    return 0


class AnyBytes(SerialDriver):
    """A device nothing is known of: its bytes are recorded, not understood."""

    emits = (Measure("octets", "1"),)

    def decode(self, frame: bytes) -> dict[str, int]:
        """How many bytes came."""
        return {"octets": len(frame)}


def _opened(arguments: argparse.Namespace) -> tuple[str, Driver, str]:
    """URL, driver and driver's name for what was asked to be recorded."""
    source: str = arguments.source
    if ":" in source:
        url = _recordable(source)
        if arguments.driver:
            driver = driver_with(find(DRIVERS, arguments.driver, "driver"), settings_of(arguments.set))
            return url, _fitting(driver, url), arguments.driver
        if parse_port(url).scheme != "serial":
            raise ConfigError(f"{url} needs --driver, and --set for what its sensor is told by")
        plain = type("AnyBytes", (AnyBytes,), {"line": _checked_line(arguments.line or _LINE)})
        return url, plain(), ""
    port = _port_of(arguments.site, source)
    sensor = next(s for s in port.sensors if s.name == source)
    kind: type[Driver] = find(DRIVERS, sensor.driver, "driver").load()
    return (
        _recordable(port.url),
        kind(build_settings(kind.settings_type(), sensor.settings)),
        sensor.driver,
    )


def _port_of(site: Path, name: str) -> PortPlan:
    from gateway.compile import compiled  # starts a child; not needed for a port's URL

    plan = compiled(site)
    for port in plan.ports:
        if name in [sensor.name for sensor in port.sensors]:
            return port
    raise ConfigError(unknown("sensor", name, [sensor.name for sensor in plan.sensors]))


def _recordable(url: str) -> str:
    if parse_port(url).scheme not in _NOTHING:
        raise ConfigError(
            f"{url} is not recorded: captures are of serial, BLE and GPIO, never sound or images"
        )
    return url


def _fitting(driver: Driver, url: str) -> Driver:
    scheme = parse_port(url).scheme
    if driver.kind != scheme:
        raise ConfigError(f"a {driver.kind} driver cannot read a {scheme} port; name another with --driver")
    return driver


def _checked_line(line: str) -> str:
    try:
        type("Checked", (AnyBytes,), {"line": line})
    except TypeError as error:
        raise ConfigError(f"--line: {error}") from None
    return line
