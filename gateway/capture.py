r"""Captures: what a bus said, as text that a person can read, cut, and mail.

The same file is a driver's test, a replayed sensor and the attachment of a bug report.

    # capture: 1                     first line, with the format's version
    # driver: sds011                 then `# key: value`, those of HEADER_KEYS and any other
    0.000000 < aac0 d404 3a0a a160 1dab      seconds, bytes received; hex with blanks anywhere,
    1.000000 < "$GPZDA,...*4F\r\n"           or text with \r \n \t \\ \" \xNN
    1.500000 > a00101a2                      bytes sent
    2.000000 adv A4:C1:38:00:00:01 -61 fcd2=40006401 mfr:004c=0215
    2.125000 ntf A4:C1:38:00:00:02 2a6e=3408     the value of a characteristic
    2.250000 edge door 1                     or `edge door 1 lost 3`: three edges were lost before it
    2.500000 level door 1                    a line's level when the port was opened; an output's with
                                             `asked 0` behind it, the level it was told to have

A UUID of four hex digits stands for the 128-bit one in the Bluetooth base range. Times never go back.
A later line that begins with # is a comment, an empty line means nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from gateway.driver import Advertisement, Edge, Notification
from gateway.errors import ConfigError

VERSION: Final = 1
HEADER_KEYS: Final = ("driver", "device", "firmware", "by", "when", "where", "scrubbed")
_FIRST_LINE: Final = f"# capture: {VERSION}"
_BASE_UUID: Final = "-0000-1000-8000-00805f9b34fb"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEADER: Final = re.compile(r"#\s*([a-z][a-z0-9_]*):\s*(.*)")
_LINE: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?\s+([<>]|adv|ntf|edge|level)\s*(.*)")
_EDGE: Final = re.compile(r"(\S|\S.*?\S) ([01])(?: lost (\d{1,6}))?(?: asked ([01]))?")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_ESCAPE: Final = re.compile(r'\\(x[0-9a-fA-F]{2}|[rnt\\"])')
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\x[0-9a-fA-F]{2}|\\[rnt\\"])*)"')
_PLAIN: Final = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\", '"': '"'}
_ESCAPED: Final = {ord(char): f"\\{letter}" for letter, char in _PLAIN.items()}


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes that came from the device, as one read returned them."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes that went to the device."""

    octets: bytes


Recorded = Received | Sent | Advertisement | Notification | Edge


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a capture: what happened, and when, in nanoseconds after the capture began."""

    at_ns: int
    what: Recorded


def is_capture(path: Path) -> bool:
    """Whether the file's first line says that it is a capture (of any version)."""
    with path.open("rb") as file:
        return file.read(11) == b"# capture: "


def read_header(lines: Iterable[str], name: str) -> dict[str, str]:
    """The `# key: value` lines at the top of a capture, without its version.

    `name` stands for the file in errors. Raises ConfigError if this is no capture of this version.
    """
    return _split(lines, name)[0]


def read_capture(lines: Iterable[str], name: str) -> Iterator[Entry]:
    """Every entry of a capture, in order.

    `name` stands for the file in errors. Raises ConfigError with `name:line` for a line that is
    none, when the reading comes to it.
    """
    last_ns = 0
    for number, line in _split(lines, name)[1]:
        if not line or line.startswith("#"):
            continue
        try:
            entry = _entry(line)
        except ValueError as error:
            raise ConfigError(f"{error}; the line is {line[:80]!r}", f"{name}:{number}") from None
        if entry.at_ns < last_ns:
            raise ConfigError("its time lies before the line above", f"{name}:{number}")
        last_ns = entry.at_ns
        yield entry


def _split(lines: Iterable[str], name: str) -> tuple[dict[str, str], Iterator[tuple[int, str]]]:
    """Header, and the numbered lines after it."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
    _, first = next(numbered, (1, ""))
    if first != _FIRST_LINE:
        raise ConfigError(
            f"the first line of a capture is {_FIRST_LINE!r}, this is {first[:40]!r}", f"{name}:1"
        )
    header: dict[str, str] = {}
    for number, line in numbered:
        match = _HEADER.fullmatch(line)
        if match is None:
            return header, chain([(number, line)], numbered)
        header[match[1]] = match[2]
    return header, iter(())


def _entry(line: str) -> Entry:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("write SECONDS < BYTES, SECONDS > BYTES, SECONDS adv, ntf, edge or level ...")
    at_ns = int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
    verb, rest = match[3], match[4]
    if verb == "<":
        return Entry(at_ns, Received(_octets(rest)))
    if verb == ">":
        return Entry(at_ns, Sent(_octets(rest)))
    if verb == "adv":
        return Entry(at_ns, _advertisement(rest.split()))
    if verb == "ntf":
        return Entry(at_ns, _notification(rest.split()))
    edge = _EDGE.fullmatch(rest)
    if edge is None:
        raise ValueError("an edge is written: edge LINE 0, or edge LINE 1")
    lost, asked = int(edge[3] or 0), None if edge[4] is None else edge[4] == "1"
    return Entry(at_ns, Edge(edge[1], edge[2] == "1", verb == "level", lost, asked))


def _octets(text: str) -> bytes:
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise ValueError(
                r"text is printable ASCII in double quotes, with \r \n \t \\ \" \xNN for the rest"
            )
        return _ESCAPE.sub(_unescape, quoted[1]).encode("latin-1")
    if not text:
        raise ValueError("there are no bytes")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("bytes are pairs of hex digits, or text in double quotes") from None


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] == "x" else _PLAIN[code]


def _advertisement(words: list[str]) -> Advertisement:
    if len(words) < 2 or not _ADDRESS.fullmatch(words[0]):
        raise ValueError("an advertisement is written: adv AA:BB:CC:DD:EE:FF RSSI UUID=HEX mfr:ID=HEX ...")
    if not re.fullmatch(r"-?\d{1,3}", words[1]):
        raise ValueError(f"{words[1]!r} is no RSSI in dBm")
    services: dict[str, bytes] = {}
    makers: dict[int, bytes] = {}
    for word in words[2:]:
        key, equals, hexed = word.partition("=")
        if not equals or not re.fullmatch(r"([0-9a-fA-F]{2})*", hexed):
            raise ValueError(f"{word!r} is no UUID=HEX or mfr:ID=HEX")
        if re.fullmatch(r"mfr:[0-9a-fA-F]{4}", key):
            makers[int(key[4:], 16)] = bytes.fromhex(hexed)
        else:
            services[long_uuid(key)] = bytes.fromhex(hexed)
    return Advertisement(words[0].upper(), int(words[1]), services, makers)


def _notification(words: list[str]) -> Notification:
    uuid, equals, hexed = words[1].partition("=") if len(words) == 2 else ("", "", "")
    if not equals or not _ADDRESS.fullmatch(words[0]) or not re.fullmatch(r"([0-9a-fA-F]{2})*", hexed):
        raise ValueError("a notification is written: ntf AA:BB:CC:DD:EE:FF UUID=HEX")
    return Notification(words[0].upper(), long_uuid(uuid), bytes.fromhex(hexed))


def long_uuid(text: str) -> str:
    """The 128-bit UUID, lower case, for one of 4 or 32 digits. Raises ValueError for anything else."""
    lower = text.lower()
    if re.fullmatch(r"[0-9a-f]{4}", lower):
        return f"0000{lower}{_BASE_UUID}"
    if not _UUID.fullmatch(lower):
        raise ValueError(f"{text!r} is no UUID of 16 or 128 bits")
    return lower


class CaptureWriter:
    """Writes a capture to an open text file, line by line; the caller opens and closes the file."""

    def __init__(self, out: TextIO, header: Mapping[str, str]) -> None:
        self._out = out
        out.write(_FIRST_LINE + "\n")
        out.writelines(f"# {key}: {' '.join(value.split())}\n" for key, value in header.items())

    def add(self, at_ns: int, what: Recorded) -> None:
        """Append one entry, `at_ns` after the capture's beginning."""
        seconds, rest = divmod(at_ns, 10**9)
        decimals = f"{rest:09d}"
        if decimals.endswith("000"):
            decimals = decimals[:6]
        self._out.write(f"{seconds}.{decimals} {_written(what)}\n")


def _written(what: Recorded) -> str:
    if isinstance(what, Received):
        return f"< {_bytes_text(what.octets)}"
    if isinstance(what, Sent):
        return f"> {_bytes_text(what.octets)}"
    if isinstance(what, Edge):
        lost = f" lost {what.lost}" if what.lost else ""
        asked = "" if what.asked is None else f" asked {int(what.asked)}"
        return f"{'level' if what.found else 'edge'} {what.line} {int(what.rising)}{lost}{asked}"
    if isinstance(what, Notification):
        return f"ntf {what.address} {_short_uuid(what.characteristic)}={what.payload.hex()}"
    words = [f"adv {what.address} {what.rssi}"]
    words += [f"{_short_uuid(uuid)}={octets.hex()}" for uuid, octets in what.service_data.items()]
    words += [f"mfr:{maker:04x}={octets.hex()}" for maker, octets in what.manufacturer_data.items()]
    return " ".join(words)


def _bytes_text(octets: bytes) -> str:
    """Quoted text if nearly all of it is printable, hex otherwise."""
    printable = sum(32 <= octet < 127 or octet in b"\r\n\t" for octet in octets)
    if octets and printable < len(octets) * 0.9:
        return octets.hex()
    escaped = (
        _ESCAPED.get(octet) or (chr(octet) if 32 <= octet < 127 else f"\\x{octet:02x}") for octet in octets
    )
    return '"' + "".join(escaped) + '"'


def _short_uuid(uuid: str) -> str:
    return uuid[4:8] if uuid.startswith("0000") and uuid.endswith(_BASE_UUID) else uuid
