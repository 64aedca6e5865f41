"""Ports: the only place that opens a bus, reads it, stamps the time and hands over frames.

`open_port` imports only the module that the port's kind needs, so that the worker of a serial
port loads no numpy.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from gateway.driver import Driver, Encoded, SerialDriver
from gateway.errors import ConfigError
from gateway.plan import PortPlan
from gateway.ports.url import parse_port, serial_options


class Port(Protocol):
    """One bus. Used by one task: open, frames until PortGone, back, open again ...

    `counters` counts everything that was skipped or thrown away, by name. A `patient` port loses
    nothing while its frames are not fetched (a replay that has no clock of its own).
    """

    counters: Counter[str]
    patient: bool

    async def open(self) -> None:
        """Open the bus. Raises PortGone if it cannot be opened now, ConfigError if it never can."""
        ...

    def frames(self) -> AsyncGenerator[tuple[int, Any], None]:
        """(t_ns, frame) for ever. Raises PortGone when the bus, or what hangs on it, went away."""
        ...

    async def send(self, driver: Driver, what: Encoded) -> None:
        """Hand what `driver` encoded to its device: bytes, the level of a GPIO line, or a conversation.

        Raises PortGone if the device does not take it within two seconds; a conversation may raise BadFrame.
        """
        ...

    async def back(self, timeout_s: float) -> None:
        """Wait until another `open` is worth while: something changed, or the time is over."""
        ...

    def close(self) -> None:
        """Close the bus; what was half read is dropped and counted."""
        ...


@runtime_checkable
class FramedPort(Protocol):
    """A port that cuts a stream into frames: who reads the frames does not see the bad ones among them."""

    on_bad: Callable[[], None]  # called when `counters["bad_packets"]` has risen
    on_misheard: Callable[[int, str], None]  # nothing made sense since that time, on a line like "9600 8n1"

    def makes_sense(self) -> None:
        """To be called when a frame was good, until `on_misheard` can be called no more."""
        ...

    async def serve(self, take: Callable[[int, Any], None]) -> None:
        """Like `frames`, but calls `take` with each: that costs less. Raises PortGone, or what it raises."""
        ...


def open_port(port: PortPlan, drivers: Sequence[Driver]) -> Port:
    """The port that a plan names, for its sensors' drivers; not opened yet.

    Raises ConfigError if the driver does not fit the port, or its kind needs a package that is absent.
    """
    url = parse_port(port.url)
    if url.scheme == "replay":
        from gateway.ports.replay import ReplayPort  # only what this port needs

        return ReplayPort(url, port.kind, *drivers)
    serial_drivers = [driver for driver in drivers if isinstance(driver, SerialDriver)]
    if url.scheme == "serial" and serial_drivers:
        from gateway.ports.serial import SerialPort

        return SerialPort(url.place, *serial_drivers, options=serial_options(url))
    if url.scheme == "ble":
        from gateway.ports.ble import BlePort

        return BlePort(url.place, drivers)
    if url.scheme == "gpio":
        from gateway.ports.gpio import GpioPort

        return GpioPort(url.place, drivers)
    if url.scheme == "alsa":
        from gateway.ports.alsa import AlsaPort

        return AlsaPort(url.place, drivers)
    if url.scheme == "v4l2":
        from gateway.ports.v4l2 import V4l2Port

        return V4l2Port(url.place, drivers)
    if url.scheme == "rtsp":
        from gateway.ports.rtsp import RtspPort

        return RtspPort(url.place, drivers)
    raise ConfigError(f"port {port.url!r}: its driver {type(drivers[0]).__name__} does not fit this port")
