"""What one BTHome v2 sensor sends, each packet once, opened where it is encrypted, and how many were missed.

Source: https://bthome.io/format. A sensor sends every packet several times; its packet id, one byte, tells
repeats from the next.
"""

import re
from typing import Final, NamedTuple

from gateway.driver import Advertisement, BadFrame
from gateway_drivers.bthome_objects import PACKET, objects
from gateway_drivers.bthome_seal import Unsealer

SERVICE: Final = "0000fcd2-0000-1000-8000-00805f9b34fb"
_REFERENCES: Final = ("file:", "env:")  # where a secret is kept; the worker gets what is kept there
_ENCRYPTED, _ADDRESS, _TRIGGERED = 0x01, 0x02, 0x04  # bits of the flags
_BACKWARDS: Final = 128  # an id that went on by more went back: a new battery, which began anew


def checked_address(text: str) -> str:
    """The address in capitals. Raises ValueError if it is none."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text):
        raise ValueError(f'address {text!r} must be written like "A4:C1:38:00:00:01"')
    return text.upper()


def check_bindkey(text: str) -> None:
    """Raises ValueError unless it is a key, none, or says where one is kept."""
    if not (text.startswith(_REFERENCES) or re.fullmatch(r"([0-9A-Fa-f]{32})?", text)):
        raise ValueError("the bindkey must be 32 hex digits")


class Packet(NamedTuple):
    """Names and values of its objects, in order; `lost` packets before it were not heard.

    `is_counted`: its repeats can be told from the next. `triggered`: the sensor says that it sends only when
    something happens, so that its silence is no fault.
    """

    objects: list[tuple[str, float]]
    lost: int
    is_counted: bool
    triggered: bool
    rssi: int


class Packets:
    """The packets of one sensor, in order. It outlives the port: a repeat heard after a replug is a repeat.

    With a bindkey only what is encrypted with it is taken: else anyone near could speak for the sensor.
    """

    def __init__(self, address: str, bindkey: str) -> None:
        self._address = address
        self._unsealer = Unsealer(bytes.fromhex(bindkey), address) if bindkey else None
        self._last: float | None = None

    def take(self, frame: object) -> Packet | None:
        """The packet in a frame; None for a repeat, and for what is no BTHome. Raises BadFrame."""
        payload = frame.service_data.get(SERVICE) if isinstance(frame, Advertisement) else None
        if payload is None or not isinstance(frame, Advertisement):
            return None
        if payload and payload[0] >> 5 == 2:
            opened = self._opened(self._without_address(payload))
            if opened is None:
                return None
            payload = opened
        found = list(objects(payload))  # all of it, before anything is believed
        number = next((value for name, value in found if name == PACKET), None)
        if number is not None and number == self._last:
            return None
        ahead = 1 if number is None or self._last is None else int(number - self._last) % 256
        self._last = number
        rest = [(name, value) for name, value in found if name != PACKET]
        lost = ahead - 1 if ahead <= _BACKWARDS else 0
        is_counted = number is not None or self._unsealer is not None
        return Packet(rest, lost, is_counted, bool(payload[0] & _TRIGGERED), frame.rssi)

    def _without_address(self, payload: bytes) -> bytes:
        """Older senders put their address, backwards, behind the flags."""
        if not payload[0] & _ADDRESS:
            return payload
        if payload[1:7] != bytes.fromhex(self._address.replace(":", ""))[::-1]:
            raise BadFrame("the address inside of it is another sensor's")
        return payload[:1] + payload[7:]

    def _opened(self, payload: bytes) -> bytes | None:
        """A payload in clear, None for a repeat."""
        if self._unsealer is None:
            if payload[0] & _ENCRYPTED:
                raise BadFrame("it is encrypted; set this sensor's bindkey")
            return payload
        if not payload[0] & _ENCRYPTED:
            raise BadFrame(
                "it is not encrypted, and this sensor has a bindkey: somebody else may have sent it"
            )
        return self._unsealer.open(payload)
