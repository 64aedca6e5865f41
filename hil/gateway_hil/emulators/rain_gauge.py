"""A tipping-bucket rain gauge: a reed between a line and ground closes for a moment as the bucket tips."""

from typing import Any, ClassVar, Final

from gateway.driver import Edge
from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.guest.gpiosim import SimChip

PULSE_S: Final = 0.1


class RainGauge(LineEmulator):
    """Rain: a tip every `every_s` seconds, None for a dry day. `tips` and `edges` count what it did."""

    lines: ClassVar[tuple[str, ...]] = ("RAIN",)
    shows: ClassVar = {"rain": Shown("tip_mm", 0.01, 10.0)}

    def __init__(
        self,
        chip: SimChip | None = None,
        *,
        every_s: float | None = None,
        pulse_s: float = PULSE_S,
        tip_mm: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(chip, seed=seed)
        self.every_s = every_s
        self.pulse_s = pulse_s
        self.tip_mm = tip_mm
        self.tips = self.edges = 0
        self._stalled = False

    def settings(self) -> dict[str, Any]:
        """The line, and what one tip is."""
        return {**super().settings(), "tip_mm": self.tip_mm}

    def act(self) -> None:
        """One tip."""
        self.tip()

    def frames(self) -> tuple[Edge, ...]:
        """One tip: the reed closes, and opens."""
        return (Edge(self.line, False), Edge(self.line, True))

    def rest(self) -> None:
        """The reed is open, the pull-up pulls."""
        self.drive("RAIN", True)

    def turn(self) -> float | None:
        """One tip, where it rains."""
        if self.every_s is None:
            return None
        self.tip()
        return max(0.0, self.every_s - self.pulse_s)

    def tip(self) -> None:
        """The bucket tips once; returns when the reed is open again."""
        if self._stalled:
            return
        self.tips += 1
        for high in (False, True):
            self.edges += 1
            self.drive("RAIN", high)
            if not high:
                self.pause(self.pulse_s)

    def burst(self, tips: int, pause_s: float) -> None:
        """A cloudburst, or a chattering reed: so many tips with so long between edges."""
        pulse_s, self.pulse_s = self.pulse_s, pause_s
        for _ in range(tips):
            self.tip()
            self.pause(pause_s)
        self.pulse_s = pulse_s

    def stall(self, stalled: bool = True) -> None:
        """A leaf in the funnel: it rains, nothing tips."""
        self._stalled = stalled
