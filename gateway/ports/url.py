"""A port as it is written in the site file: `scheme:place?option=value`. Standard library only.

serial:usb-067b:2303-A1B2      a USB adapter by vendor:product[-serial number]
serial:path/pci-0000:00:14...  a physical socket, as under /dev/serial/by-path
serial:/dev/serial0            any other path that does not change its meaning after a replug
serial:...?rs485=rts&echo=1    a line of RS-485; the one, the other or both:
    rs485=rts                  RTS high while sending, switched by the kernel (rts-low: RTS low while sending)
    echo=1                     an RS-485 adapter that hears what it sends itself
ble:A4:C1:38:12:34:56          a Bluetooth adapter by its own address; or ble:hci0, by its name
gpio:pinctrl-bcm2711  alsa:usb-...  v4l2:usb-...
rtsp://10.0.3.7/stream1        a camera on a network; user and password are settings of its sensor
replay:scene.flac?speed=1      frames from a file, at recorded speed, faster, or "live"
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from gateway.errors import ConfigError

SCHEMES: Final = ("serial", "ble", "gpio", "alsa", "v4l2", "rtsp", "replay")
REPLAY_OPTIONS: Final = ("speed", "loop", "start", "rate", "fps")
SERIAL_OPTIONS: Final = ("rs485", "echo")
_OPTIONS: Final = {"replay": REPLAY_OPTIONS, "serial": SERIAL_OPTIONS}

_USB: Final = re.compile(r"usb-([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?:-(.+))?")
_CARD: Final = re.compile(r"card/[A-Za-z_][A-Za-z0-9_]*(,[0-9]{1,3})?")
_BY_PATH: Final = re.compile(r"path/[^/]+")
_BLE: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|hci[0-9]{1,3}")
_RTSP: Final = re.compile(r"//(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[!-~]*)?")
# How cameras name a login in a URL; `pass` alone may be a place: /underpass
_TELLTALE: Final = re.compile(
    r"passw|pwd|secret|token|(^|[^a-z])(pass|pw|psw|auth|key|user|usr|username|login)=", re.IGNORECASE
)
_WANDERING: Final = re.compile(r"(/dev/)?tty(USB|ACM)[0-9]+")


@dataclass(frozen=True, slots=True)
class PortUrl:
    """A port's URL, taken apart. `options` are still text; `replay_options` reads them."""

    scheme: str
    place: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsbName:
    """Something on USB: vendor and product id, and its serial number where one is asked for."""

    vendor: int
    product: int
    serial: str | None


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a file is replayed.

    `speed` is a factor, or None for as fast as the consumer takes frames. `start_ns` (CLOCK_MONOTONIC)
    makes the replay live: what lies before now is missed, as on a real bus. `rate` is frames a second
    of a raw byte file, `fps` images a second of a folder.
    """

    speed: float | None = 1.0
    loop: bool = False
    start_ns: int | None = None
    rate: float = 10.0
    fps: float = 5.0


@dataclass(frozen=True, slots=True)
class SerialOptions:
    """How a serial line is wired. `rs485`: "rts" or "rts-low", if the kernel is to switch its direction.

    `echo`: what is sent is heard, too, and is taken out of what comes in.
    """

    rs485: str = ""
    echo: bool = False


def parse_port(text: str) -> PortUrl:
    """Take a port's URL apart and check it. Raises ConfigError saying how to write it."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        ways = ", ".join(s + ":" for s in SCHEMES)
        raise ConfigError(f"port {spelt(text)} does not begin with one of {ways}")
    options: dict[str, str] = {}
    place, _, query = rest.partition("?") if scheme in _OPTIONS else (rest, "", "")
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if key not in _OPTIONS[scheme] or not equals:
            more = "; its driver sets the line" if scheme == "serial" else ""
            ways = ", ".join(_OPTIONS[scheme])
            raise ConfigError(f"port {text!r}: {pair!r} is none of {ways} with =value{more}")
        options[key] = value
    if not place:
        raise ConfigError(f"port {text!r} names no place after {scheme!r}:")
    url = PortUrl(scheme, unquote(place) if scheme == "replay" else place, options)
    if scheme == "replay":
        replay_options(url)
    else:
        if scheme == "serial":
            serial_options(url)
        _CHECKS[scheme](text, place)
    return url


def spelt(text: str) -> str:
    """A port of no known scheme for an error text; not as it is written, where a login may be in it."""
    return "with a login in it" if "@" in text or _TELLTALE.search(text) else repr(text)


def port_schemes(kind: str) -> tuple[str, ...]:
    """How the ports of one kind of driver may begin: a camera may also hang on a network."""
    return (kind, "rtsp", "replay") if kind == "v4l2" else (kind, "replay")


def usb_name(place: str) -> UsbName | None:
    """What `usb-VID:PID[-SERIAL]` names; None if the place is no such name."""
    match = _USB.fullmatch(place)
    return UsbName(int(match[1], 16), int(match[2], 16), match[3]) if match else None


def replay_options(url: PortUrl) -> ReplayOptions:
    """Read a replay's options. Raises ConfigError for a value out of range or two that contradict."""
    given = url.options
    speed = None if given.get("speed") == "max" else _number(given, "speed", 1.0)
    start = given.get("start")
    if start is not None and not start.isdecimal():
        raise ConfigError(f"replay option start={start}: write CLOCK_MONOTONIC in nanoseconds")
    if start is not None and speed is None:
        raise ConfigError("replay options start= and speed=max contradict each other; leave one out")
    loop = given.get("loop", "0")
    if loop not in {"0", "1"}:
        raise ConfigError(f"replay option loop={loop}: write 0 or 1")
    return ReplayOptions(
        speed=speed,
        loop=loop == "1",
        start_ns=None if start is None else int(start),
        rate=_number(given, "rate", 10.0),
        fps=_number(given, "fps", 5.0),
    )


def serial_options(url: PortUrl) -> SerialOptions:
    """Read a serial port's options. Raises ConfigError for a value that is none."""
    rs485, echo = url.options.get("rs485", ""), url.options.get("echo", "0")
    if rs485 not in {"", "rts", "rts-low"}:
        raise ConfigError(f"serial option rs485={rs485}: write rts, or rts-low")
    if echo not in {"0", "1"}:
        raise ConfigError(f"serial option echo={echo}: write 0 or 1")
    return SerialOptions(rs485, echo == "1")


def _number(given: Mapping[str, str], key: str, default: float) -> float:
    text = given.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or float(text) == 0:
        more = ' or "max"' if key == "speed" else ""
        raise ConfigError(f"replay option {key}={text}: write a number above 0{more}")
    return float(text)


def _check_serial(text: str, place: str) -> None:
    if _WANDERING.fullmatch(place):
        raise ConfigError(
            f"port {text!r}: this name goes to whichever adapter was found first; "
            "name the adapter (serial:usb-VID:PID) or its socket (serial:path/...); `gateway scan` lists both"
        )
    if not (_USB.fullmatch(place) or _BY_PATH.fullmatch(place) or place.startswith("/")):
        raise ConfigError(
            f"port {text!r}: write serial:usb-VID:PID, serial:usb-VID:PID-SERIAL, "
            "serial:path/NAME or an absolute path"
        )


def _check_gpio(text: str, place: str) -> None:
    if re.fullmatch(r"(/dev/)?gpiochip[0-9]+|[0-9]{1,3}", place):
        raise ConfigError(
            f"port {text!r}: this number goes to whichever chip was found first; write gpio:LABEL, "
            "such as gpio:pinctrl-bcm2711; `gateway scan` lists the labels"
        )
    if "/" in place or not place.isprintable() or place != place.strip():
        raise ConfigError(
            f"port {text!r}: write gpio:LABEL with the label of a chip, as `gateway scan` has it; "
            "the line is the sensor's setting `line`"
        )


def _check_ble(text: str, place: str) -> None:
    if not _BLE.fullmatch(place):
        raise ConfigError(
            f"port {text!r}: write ble:AA:BB:CC:DD:EE:FF with the adapter's own address (`bluetoothctl list` "
            "shows it), or ble:hci0 for the adapter that has this name; a sensor's address is its setting"
        )


def _check_v4l2(text: str, place: str) -> None:
    if re.fullmatch(r"(/dev/)?video[0-9]+|[0-9]{1,3}", place):
        raise ConfigError(
            f"port {text!r}: this number goes to whichever camera was found first; name the camera "
            "(v4l2:usb-VID:PID) or its socket (v4l2:bus/NAME)"
        )
    if not (_USB.fullmatch(place) or (place.startswith("bus/") and place.isprintable() and len(place) > 4)):
        raise ConfigError(
            f"port {text!r}: write v4l2:usb-VID:PID, v4l2:usb-VID:PID-SERIAL, or v4l2:bus/NAME with the "
            "bus that the camera names, such as bus/usb-0000:01:00.0-1.2"
        )


def _check_alsa(text: str, place: str) -> None:
    if not (_USB.fullmatch(place) or _CARD.fullmatch(place)):
        raise ConfigError(
            f"port {text!r}: name the sound card itself, not its number: alsa:usb-VID:PID, "
            "alsa:usb-VID:PID-SERIAL, or alsa:card/ID or alsa:card/ID,DEVICE with the id in "
            "/proc/asound/cards; `gateway scan` lists them"
        )


def _check_rtsp(text: str, place: str) -> None:
    del text  # the error never repeats what was written: it may hold the password
    if "@" in place or _TELLTALE.search(place):
        raise ConfigError(
            "an rtsp port's URL is in logs and plans, so no password may be in it: "
            'write user = "..." and password = "file:/..." beside the port'
        )
    if not _RTSP.fullmatch(place):
        raise ConfigError("write an rtsp port as rtsp://HOST/PATH or rtsp://HOST:PORT/PATH")


_CHECKS: Final[Mapping[str, Callable[[str, str], None]]] = {
    "serial": _check_serial,
    "ble": _check_ble,
    "gpio": _check_gpio,
    "alsa": _check_alsa,
    "v4l2": _check_v4l2,
    "rtsp": _check_rtsp,
}
