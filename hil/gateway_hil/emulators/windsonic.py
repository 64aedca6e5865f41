"""Gill WindSonic, emulated from its user manual (1405-PS-0019): polar, continuous, one line a second."""

from pathlib import Path
from typing import ClassVar, Final

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

BANNER: Final = (
    b"WINDSONIC (Gill Instruments Ltd)\r\n2368-110-01\r\nRS485/RS422 (CFG)\r\n"
    b"CHECKSUM ROM:E15C E15C *PASS*\r\nCHECKSUM FAC:0A42 0A42 *PASS*\r\n"
    b"CHECKSUM ENG:12BE 12BE *PASS*\r\nCHECKSUM CAL:C980 C980 *PASS*\r\n"
)
_PER_M_S: Final = {"M": 1.0, "N": 1.943844, "P": 2.236936, "K": 3.6, "F": 196.8504}
_CALM_M_S: Final = 0.05  # below it the direction is left out


class WindSonic(SerialEmulator):
    """Set `speed` (m/s) and `degrees`; `gusts` (m/s) is how much they wander.

    `status` 1, 2 or 4: something is in the way. `unit` is what it is configured to report in. It prints its
    banner whenever it gets power.
    """

    shows: ClassVar = {"wind": Shown("speed", 0.05, 60.0), "wind_from": Shown("degrees", 0, 359)}
    restless: ClassVar = ("gusts",)

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        every_s: float | None = None,
        seed: int = 0,
        node: str = "Q",
        unit: str = "M",
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.node, self.unit, self.status = node, unit, 0
        self.speed, self.degrees, self.gusts = 4.2, 229, 0.3
        self._has_power = False

    def unplug(self) -> None:
        """It has its power from the plug."""
        super().unplug()
        self._has_power = False

    def packet(self) -> bytes:
        """One message; the banner before the first."""
        self.speed = min(60.0, max(0.0, self.speed + self.chance.gauss(0, self.gusts)))
        self.degrees = round(self.degrees + self.chance.gauss(0, 10 * self.gusts)) % 360
        banner, self._has_power = (b"" if self._has_power else BANNER), True
        return banner + self.message()

    def message(self) -> bytes:
        """STX, node, direction, speed, unit, status, ETX, checksum; without wind while it cannot measure."""
        blind = self.status in (1, 2, 4)
        degrees = "" if blind or self.speed < _CALM_M_S else f"{self.degrees:03d}"
        speed = "" if blind else f"{self.speed * _PER_M_S[self.unit]:06.2f}"
        body = f"{self.node},{degrees},{speed},{self.unit},{self.status:02d},".encode("ascii")
        check = 0
        for octet in body:
            check ^= octet
        return b"\x02%s\x03%02X\r\n" % (body, check)
