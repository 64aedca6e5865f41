"""What hangs on this machine, as ports for the site file. Nothing is taken into use; no line and no air is
listened to unless that is asked for (`listened`, `nearby`).

Each kind is looked for with the functions that its port finds things with. What needs a package that is not
installed, or a right that this user does not have, is said to be unseen.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError, GatewayError, PortGone
from gateway.plugins import DRIVERS, found
from gateway.ports.adapters import Adapter, adapters
from gateway.ports.url import parse_port

if TYPE_CHECKING:
    from gateway.ports.cameras import Camera
    from gateway.ports.gpiochip import ChipSeen
    from gateway.ports.radio import BleAdapter, Near
    from gateway.ports.soundcards import SoundCard

BLUETOOTH: Final = Path("sys/class/bluetooth")
# Makers whose USB devices are what they seem; most adapters are anybody's.
_USB: Final[Mapping[int, tuple[str, ...]]] = {0x1546: ("ublox", "gps-nmea")}  # u-blox
# Services that a driver reads once it is connected (Bluetooth Assigned Numbers 3.4.2).
_GATT: Final[Mapping[str, str]] = {"0000181a-0000-1000-8000-00805f9b34fb": "environmental-sensing"}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A port that is there. `device` is what the kernel calls it now, `text` says more for people.

    `asks` are settings that every driver on such a port needs, each with what it could be, as far as that is
    known; `drivers` those that it could be read by, one if it is known, and `settings` what they need then;
    `more` is for programs.
    """

    kind: str
    device: str
    port: str
    text: str
    asks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at, and why."""

    kind: str
    text: str


def scan() -> Iterator[Proposal | Unseen]:
    """Everything, kind by kind."""
    for look in _LOOKS:
        for each in look():
            yield _checked(each) if isinstance(each, Proposal) else each


def serial() -> Iterator[Proposal | Unseen]:
    """USB serial adapters."""
    yield from of_adapters(adapters())


def gpio() -> Iterator[Proposal | Unseen]:
    """GPIO chips, with the names of their lines."""
    try:
        from gateway.ports.gpiochip import chips, nodes
    except ConfigError as error:
        yield Unseen("gpio", str(error))
        return
    seen = chips()
    yield from of_chips(seen)
    paths = {chip.path for chip in seen}
    yield from _closed("gpio", [node for node in nodes() if str(node) not in paths])


def sound() -> Iterator[Proposal | Unseen]:
    """Sound cards that record."""
    from gateway.ports.soundcards import cards

    yield from of_cards(cards())


def video() -> Iterator[Proposal | Unseen]:
    """Cameras, which are opened for a moment to ask what they are."""
    from gateway.ports.cameras import cameras, closed_nodes

    yield from of_cameras(cameras())
    yield from _closed("v4l2", closed_nodes())


def bluetooth(root: Path = Path("/")) -> Iterator[Proposal | Unseen]:
    """Bluetooth adapters; BlueZ is asked for their addresses, because the kernel's folder has only names."""
    names = bluetooth_names(root)
    if not names:
        return
    known: Sequence[BleAdapter] = ()
    try:
        import asyncio

        from gateway.ports.bluezbus import adapters_now

        known = asyncio.run(adapters_now())
    except ModuleNotFoundError as error:
        need = f"a ble port needs the package {error.name}: pip install 'pole-gateway[ble]'"
        yield Unseen("ble", f"addresses are not known; {need}")
    except PortGone as error:
        yield Unseen("ble", f"addresses are not known: {error}")
    yield from of_radios(names, known)


def bluetooth_names(root: Path) -> list[str]:
    """What the kernel calls its Bluetooth adapters; `hci0:64` is a connection, no adapter."""
    folders = (root / BLUETOOTH).glob("hci*")
    return sorted(folder.name for folder in folders if ":" not in folder.name)


def listened(proposal: Proposal, seconds: float) -> Proposal | Unseen:
    """A serial port once more, with what was heard on it and the driver that reads it."""
    from gateway.listening import listen

    try:
        heard = listen(proposal.device, seconds)
    except GatewayError as error:
        return Unseen("serial", str(error))
    if heard.driver:
        text = f"{proposal.text}; looks like {heard.driver} at {heard.line}, {heard.frames} frames"
        return replace(
            proposal,
            text=text,
            drivers=(heard.driver,),
            settings=dict(heard.settings),
            asks=dict.fromkeys(heard.asks, ()),
        )
    if heard.count:
        text = f"{heard.count} bytes at {heard.line} that no driver here reads; `gateway record` keeps them"
    else:
        text = "it says nothing; some devices speak only when asked"
    return replace(proposal, text=f"{proposal.text}; {text}")


def nearby(adapter: str, seconds: float) -> Iterator[Proposal | Unseen]:
    """The devices near one Bluetooth adapter that a driver reads; of all others only their number."""
    try:
        import asyncio

        from gateway.ports.bluez import hear_all

        seen = asyncio.run(hear_all(adapter, seconds))
    except ModuleNotFoundError as error:
        yield Unseen("ble", f"a ble port needs the package {error.name}: pip install 'pole-gateway[ble]'")
    except PortGone as error:
        yield Unseen("ble", f"{adapter} heard nothing: {error}")
    else:
        yield from of_advertisements(adapter, seen, _services())


def of_advertisements(
    adapter: str, seen: Sequence["Near"], services: Mapping[str, Sequence[str]]
) -> list[Proposal | Unseen]:
    """Of devices that were heard: the nearest first, by the services that drivers read."""
    found: list[Proposal | Unseen] = []
    strangers = 0
    for near in sorted(seen, key=lambda near: -near.rssi):
        drivers = tuple(dict.fromkeys(name for uuid in near.services for name in services.get(uuid, ())))
        if not drivers:
            strangers += 1
            continue
        text = f"heard with {near.rssi} dBm by {adapter}"
        settings = {"address": near.address}
        found.append(
            Proposal("ble", near.address, f"ble:{adapter}", text, drivers=drivers, settings=settings)
        )
    if strangers:
        found.append(Unseen("ble", f"{strangers} more devices near {adapter}, which no driver here reads"))
    return found


def _services() -> dict[str, list[str]]:
    """The drivers of each BLE service: of its data in advertisements, or of what is read once connected."""
    services = {uuid: [name] for uuid, name in _GATT.items() if name in found(DRIVERS)}
    for plugin in found(DRIVERS).values():
        try:
            driver = plugin.load()
        except ConfigError:
            continue  # `gateway drivers` says what is wrong with it
        if getattr(driver, "kind", "") == "ble" and driver.service:
            services.setdefault(driver.service, []).append(plugin.name)
    return services


def of_adapters(seen: Sequence[Adapter]) -> list[Proposal]:
    """Of serial adapters. Two alike without udev get one name; opening it says so."""
    names = [(a.vendor, a.product, a.serial, f"path/{a.by_path}" if a.by_path else None) for a in seen]
    return [
        Proposal(
            "serial",
            adapter.device,
            f"serial:{place}",
            str(adapter),
            more={"by_path": adapter.by_path},
            drivers=_installed(_USB.get(adapter.vendor, ())),
        )
        for adapter, place in zip(seen, usb_places(names), strict=True)
    ]


def of_path(path: str) -> Proposal:
    """Of a serial line that somebody names, like one on the board itself."""
    return Proposal("serial", path, f"serial:{path}", "as named")


def _installed(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in found(DRIVERS))


def of_chips(seen: Sequence["ChipSeen"]) -> list[Proposal]:
    """Of GPIO chips. A name that two lines have names neither."""
    found = []
    for chip in seen:
        times = Counter(chip.lines)
        names = tuple(name for name in chip.lines if name and times[name] == 1)
        more = {"lines": list(names)}
        text = f"{chip.label}; {len(names)} of {len(chip.lines)} lines can be called by name"
        found.append(Proposal("gpio", chip.path, f"gpio:{chip.label}", text, {"line": names}, more))
    return found


def of_cards(seen: Sequence["SoundCard"]) -> list[Proposal]:
    """Of sound cards; by id where they are not on USB, or are twins."""
    on_usb = [card for card in seen if card.usb is not None]
    names = [(c.usb.vendor, c.usb.product, c.usb.serial, f"card/{c.id}") for c in on_usb if c.usb is not None]
    places = dict(zip((card.number for card in on_usb), usb_places(names), strict=True))
    found = []
    for card in seen:
        text = card.name
        if len(card.captures) > 1:
            others = ", ".join(f"alsa:card/{card.id},{number}" for number in card.captures[1:])
            text += f"; it also records from {others}"
        place = places.get(card.number, f"card/{card.id}")
        device = str(card.node(card.captures[0]))
        found.append(Proposal("alsa", device, f"alsa:{place}", text, more={"captures": list(card.captures)}))
    return found


def of_cameras(seen: Sequence["Camera"]) -> list[Proposal]:
    """Of cameras, each once however many nodes it has; by bus where they are not on USB, or are twins."""
    first = {camera.bus: camera for camera in sorted(seen, key=lambda camera: -camera.index)}
    each = sorted(first.values(), key=lambda camera: camera.device)
    on_usb = [camera for camera in each if camera.usb is not None]
    names = [(c.usb.vendor, c.usb.product, c.usb.serial, f"bus/{c.bus}") for c in on_usb if c.usb is not None]
    places = dict(zip((camera.bus for camera in on_usb), usb_places(names), strict=True))
    return [
        Proposal(
            "v4l2",
            camera.device,
            f"v4l2:{places.get(camera.bus, f'bus/{camera.bus}')}",
            f"{camera.name} at bus/{camera.bus}",
            more={"bus": camera.bus},
        )
        for camera in each
    ]


def of_radios(names: Sequence[str], known: Sequence["BleAdapter"]) -> list[Proposal]:
    """Of Bluetooth adapters: by address, by name where BlueZ does not know it."""
    addresses = {adapter.name: adapter.address for adapter in known}
    return [
        Proposal(
            "ble",
            name,
            f"ble:{addresses.get(name, name)}",
            "Bluetooth adapter",
            {"address": ()},
            {"address": addresses.get(name)},
        )
        for name in names
    ]


def usb_places(names: Sequence[tuple[int, int, str | None, str | None]]) -> list[str]:
    """For each (vendor, product, serial number, another name): the shortest that means no other one.

    By ids if only one has them, by serial number if only one has that, else by the other name.
    """
    ids = Counter(name[:2] for name in names)
    serials = Counter(name[:3] for name in names)
    places = []
    for vendor, product, number, other in names:
        place = f"usb-{vendor:04x}:{product:04x}"
        if ids[vendor, product] > 1:
            if number and serials[vendor, product, number] == 1:
                place = f"{place}-{number}"
            else:
                place = other or place
        places.append(place)
    return places


def _checked(found: Proposal) -> Proposal | Unseen:
    """Itself, unless it has a label or serial number that no port can be written with."""
    try:
        parse_port(found.port)
    except ConfigError as error:
        return Unseen(found.kind, f"{found.device}: {error}")
    return found


def _closed(kind: str, nodes: Sequence[Path]) -> Iterator[Unseen]:
    for node in nodes:
        yield Unseen(kind, f"{node} cannot be opened by this user; `gateway doctor` says how to mend that")


_LOOKS: Final[tuple[Callable[[], Iterator[Proposal | Unseen]], ...]] = (serial, gpio, sound, video, bluetooth)
