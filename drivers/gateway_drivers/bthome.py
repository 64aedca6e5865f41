"""Any BTHome v2 sensor: the values are in the advertisement itself, so one driver reads them all."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Final

from gateway.driver import Advertisement, BadFrame, BleDriver, Measure, Secret, Settings, Value, Values
from gateway_drivers.bthome_objects import MEASURES, PACKET, measure_called, objects
from gateway_drivers.bthome_seal import Unsealer

_REFERENCES: Final = ("file:", "env:")  # where a secret is kept; the worker gets what is kept there


@dataclass(frozen=True)
class BthomeSettings(Settings):
    """The sensor's address, and what of all that BTHome knows it sends; empty: everything.

    Naming the measures keeps records small: `measures = ["temperature", "humidity", "battery"]`.
    A sensor with two thermometers sends `temperature` and `temperature_2`; these must be named.
    A sensor that encrypts needs its `bindkey`, 32 hex digits, kept in a file: `bindkey = "file:/path"`.
    """

    address: str
    measures: tuple[str, ...] = ()
    bindkey: Annotated[str, Secret()] = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", self.address):
            raise ValueError(f'address {self.address!r} must be written like "A4:C1:38:00:00:01"')
        object.__setattr__(self, "address", self.address.upper())
        for name in self.measures:
            measure_called(name)
        if not (self.bindkey.startswith(_REFERENCES) or re.fullmatch(r"([0-9A-Fa-f]{32})?", self.bindkey)):
            raise ValueError("the bindkey must be 32 hex digits")


class Bthome(BleDriver):
    """Every number and state of BTHome v2, and how strongly it was heard.

    With a bindkey only what is encrypted with it is taken: else anyone near could speak for the sensor.
    """

    service = "0000fcd2-0000-1000-8000-00805f9b34fb"
    emits = tuple(MEASURES.values())
    settings: BthomeSettings
    _unsealer: Unsealer | None = None

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """What the settings name, else everything."""
        named = settings.measures if isinstance(settings, BthomeSettings) else ()
        return tuple(measure_called(name) for name in named) or cls.emits

    def reset(self) -> None:
        """Forget the last packet id, not the counter of encrypted ones: an unplug must allow no replay."""
        if self.settings.bindkey and self._unsealer is None:
            self._unsealer = Unsealer(bytes.fromhex(self.settings.bindkey), self.settings.address)
        self._packet: Value = None
        self._declared = {measure.name for measure in self.measures(self.settings)}

    def decode(self, frame: object) -> Values | None:
        """The values of one advertisement; None for the repeats a sensor sends of each."""
        if not isinstance(frame, Advertisement):
            return None
        payload = frame.service_data.get(self.service)
        if payload is None:
            return None
        if payload and payload[0] >> 5 == 2 and (self._unsealer is not None or payload[0] & 1):
            payload = self._opened(payload)
            if payload is None:
                return None
        values: dict[str, Value] = {"rssi": frame.rssi}
        seen: Counter[str] = Counter()
        for name, value in list(objects(payload)):
            seen[name] += 1
            values[name if seen[name] == 1 else f"{name}_{seen[name]}"] = value
        packet = values.pop(PACKET, None)
        if packet is not None and packet == self._packet:
            return None
        self._packet = packet
        if not values.keys() - {"rssi"}:
            raise BadFrame("a BTHome advertisement without a single object that is known here")
        return {name: value for name, value in values.items() if name in self._declared} or None

    def _opened(self, payload: bytes) -> bytes | None:
        """A payload in clear, None for a repeat."""
        if self._unsealer is None:
            raise BadFrame("it is encrypted; set this sensor's bindkey")
        if not payload[0] & 1:
            raise BadFrame(
                "it is not encrypted, and this sensor has a bindkey: somebody else may have sent it"
            )
        return self._unsealer.open(payload)
