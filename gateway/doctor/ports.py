"""The ports of the plan: is each there, by the functions the port itself finds it with; may it be opened?"""

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.doctor.asked import Asked, asked, missing
from gateway.doctor.bluetooth import ble_ports
from gateway.doctor.finding import Finding, wrong
from gateway.doctor.rights import device_rights, may_open
from gateway.errors import ConfigError, PortGone
from gateway.plan import Plan
from gateway.ports.adapters import adapters, find_device
from gateway.ports.url import usb_name
from gateway.scanning import bluetooth_names
from gateway.sensor import build_driver

_RTSP_PORT: Final = 554
_ANSWER_S: Final = 3.0
_NODES: Final = (
    ("gpio", "GPIO chip", "dev", "gpiochip*"),
    ("alsa", "sound card that records", "dev/snd", "pcm*c"),
    ("v4l2", "camera", "dev", "video*"),
)


def examine_ports(plan: Plan | None) -> Iterator[Finding]:
    """Every port of the plan, kind by kind; of kinds that it does not name, what there is."""
    ports = [asked(port) for port in plan.ports] if plan else []
    yield from serial_ports([port for port in ports if port.scheme == "serial"])
    for scheme, look in _LOOKS.items():
        of_kind = [port for port in ports if port.scheme == scheme]
        if of_kind:
            yield from look(of_kind)
    schemes = {port.scheme for port in ports}
    yield from (finding for finding in other_buses() if finding.check not in schemes)


def serial_ports(ports: Sequence[Asked]) -> Iterator[Finding]:
    """Adapters that are plugged in, ports the site file names, and whether this user may open them."""
    devices = {adapter.device: str(adapter) for adapter in adapters()}
    for port in ports:
        try:
            devices[find_device(port.place)] = f"port of {port.names}"
        except PortGone as error:
            yield port.gone(error)
    for device, what in devices.items():
        yield device_rights("serial", Path(device), what)
    if not devices:
        yield Finding("serial", "note", "no serial adapter is plugged in")


def gpio_ports(ports: Sequence[Asked]) -> Iterator[Finding]:
    """Chips by their labels, and the lines of the sensors on them."""
    absent = missing("gpio", "gpio", ["gpiod"])
    if absent:
        yield from absent
        return
    from gateway.ports.gpiochip import ChipSeen, find_chip, find_line, nodes
    from gateway.ports.gpiolines import lines_of

    def lines(chip: ChipSeen, port: Asked) -> Iterator[Finding]:
        try:
            inputs, outputs = lines_of([build_driver(sensor) for sensor in port.plan.sensors])
            for wiring in [line.wiring for line in inputs] + [line.wiring for line in outputs]:
                find_line(chip, wiring.line)
        except ConfigError as error:
            yield Finding("gpio", "wrong", f"{port.names}: {error}", "correct the line in the site file")

    for port in ports:
        try:
            chip = find_chip(port.place)
        except PortGone as error:
            closed = [node for node in nodes() if not may_open(node)]
            yield from _closed("gpio", closed, port, error)
            continue
        yield device_rights("gpio", Path(chip.path), f"port of {port.names}")
        yield from lines(chip, port)


def alsa_ports(ports: Sequence[Asked]) -> Iterator[Finding]:
    """Sound cards."""
    from gateway.ports.asound import library
    from gateway.ports.soundcards import cards, find_card

    try:
        library()
    except ConfigError as error:
        yield wrong("alsa", error)
    for port in ports:
        try:
            card, capture = find_card(port.place, cards())
        except PortGone as error:
            yield port.gone(error)
            continue
        yield device_rights("alsa", card.node(capture), f"port of {port.names}")


def v4l2_ports(ports: Sequence[Asked]) -> Iterator[Finding]:
    """Cameras. Who may not open one does not learn which one it is."""
    from gateway.ports.cameras import cameras, closed_nodes, match_camera

    for port in ports:
        try:
            camera = match_camera(port.place, cameras(usb_name(port.place)))
        except PortGone as error:
            yield from _closed("v4l2", closed_nodes(), port, error)
            continue
        yield device_rights("v4l2", Path(camera.device), f"port of {port.names}")


def rtsp_ports(ports: Sequence[Asked], within_s: float = _ANSWER_S) -> Iterator[Finding]:
    """Cameras on a network: does anybody answer there? User, password and path are not tried."""
    yield from missing("rtsp", "rtsp", ["av"])
    for port in ports:
        place = urlsplit(port.plan.url)
        host, number = place.hostname or "", place.port or _RTSP_PORT
        try:
            socket.create_connection((host, number), timeout=within_s).close()
        except OSError as error:
            text = f"{port.names}: nobody answers at {host} port {number} ({error.strerror or error})"
            yield Finding("rtsp", "wrong", text, f"check the camera's power and cable, then: ping {host}")
        else:
            yield Finding("rtsp", "ok", f"{host} port {number} (port of {port.names}) answers")


def other_buses(root: Path = Path("/")) -> Iterator[Finding]:
    """Buses besides serial lines: what is there?"""
    there = [("ble", "Bluetooth adapter", bluetooth_names(root))]
    for scheme, what, folder, pattern in _NODES:
        there.append((scheme, what, sorted(path.name for path in (root / folder).glob(pattern))))
    for scheme, what, names in there:
        if names:
            yield Finding(scheme, "ok", ", ".join(names))
        else:
            yield Finding(scheme, "note", f"no {what} is here")


def _closed(check: str, nodes: Sequence[Path], port: Asked, error: PortGone) -> Iterator[Finding]:
    """It was not found: it is not there, or it is one of those that this user may not look at."""
    if nodes:
        yield device_rights(check, nodes[0], f"perhaps the port of {port.names}")
    else:
        yield port.gone(error)


_LOOKS: Final[dict[str, Callable[[Sequence[Asked]], Iterator[Finding]]]] = {
    "ble": ble_ports,
    "gpio": gpio_ports,
    "alsa": alsa_ports,
    "v4l2": v4l2_ports,
    "rtsp": rtsp_ports,
}
