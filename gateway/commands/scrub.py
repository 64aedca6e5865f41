"""Takes out of a recording what tells where a pole stands, and keeps everything else as it was.

Coordinates are cut to a tenth of a degree (11 km): in NMEA 0183 sentences, in the position messages of
u-blox receivers (UBX, interface description of protocol 27: NAV-PVT, NAV-POSLLH, NAV-HPPOSLLH). UBX
messages from which a position could be worked out (ECEF, raw ranges, surveys, logs) are emptied.
Checksums that were right are made right again, and no length changes, so that a capture's pauses and
halved frames stay. BLE addresses are replaced, also where a payload repeats them.

What is damaged is scrubbed too, as far as it can be told what it was. Other formats are not known here:
a person who mails a capture reads it first, which is what its being text is for.
"""

import re
from collections import deque
from collections.abc import Iterator
from struct import pack_into, unpack_from
from typing import Final

from gateway.capture import Entry, Received, Recorded, Sent
from gateway.driver import Advertisement, Notification

SAYS: Final = {
    "serial": "coordinates in NMEA and UBX cut to 0.1 degree",
    "ble": "addresses replaced",
    "gpio": "nothing to scrub",
}
_TEXT_MAX: Final = 256  # bytes of a line; NMEA allows 82, receivers are longer
_UBX_MAX: Final = 4096
_GRID: Final = 1_000_000  # a tenth of a degree, in UBX's 1e-7 degrees
_START: Final = re.compile(rb"[$\xb5]")
_LINE_END: Final = re.compile(rb"[\r\n$]")
_COORDINATE: Final = re.compile(
    rb"(?<![\d.])(\d{2,3})(\d\d)(?:(\.)(\d*))?(?![\d.])(?=(,[NSEW](?![A-Za-z]))?)"
)
_TORN_HEAD: Final = re.compile(rb"\d*\.\d{2,}(?=,[NSEW](?![A-Za-z]))")
# Message: offsets of longitudes and latitudes in 1e-7 degrees, then of bytes that refine them.
_UBX_PLACES: Final[dict[bytes, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    b"\x01\x07": ((24, 28), ()),  # NAV-PVT
    b"\x01\x02": ((4, 8), ()),  # NAV-POSLLH
    b"\x01\x14": ((8, 12), (24, 25)),  # NAV-HPPOSLLH
}
_UBX_EMPTIED: Final = {
    *(
        b"\x01\x01",
        b"\x01\x06",
        b"\x01\x13",
        b"\x01\x3b",
        b"\x01\x3c",
    ),  # NAV- POSECEF SOL HPPOSECEF SVIN RELPOSNED
    *(b"\x02\x10", b"\x02\x13", b"\x02\x14", b"\x02\x15"),  # RXM- RAW SFRBX MEASX RAWX
    *(
        b"\x06\x1d",
        b"\x06\x3d",
        b"\x06\x69",
        b"\x06\x71",
        b"\x06\x8b",
    ),  # CFG- TMODE TMODE2 GEOFENCE TMODE3 VALGET
    *(b"\x0b\x01", b"\x0d\x04", b"\x13\x40"),  # AID-INI TIM-SVIN MGA-INI
    *(b"\x21\x09", b"\x21\x0b", b"\x21\x11"),  # LOG- RETRIEVE
}


class Scrubber:
    """Entries of a recording in, the same number of entries out, in the same order, a little later.

    A sentence may be spread over several reads, so what cannot be decided yet is held back.
    """

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        self._undecided = bytearray()
        self._decided = bytearray()
        self._addresses: dict[str, str] = {}

    def add(self, at_ns: int, what: Recorded) -> Iterator[Entry]:
        """Take the next entry; all that is decided by now."""
        if isinstance(what, Received):
            self._undecided += what.octets
            self._decide(at_end=False)
        self._waiting.append(Entry(at_ns, what))
        yield from self._ready()

    def end(self) -> Iterator[Entry]:
        """What was held back; the recording is over."""
        self._decide(at_end=True)
        yield from self._ready()

    def _ready(self) -> Iterator[Entry]:
        while self._waiting:
            at_ns, what = self._waiting[0].at_ns, self._waiting[0].what
            if isinstance(what, Received):
                size = len(what.octets)
                if len(self._decided) < size:
                    return
                what = Received(bytes(self._decided[:size]))
                del self._decided[:size]
            self._waiting.popleft()
            yield Entry(at_ns, self._other(what))

    def _other(self, what: Recorded) -> Recorded:
        """What is whole in itself: bytes that were sent, advertisements, notifications, edges."""
        if isinstance(what, Sent):
            return Sent(b"".join(_pieces(bytearray(what.octets), at_end=True)))
        if isinstance(what, Advertisement):
            services = {key: self._payload(what.address, value) for key, value in what.service_data.items()}
            makers = {
                key: self._payload(what.address, value) for key, value in what.manufacturer_data.items()
            }
            return Advertisement(self._address(what.address), what.rssi, services, makers)
        if isinstance(what, Notification):
            payload = self._payload(what.address, what.payload)
            return Notification(self._address(what.address), what.characteristic, payload)
        return what

    def _address(self, address: str) -> str:
        number = len(self._addresses) + 1
        return self._addresses.setdefault(address, f"02:00:00:00:{number >> 8:02X}:{number & 255:02X}")

    def _payload(self, address: str, payload: bytes) -> bytes:
        """Some devices repeat their address in what they send, in either order."""
        old = bytes.fromhex(address.replace(":", ""))
        new = bytes.fromhex(self._address(address).replace(":", ""))
        return payload.replace(old, new).replace(old[::-1], new[::-1])

    def _decide(self, *, at_end: bool) -> None:
        for piece in _pieces(self._undecided, at_end=at_end):
            self._decided += piece


def _pieces(stream: bytearray, *, at_end: bool) -> Iterator[bytes]:
    """Take whole pieces off the beginning of a stream, scrubbed; leave what may still become one."""
    while stream:
        if stream[0] == 0xB5:
            size = _ubx_size(stream, at_end)
            piece = _ubx(stream[:size])
        else:
            size = _text_size(stream, at_end)
            piece = _nmea(bytes(stream[:size]), is_torn=bytes(stream[size : size + 1]) not in {b"\r", b"\n"})
        if size == 0:
            return
        del stream[:size]
        yield piece


def _text_size(stream: bytearray, at_end: bool) -> int:
    """How much of the stream is one line, or bytes before one; 0 if its end has not come."""
    end = _LINE_END.search(stream, 1)
    ubx = stream.find(b"\xb5\x62", 1)
    ends = [at for at in (end.start() if end else -1, ubx) if at > 0]
    if ends:
        return min(ends)
    return len(stream) if at_end or len(stream) >= _TEXT_MAX else 0


def _ubx_size(stream: bytearray, at_end: bool) -> int:
    """How much of the stream is one UBX message, or no part of one; 0 if its end has not come."""
    if len(stream) >= 2 and stream[1] != 0x62:
        return 1
    if len(stream) < 6:
        return len(stream) if at_end else 0
    size = int(unpack_from("<H", stream, 4)[0]) + 8
    known = bytes(stream[2:4]) in _UBX_PLACES or bytes(stream[2:4]) in _UBX_EMPTIED
    if size > _UBX_MAX:
        return 2
    if len(stream) < size:
        return len(stream) if at_end else 0
    return size if known or _ubx_check(stream[2 : size - 2]) == stream[size - 2 : size] else 2


def _ubx(message: bytearray) -> bytes:
    """A UBX message, or the beginning of one, without its place."""
    kind, body = bytes(message[2:4]), message[6:]
    if kind not in _UBX_PLACES and kind not in _UBX_EMPTIED:
        return bytes(message)
    was_right = len(message) >= 8 and _ubx_check(message[2:-2]) == message[-2:]
    end = len(message) - 2 if was_right else len(message)
    if kind in _UBX_EMPTIED:
        message[6:end] = bytes(end - 6)
    else:
        coordinates, refinements = _UBX_PLACES[kind]
        for at in coordinates:
            if at + 4 <= len(body):
                value = int(unpack_from("<i", body, at)[0])
                cut = abs(value) // _GRID * _GRID
                pack_into("<i", message, 6 + at, cut if value >= 0 else -cut)
            else:  # half a coordinate, at the end of what came
                message[6 + at : end] = bytes(max(0, end - 6 - at))
        for at in refinements:
            message[6 + at : 7 + at] = bytes(len(message[6 + at : 7 + at]))
    if was_right:
        message[-2:] = _ubx_check(message[2:-2])
    return bytes(message)


def _ubx_check(body: bytes | bytearray) -> bytes:
    """The 8-bit Fletcher sum over class, id, length and payload."""
    a = b = 0
    for octet in body:
        a = (a + octet) & 0xFF
        b = (b + a) & 0xFF
    return bytes((a, b))


def _nmea(line: bytes, *, is_torn: bool) -> bytes:
    """A line without its coordinates, if it is an NMEA sentence, or a piece of one that is torn off."""
    if not line.startswith(b"$"):
        return _TORN_HEAD.sub(lambda match: re.sub(rb"\d", b"0", match[0]), line)
    body, star, check = line.partition(b"*")
    is_right = bool(re.fullmatch(rb"[0-9A-Fa-f]{2}", check[:2])) and int(check[:2], 16) == _xor(body)
    is_damaged = not is_right and (bool(star) or is_torn)
    cut = _COORDINATE.sub(
        lambda match: _cut(match, is_damaged=is_damaged, is_torn=is_torn and not star), body
    )
    if is_right:
        return cut + star + b"%02X" % _xor(cut) + check[2:]
    return cut + star + check


def _cut(match: "re.Match[bytes]", *, is_damaged: bool, is_torn: bool) -> bytes:
    """Degrees, and of the minutes the multiple of six below; other numbers stay as they are.

    A coordinate is known by its hemisphere; where that may be lost, by its three decimals or more.
    """
    degrees, minutes, point, fraction, hemisphere = match.groups()
    is_last = is_torn and match.end() == len(match.string)
    if not is_last and not (point and (hemisphere or (is_damaged and len(fraction) >= 3))):
        return match[0]
    return degrees + b"%02d" % (int(minutes) // 6 * 6) + (point or b"") + b"0" * len(fraction or b"")


def _xor(body: bytes) -> int:
    check = 0
    for octet in body[1:]:
        check ^= octet
    return check
