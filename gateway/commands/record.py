"""`gateway record`: what really comes from a device, byte for byte, as a capture."""

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from gateway.capture import CaptureWriter, Received, Sent
from gateway.commands.sitefile import add_site
from gateway.driver import Driver, Measure, SerialDriver
from gateway.errors import ConfigError, PortGone
from gateway.plan import PortPlan
from gateway.plugins import DRIVERS, find, unknown
from gateway.ports.serial import SerialPort
from gateway.ports.url import parse_port
from gateway.settings import build_settings

_LINE: Final = "9600 8n1"


class Record:
    """Open a serial port by itself and write all that passes into a capture."""

    name = "record"
    help = "record a port's bytes into a capture, for a test or a bug report"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SOURCE FILE and how to open the port."""
        parser.add_argument(
            "source", metavar="PORT|SENSOR", help="a port, like serial:usb-1a86:7523, or a sensor's name"
        )
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="the capture to write; must not be there yet"
        )
        opened = parser.add_mutually_exclusive_group()
        opened.add_argument("--driver", help="the driver whose line settings and questions to use")
        opened.add_argument("--line", help=f'line settings of a port without a driver (default: "{_LINE}")')
        parser.add_argument("--seconds", type=float, help="stop after so long (default: at Ctrl-C)")
        parser.add_argument("--device", default="", help="what it is, for the capture's header")
        parser.add_argument("--where", default="", help="where it was recorded, for the capture's header")
        add_site(parser, option=True)

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if nothing came."""
        url, driver, name = _opened(arguments)
        header = {
            "driver": name,
            "device": arguments.device,
            "by": f"{os.environ.get('USER', 'someone')} on {socket.gethostname()}",
            "when": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "where": arguments.where,
        }
        try:
            # Line-buffered: what was recorded so far survives a pulled plug.
            out = arguments.file.open("x", encoding="ascii", buffering=1)
        except FileExistsError:
            raise ConfigError(f"{arguments.file} is already there; name another file") from None
        with out:
            writer = CaptureWriter(out, {key: value for key, value in header.items() if value})
            recording = Recording(SerialPort(parse_port(url).place, driver), writer)
            opened = f"recording {url} into {arguments.file}; Ctrl-C ends it"
            try:
                asyncio.run(recording.run(arguments.seconds, opened))
            finally:
                if not recording.entries:
                    arguments.file.unlink()
        if not recording.octets:
            print("nothing came: check the plug, the line settings (--line) and its power", file=sys.stderr)
            return 1
        print(f"{recording.octets} bytes in {recording.entries} entries", file=sys.stderr)
        return 0


class Recording:
    """One port being written into one capture. `octets` counts what was received."""

    def __init__(self, port: SerialPort, writer: CaptureWriter) -> None:
        self._port = port
        self._writer = writer
        self._begin_ns = 0
        self.octets = 0
        self.entries = 0

    async def run(self, seconds: float | None, opened: str) -> None:
        """Record until the time is over, SIGINT or SIGTERM comes, or the port goes (PortGone).

        Says `opened` on stderr once the port is.
        """
        self._begin_ns = time.monotonic_ns()
        self._port.tap = self._add
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        try:
            await self._port.open()
            print(opened, file=sys.stderr)
            reading = asyncio.create_task(self._read())
            stopping = asyncio.create_task(stop.wait())
            done, rest = await asyncio.wait(
                (reading, stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in rest:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            for task in done:
                task.result()
        except PortGone as error:
            raise PortGone(f"{error}; if `gateway run` holds the port, stop it first") from None
        finally:
            self._port.close()

    async def _read(self) -> None:
        async for _ in self._port.frames():
            pass  # the tap has written the bytes already

    def _add(self, t_ns: int, what: Received | Sent) -> None:
        self._writer.add(max(0, t_ns - self._begin_ns), what)
        self.entries += 1
        self.octets += len(what.octets) if isinstance(what, Received) else 0


class AnyBytes(SerialDriver):
    """A device nothing is known of: its bytes are recorded, not understood."""

    emits = (Measure("octets", "1"),)

    def decode(self, frame: bytes) -> dict[str, int]:
        """How many bytes came."""
        return {"octets": len(frame)}


def _opened(arguments: argparse.Namespace) -> tuple[str, SerialDriver, str]:
    """URL, driver and driver's name for what was asked to be recorded."""
    source: str = arguments.source
    if ":" in source:
        driver: Any = find(DRIVERS, arguments.driver, "driver").load() if arguments.driver else None
        if driver is None:
            driver = type("AnyBytes", (AnyBytes,), {"line": _checked_line(arguments.line or _LINE)})
        return _serial(source), _serial_driver(driver()), arguments.driver or ""
    port = _port_of(arguments.site, source)
    sensor = next(s for s in port.sensors if s.name == source)
    driver = find(DRIVERS, sensor.driver, "driver").load()
    settings = build_settings(driver.settings_type(), sensor.settings)
    return _serial(port.url), _serial_driver(driver(settings)), sensor.driver


def _port_of(site: Path, name: str) -> PortPlan:
    from gateway.compile import compiled  # starts a child; not needed for a port's URL

    plan = compiled(site)
    for port in plan.ports:
        if name in [sensor.name for sensor in port.sensors]:
            return port
    raise ConfigError(unknown("sensor", name, [sensor.name for sensor in plan.sensors]))


def _serial(url: str) -> str:
    if parse_port(url).scheme != "serial":
        raise ConfigError(
            f"{url} is no serial port; this version records serial ports, and never sound or images"
        )
    return url


def _serial_driver(driver: Driver) -> SerialDriver:
    if not isinstance(driver, SerialDriver):
        raise ConfigError(f"a {driver.kind} driver cannot read a serial port; name another with --driver")
    return driver


def _checked_line(line: str) -> str:
    try:
        type("Checked", (AnyBytes,), {"line": line})
    except TypeError as error:
        raise ConfigError(f"--line: {error}") from None
    return line
