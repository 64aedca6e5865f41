"""Nova SDS011 dust sensor, emulated from its V1.3 specification: one 10-byte packet a second."""

from pathlib import Path
from struct import pack
from typing import ClassVar

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

DEVICE_ID = b"\xa1\x60"


class Sds011(SerialEmulator):
    """Dust that changes slowly; set `pm2_5` and `pm10` (ug/m3) at will."""

    shows: ClassVar = {"pm2_5": Shown("pm2_5", 0.0, 999.9), "pm10": Shown("pm10", 0.0, 999.9)}
    restless: ClassVar = ("wander",)

    def __init__(
        self, wire: Wire | Path | None = None, *, every_s: float | None = None, seed: int = 0
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.pm2_5, self.pm10 = 11.3, 20.7
        self.wander = 0.2  # ug/m3 from one packet to the next; 0 holds the values still

    def packet(self) -> bytes:
        """AA C0, both values in 0.1 ug/m3, device id, sum, AB."""
        self.pm2_5 = min(999.9, max(0.0, self.pm2_5 + self.chance.gauss(0, self.wander)))
        self.pm10 = min(999.9, max(self.pm2_5, self.pm10 + self.chance.gauss(0, self.wander)))
        body = pack("<HH", round(self.pm2_5 * 10), round(self.pm10 * 10)) + DEVICE_ID
        return b"\xaa\xc0" + body + bytes((sum(body) & 0xFF, 0xAB))
