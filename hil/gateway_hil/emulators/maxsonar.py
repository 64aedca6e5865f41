"""MaxBotix HRXL-MaxSonar-WR (5 m), emulated from its data sheet PD11500: a range 6.7 times a second."""

from pathlib import Path
from typing import Any, ClassVar, Final

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

BANNER: Final = (
    b"HRXL-MaxSonar-WRM\rPN:MB7389\rCopyright 2011-2013\rMaxBotix Inc.\rRoHS 1.8b090  0713\rTempI\r"
)
NEAREST_MM, NOTHING_MM = 300, 5000


class MaxSonar(SerialEmulator):
    """A river under a bridge: set `level` (m above zero); `waves` (m) make it restless.

    `foam` True swallows the echo. `mounted_m` is where it hangs.
    """

    default_every_s: ClassVar[float | None] = 0.15
    shows: ClassVar = {"water_level": Shown("level", -0.999, 3.65)}
    restless: ClassVar = ("waves",)

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        every_s: float | None = None,
        seed: int = 0,
        mounted_m: float = 4.0,
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.mounted_m = mounted_m
        self.level, self.waves, self.foam = 1.234, 0.01, False
        self._has_power = False

    def settings(self) -> dict[str, Any]:
        """Where it was mounted."""
        return {"mounted_m": self.mounted_m}

    def unplug(self) -> None:
        """It has its power from the plug."""
        super().unplug()
        self._has_power = False

    def packet(self) -> bytes:
        """One range; what it is called before the first."""
        banner, self._has_power = (b"" if self._has_power else BANNER), True
        seen = self.mounted_m - self.level + self.chance.gauss(0, self.waves)
        shown = NOTHING_MM if self.foam else min(NOTHING_MM, max(NEAREST_MM, round(seen * 1000)))
        return banner + b"R%04d\r" % shown
