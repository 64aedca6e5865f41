"""A door contact: a reed between a line and ground, with a pull-up; the closed door holds it shut."""

from typing import ClassVar

from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.guest.gpiosim import SimChip


class DoorContact(LineEmulator):
    """`open` and `close` the door. The line is high while the door is open."""

    lines: ClassVar[tuple[str, ...]] = ("DOOR",)
    shows: ClassVar = {"open": Shown("is_open", False, True)}

    def __init__(self, chip: SimChip | None = None, *, seed: int = 0) -> None:
        super().__init__(chip, seed=seed)
        self.is_open = False
        self._stalled = False

    def rest(self) -> None:
        """The line shows the door as it is."""
        self.drive("DOOR", self.is_open)

    def act(self) -> None:
        """Somebody goes through the door, or leaves it open."""
        self._move(not self.is_open)

    def open(self) -> None:
        """Open the door."""
        self._move(True)

    def close(self) -> None:
        """Close it."""
        self._move(False)

    def bounce(self, count: int = 11, within_ms: float = 40.0) -> None:
        """Move the door with a contact that changes `count` times within so long before it comes to rest.

        An even count would leave the door where it was: a rattle.
        """
        with self._lock:
            times = sorted(self.chance.uniform(0, within_ms / 1000) for _ in range(count - 1))
            before = 0.0
            for n, at in enumerate([0.0, *times]):
                self.pause(at - before)
                before = at
                self.drive("DOOR", self.is_open != (n % 2 == 0))
            self.is_open ^= count % 2 == 1

    def stall(self, stalled: bool = True) -> None:
        """The contact sticks: the door moves, the line does not, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled
            self._move(self.is_open)

    def _move(self, is_open: bool) -> None:
        with self._lock:
            self.is_open = is_open
            if not self._stalled:
                self.drive("DOOR", is_open)
