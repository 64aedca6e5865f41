"""u-blox GNSS receivers over UBX: how well the clock and the pulse are known, beside the position.

Source: u-blox, "u-blox 8 / u-blox M8 Receiver description", UBX-13003221 R25 (August 2021): UBX frame and
checksum, UBX-ACK, UBX-CFG-MSG, UBX-NAV-PVT, UBX-TIM-TP; for receivers that do not know CFG-MSG any more,
UBX-CFG-VALSET and the CFG-MSGOUT keys of series 9 and later. NMEA on the same line is passed over.

A receiver keeps in mind what it is told for as long as it has power; one that fell silent is told again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from struct import pack, unpack_from
from typing import Final, Literal

from gateway.driver import BadFrame, Counted, Measure, SerialDriver, Settings, Talk, Value, Values

_HEAD: Final = b"\xb5\x62"
_NAV_PVT, _TIM_TP, _ACK, _NAK = b"\x01\x07", b"\x0d\x01", b"\x05\x01", b"\x05\x00"
_CFG_MSG, _CFG_VALSET = b"\x06\x01", b"\x06\x8a"
_KEYS: Final = {_NAV_PVT: 0x20910006, _TIM_TP: 0x2091017D}  # output rate on I2C; then UART1, UART2, USB, SPI
_PATIENCE: Final = 40  # frames that may come before the word on a command
_UNKNOWN: Final = 0xFFFFFFFF


def ubx(kind: bytes, payload: bytes) -> bytes:
    """A frame: head, class and id, length, payload, checksum."""
    body = kind + pack("<H", len(payload)) + payload
    return _HEAD + body + checksum(body)


def checksum(body: bytes) -> bytes:
    """Fletcher's, over all between head and checksum."""
    first = second = 0
    for octet in body:
        first = (first + octet) & 0xFF
        second = (second + first) & 0xFF
    return bytes((first, second))


@dataclass(frozen=True)
class UbloxSettings(Settings):
    """`baud`: the receiver's speed: 9600 on series 8 and M10, 38400 on F9."""

    baud: Literal[9600, 19200, 38400, 57600, 115200, 230400, 460800] = 9600


class Ublox(SerialDriver):
    """One reading an epoch: position, time, and how wrong both may be.

    `pulse_error` is how far off its second a pulse must be, as it can only be at a step of the receiver's
    clock. `utc_resolved`: the leap seconds are known, so that UTC is right to the second.
    """

    line = "9600 8n1"
    framing = Counted(
        _HEAD,
        length_at=4,
        overhead=8,
        length_bytes=2,
        order="little",
        limit=1024,
        check=lambda f: checksum(f[2:-2]) == f[-2:],
    )
    every_s = 15.0
    answer_s = 3.0  # behind an epoch of sentences, at 9600 baud
    emits = (
        Measure("fix", "1"),  # 0 none, 1 dead reckoning, 2 without height, 3 with, 4 both, 5 time only
        Measure("satellites", "1"),
        Measure("utc", "s"),
        Measure("utc_resolved", "bool"),
        Measure("time_accuracy", "s", 1e-9),
        Measure("pulse_error", "s", 1e-12),
        Measure("lat", "deg"),
        Measure("lon", "deg"),
        Measure("altitude", "m", 0.1),
        Measure("accuracy_h", "m"),
        Measure("accuracy_v", "m"),
    )
    settings: UbloxSettings

    def line_for(self) -> str:
        """The settings know the receiver's speed."""
        return f"{self.settings.baud} 8n1"

    def reset(self) -> None:
        """Nothing heard."""
        self._heard = True
        self._pulse_error: float | None = None

    def greet(self) -> Talk[None]:
        """Have it send both messages once an epoch; until it has power no more."""
        for message, key in _KEYS.items():
            if not (yield from self._do(_CFG_MSG, message + b"\1")):
                pairs = b"".join(pack("<IB", key + port, 1) for port in range(5))
                if not (yield from self._do(_CFG_VALSET, b"\0\1\0\0" + pairs)):  # in RAM
                    raise BadFrame(f"the receiver refuses to send message {message.hex(' ')}")

    def poll(self) -> Talk[None] | None:
        """Greet it again if it said nothing since the last time: it had no power meanwhile."""
        heard, self._heard = self._heard, False
        return None if heard else self.greet()

    def _do(self, kind: bytes, payload: bytes) -> Talk[bool]:
        """Give it a command; whether it has done it."""
        said = ubx(kind, payload)
        for _ in range(_PATIENCE):
            frame = yield said
            said = b""
            if frame[2:4] in (_ACK, _NAK) and frame[6:8] == kind:
                return frame[2:4] == _ACK
        raise BadFrame(f"the receiver sends, but says nothing on command {kind.hex(' ')}")

    def decode(self, frame: bytes) -> Values | None:
        """The epoch of a NAV-PVT; a TIM-TP waits for it."""
        kind, payload = frame[2:4], frame[6:-2]
        if kind == _TIM_TP and len(payload) == 16:
            steps, flags = unpack_from("<i2xB", payload, 8)
            self._pulse_error = None if flags & 0x10 else steps * 1e-12
        if kind != _NAV_PVT:
            return None
        if len(payload) != 92:
            raise BadFrame(
                f"a NAV-PVT of {len(payload)} bytes; the receiver's firmware is older than series 8"
            )
        self._heard = True
        found = self._pvt(payload)
        self._pulse_error = None
        return {name: value for name, value in found.items() if value is not None}

    def _pvt(self, payload: bytes) -> dict[str, Value]:
        """The values of a NAV-PVT. Raises BadFrame for a date or a place that cannot be."""
        year, month, day, hour, minute, second = unpack_from("<H5B", payload, 4)
        valid, accuracy, nano, fix, flags = unpack_from("<BIiBB", payload, 11)
        lon, lat, _, height, across, up = unpack_from("<iiiiII", payload, 24)
        values: dict[str, Value] = {
            "fix": fix,
            "satellites": payload[23],
            "utc_resolved": valid & 7 == 7,
            "time_accuracy": None if accuracy == _UNKNOWN else accuracy * 1e-9,
            "pulse_error": self._pulse_error,
        }
        if valid & 7 == 7 and second < 60:  # a leap second has no Unix time of its own
            try:
                moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
                values["utc"] = moment + nano * 1e-9
            except ValueError as error:
                raise BadFrame(f"a NAV-PVT of a time that never was: {error}") from error
        if flags & 1 and fix in (2, 3, 4) and not payload[78] & 1:
            if abs(lat) > 900_000_000 or abs(lon) > 1_800_000_000:
                raise BadFrame(f"{lat * 1e-7}, {lon * 1e-7} is not on Earth")
            values |= {"lat": lat * 1e-7, "lon": lon * 1e-7, "accuracy_h": across / 1000}
            if fix != 2:
                values |= {"altitude": height / 1000, "accuracy_v": up / 1000}
        return values
