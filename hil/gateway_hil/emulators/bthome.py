"""BTHome v2 sensors, emulated from https://bthome.io/format and /encryption: as captures, and on air."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import pack
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from gateway.capture import CaptureWriter
from gateway.driver import Advertisement, Value, Values
from gateway_hil.emulators.truth import Shown, Truthful

if TYPE_CHECKING:
    from gateway_hil.air import Air

SERVICE: Final = "0000fcd2-0000-1000-8000-00805f9b34fb"
ADDRESS: Final = "A4:C1:38:00:00:01"
PLAIN_V2: Final = 0x40
ENCRYPTED_V2: Final = 0x41
REPEATS: Final = 3  # on air; a scanner hears one to three of them
_REPEAT_NS: Final = 150_000_000
_FLAGS: Final = bytes.fromhex("020106")  # AD structure: general discoverable, LE only
_SERVICE_DATA: Final = 0x16  # AD type, followed by the 16-bit UUID


class BthomeThermometer(Truthful):
    """Temperature (Cel), humidity (%) and battery (%) in one advertisement, each sent three times.

    With a `bindkey` (32 hex digits) the payload is encrypted, and counted from `counter` on.
    """

    shows: ClassVar = {
        "temperature": Shown("temperature", -100.0, 200.0),
        "humidity": Shown("humidity", 0.0, 100.0),
        "battery": Shown("battery", 0, 100),
    }
    restless: ClassVar = ("wander",)

    def __init__(self, address: str = ADDRESS, *, seed: int = 0, bindkey: str = "", counter: int = 0) -> None:
        self.address = address
        self.chance = random.Random(seed)
        self.temperature, self.humidity, self.battery = 14.5, 62.0, 87
        self.wander = 0.02
        self.counter = counter
        self._key = bytes.fromhex(bindkey)
        self._packet = 0

    def payload(self) -> bytes:
        """The service data of the next packet."""
        self.temperature += self.chance.gauss(0, self.wander)
        self.humidity = min(100.0, max(0.0, self.humidity + self.chance.gauss(0, self.wander)))
        self._packet = (self._packet + 1) % 256
        objects = pack(
            "<BBBBBhBH",
            0x00,
            self._packet,
            0x01,
            self.battery,
            0x02,
            round(self.temperature * 100),
            0x03,
            round(self.humidity * 100),
        )
        return self._encrypted(objects) if self._key else bytes([PLAIN_V2]) + objects

    def advertisement(self) -> Advertisement:
        """The next packet, as an adapter hears it."""
        payload = self.payload()
        return Advertisement(self.address, self.chance.randint(-75, -60), {SERVICE: payload}, {})

    def heard(self, seconds: float, every_s: float = 5.0) -> Iterator[tuple[int, Advertisement]]:
        """What an adapter hears for so long: nanoseconds from the start, and each repeat it caught."""
        for n in range(int(seconds / every_s) + 1):
            advertisement = self.advertisement()
            for repeat in range(self.chance.randint(1, REPEATS)):
                yield int(n * every_s * 1e9) + repeat * _REPEAT_NS, advertisement

    def _encrypted(self, objects: bytes) -> bytes:
        """AES-CCM, tag of 4 bytes; nonce: address, UUID and flags as sent, counter."""
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM

        counter = pack("<I", self.counter)
        self.counter += 1
        nonce = bytes.fromhex(self.address.replace(":", "")) + bytes([0xD2, 0xFC, ENCRYPTED_V2]) + counter
        sealed = AESCCM(self._key, tag_length=4).encrypt(nonce, objects, None)
        return bytes([ENCRYPTED_V2]) + sealed[:-4] + counter + sealed[-4:]


class BthomeBeacon(Truthful):
    """A BTHome thermometer on air, every `every_s` seconds. A context manager: on air while entered.

    `air` is where it sends; without it, the air of this guest's Bluetooth adapter. `last` is the service
    data it sent last, for those who want to replay it. Verbs may be called from any thread.
    """

    shows: ClassVar = BthomeThermometer.shows

    def __init__(
        self,
        air: "Air | None" = None,
        *,
        address: str = ADDRESS,
        every_s: float = 1.0,
        bindkey: str = "",
        counter: int = 0,
        seed: int = 0,
    ) -> None:
        self._air = air
        self.address = address
        self.every_s = every_s
        self.sensor = BthomeThermometer(address, seed=seed, bindkey=bindkey, counter=counter)
        self.last = b""
        self.sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loss = 0.0
        self._garbage = 0

    @property
    def air(self) -> "Air":
        """Where it sends."""
        if self._air is None:
            self._air = _guest_air()
        return self._air

    def truth(self) -> Values:
        """The thermometer's."""
        return self.sensor.truth()

    def become(self, values: Mapping[str, Value]) -> None:
        """Set the thermometer's truth."""
        self.sensor.become(values)

    def still(self) -> None:
        """Hold the thermometer still."""
        self.sensor.still()

    def settings(self) -> dict[str, Any]:
        """Its address."""
        return {"address": self.address}

    def frames(self) -> tuple[Advertisement, ...]:
        """One packet."""
        return (self.sensor.advertisement(),)

    @property
    def port(self) -> str:
        """The port that hears it."""
        from gateway_hil.guest.bluetooth import shared

        return shared().port

    def unplug(self) -> None:
        """Off air, as with its battery out."""
        self.air.do(self._stop)

    def replug(self) -> None:
        """On air again, at once."""
        self.air.do(self._start)

    def dropout(self, probability: float) -> None:
        """Lose each advertisement with this probability, until `dropout(0)`."""
        self._loss = probability

    def garbage(self, count: int = 1) -> None:
        """Send so many packets cut short in the middle of an object."""
        self._garbage += count

    def say(self, payload: bytes) -> None:
        """Send this service data once, now: a replay, say."""
        self.air.do(lambda: self._send(payload))

    def __enter__(self) -> Self:
        self.replug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def _start(self) -> None:
        self._stop()
        self._round()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self) -> None:
        self.last = self.sensor.payload()
        if self._garbage:
            self._garbage -= 1
            self.last = self.last[:-1]
        for repeat in range(REPEATS):
            if self.sensor.chance.random() >= self._loss:
                self.air.loop.call_later(repeat * self.every_s / 20, self._send_if_on, self.last)
        self.sent += 1
        self._timer = self.air.loop.call_later(self.every_s, self._round)

    def _send_if_on(self, payload: bytes) -> None:
        if self._timer is not None:
            self._send(payload)

    def _send(self, payload: bytes) -> None:
        structure = bytes([_SERVICE_DATA]) + bytes([0xD2, 0xFC]) + payload
        self.air.advertise(self.address, _FLAGS + bytes([len(structure)]) + structure)


def _guest_air() -> "Air":
    from gateway_hil.guest.bluetooth import shared

    return shared().air


def write_capture(path: Path, seconds: float, sensors: list[BthomeThermometer], every_s: float = 5.0) -> None:
    """Write what an adapter hears of all `sensors` together, for `replay:`."""
    heard = [entry for sensor in sensors for entry in sensor.heard(seconds, every_s)]
    with path.open("w", encoding="ascii") as out:
        writer = CaptureWriter(out, {"driver": "bthome", "device": "emulated thermometers"})
        for at_ns, advertisement in sorted(heard, key=lambda entry: entry[0]):
            writer.add(at_ns, advertisement)
