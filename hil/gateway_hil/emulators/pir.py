"""A PIR motion sensor as the AM312: its output is high while it sees motion, and 2.5 s longer."""

from typing import Any, ClassVar, Final

from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.guest.gpiosim import SimChip

TAIL_S: Final = 2.5


class Pir(LineEmulator):
    """`motion(seconds)`: somebody moves for so long. `tail_s` is how long the module's output stays high."""

    lines: ClassVar[tuple[str, ...]] = ("PIR",)
    shows: ClassVar = {"motion": Shown("sees", False, True)}

    def __init__(self, chip: SimChip | None = None, *, tail_s: float = TAIL_S, seed: int = 0) -> None:
        super().__init__(chip, seed=seed)
        self.tail_s = tail_s
        self.sees = False
        self._stalled = False

    def rest(self) -> None:
        """Nobody there, unless `sees` was set."""
        self.drive("PIR", self.sees)

    def settings(self) -> dict[str, Any]:
        """The line; what it shows is told at once."""
        return {**super().settings(), "hold_ms": 0}

    def act(self) -> None:
        """Motion begins, or ends."""
        self.sees = not self.sees and not self._stalled
        self.drive("PIR", self.sees)

    def motion(self, seconds: float) -> None:
        """One passer-by; returns when the output is low again."""
        if not self._stalled:
            self.sees = True
            self.drive("PIR", True)
        self.pause(seconds + self.tail_s)
        self.sees = False
        self.drive("PIR", False)

    def garbage(self, count: int = 5) -> None:
        """Trigger `count` times for nothing, as sun on the lens or a radio nearby makes it."""
        for _ in range(count):
            self.motion(0)
            self.pause(self.chance.uniform(0.02, 0.2))

    def stall(self, stalled: bool = True) -> None:
        """See nothing any more, until `stall(False)`."""
        self._stalled, self.sees = stalled, False
        self.drive("PIR", False)
