"""A relay with an auxiliary contact: follows the level of the box's output line, and shows it on another."""

from typing import Any, ClassVar

from gateway.driver import Edge
from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.guest.gpiosim import SimChip


class RelayCoil(LineEmulator):
    """High on LAMP pulls the armature; AUX is high `delay_s` later. `is_on` is the contact.

    gpio-sim tells nobody that an output changed, so the coil looks every `look_s`.
    """

    lines: ClassVar[tuple[str, ...]] = ("LAMP", "AUX")
    shows: ClassVar = {"on": Shown("is_on", False, True)}

    def __init__(
        self,
        chip: SimChip | None = None,
        *,
        delay_s: float = 0.012,
        look_s: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__(chip, seed=seed)
        self.delay_s = delay_s
        self.look_s = look_s
        self.is_on = False
        self.switched = 0
        self._stalled = False

    @property
    def feedback(self) -> str:
        """The line of the auxiliary contact, for the site file."""
        return self.lines[1]

    @property
    def is_driven(self) -> bool:
        """Whether current flows through the coil: the electrical level of the output; off without a chip."""
        with self._lock:
            return self.chip.is_plugged and self.chip.level("LAMP")

    def settings(self) -> dict[str, Any]:
        """Both lines."""
        return {**super().settings(), "feedback": self.feedback}

    def frames(self) -> tuple[Edge, ...]:
        """What the auxiliary contact says of the output."""
        return (Edge(self.line, self.is_on, found=True),)

    def rest(self) -> None:
        """No current, contact open."""
        self.drive("LAMP", False)  # the resistor that decides where nobody drives
        self.drive("AUX", self.is_on)

    def turn(self) -> float | None:
        """The contact follows the coil, unless it is stuck."""
        if self.is_driven != self.is_on and not self._stalled:
            self.pause(self.delay_s)
            self.by_hand(not self.is_on)
        return self.look_s

    def act(self) -> None:
        """Somebody holds the armature for a moment; the coil pulls it back."""
        self._stalled = True
        self.by_hand(not self.is_on)
        self.pause(0.5)
        self._stalled = False

    def by_hand(self, on: bool) -> None:
        """Move the contact. Stall it first, or the coil moves it back."""
        with self._lock:
            self.is_on = on
            self.switched += 1
            self.drive("AUX", on)

    def bounce(self, count: int = 11, within_ms: float = 4.0) -> None:
        """The auxiliary contact changes `count` times within so long, and ends as it was."""
        for _ in range(count):
            with self._lock:
                self.drive("AUX", not self.is_on)
                self.pause(within_ms / count / 2000)
                self.drive("AUX", self.is_on)
            self.pause(within_ms / count / 2000)

    def stall(self, stalled: bool = True) -> None:
        """The contact sticks where it is: welded, or the coil is broken."""
        self._stalled = stalled
