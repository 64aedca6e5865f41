"""A BTHome v2 thermometer, emulated from https://bthome.io/format: advertisements, and captures of them."""

import random
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Final

from gateway.capture import CaptureWriter
from gateway.driver import Advertisement

SERVICE: Final = "0000fcd2-0000-1000-8000-00805f9b34fb"
PLAIN_V2: Final = b"\x40"
REPEATS: Final = 3  # on air; a scanner hears one to three of them
_REPEAT_NS: Final = 150_000_000


class BthomeThermometer:
    """Temperature (Cel), humidity (%) and battery (%) in one advertisement, each sent three times."""

    def __init__(self, address: str = "A4:C1:38:00:00:01", *, seed: int = 0) -> None:
        self.address = address
        self.chance = random.Random(seed)
        self.temperature, self.humidity, self.battery = 14.5, 62.0, 87
        self.wander = 0.02
        self._packet = 0

    def advertisement(self) -> Advertisement:
        """The next packet, as an adapter hears it."""
        self.temperature += self.chance.gauss(0, self.wander)
        self.humidity = min(100.0, max(0.0, self.humidity + self.chance.gauss(0, self.wander)))
        self._packet = (self._packet + 1) % 256
        payload = PLAIN_V2 + pack(
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
        return Advertisement(self.address, self.chance.randint(-75, -60), {SERVICE: payload}, {})

    def heard(self, seconds: float, every_s: float = 5.0) -> Iterator[tuple[int, Advertisement]]:
        """What an adapter hears for so long: nanoseconds from the start, and each repeat it caught."""
        for n in range(int(seconds / every_s) + 1):
            advertisement = self.advertisement()
            for repeat in range(self.chance.randint(1, REPEATS)):
                yield int(n * every_s * 1e9) + repeat * _REPEAT_NS, advertisement


def write_capture(path: Path, seconds: float, sensors: list[BthomeThermometer], every_s: float = 5.0) -> None:
    """Write what an adapter hears of all `sensors` together, for `replay:`."""
    heard = [entry for sensor in sensors for entry in sensor.heard(seconds, every_s)]
    with path.open("w", encoding="ascii") as out:
        writer = CaptureWriter(out, {"driver": "bthome", "device": "emulated thermometers"})
        for at_ns, advertisement in sorted(heard, key=lambda entry: entry[0]):
            writer.add(at_ns, advertisement)
