"""A mains monitor: a contact, or an optocoupler, that pulls a line low while there is mains."""

from typing import ClassVar

from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.guest.gpiosim import SimChip


class MainsFail(LineEmulator):
    """`fail` and `restore` the mains; `dip(seconds)` is a short one. `is_there` is the truth.

    With `half_waves_s` it is an optocoupler that conducts only in every other half wave of so long.
    """

    lines: ClassVar[tuple[str, ...]] = ("MAINS",)
    shows: ClassVar = {"mains": Shown("is_there", False, True)}

    def __init__(
        self, chip: SimChip | None = None, *, seed: int = 0, half_waves_s: float | None = None
    ) -> None:
        super().__init__(chip, seed=seed)
        self.is_there = True
        self.half_waves_s = half_waves_s
        self._conducts = True
        self._stalled = False

    def rest(self) -> None:
        """The line shows the mains as it is."""
        self.drive("MAINS", not self.is_there)

    def turn(self) -> float | None:
        """The next half wave, for an optocoupler."""
        if self.half_waves_s is None:
            return None
        with self._lock:
            self._conducts = not self._conducts
            self._show()
        return self.half_waves_s

    def act(self) -> None:
        """The mains goes, or comes back."""
        self._become(not self.is_there)

    def fail(self) -> None:
        """No mains any more."""
        self._become(False)

    def restore(self) -> None:
        """The mains is back."""
        self._become(True)

    def dip(self, seconds: float) -> None:
        """A short failure; returns when it is over."""
        self.fail()
        self.pause(seconds)
        self.restore()

    def bounce(self, count: int = 6) -> None:
        """The contact chatters as a contactor nearby drops out; it comes to rest as it was."""
        for n in range(count):
            self.drive("MAINS", self.is_there != (n % 2 == 1))
            self.pause(self.chance.uniform(0, 0.004))
        self.rest()

    def stall(self, stalled: bool = True) -> None:
        """The contact sticks: the line stays as it is, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled
            self._show()

    def _become(self, is_there: bool) -> None:
        with self._lock:
            self.is_there = is_there
            self._show()

    def _show(self) -> None:
        if not self._stalled:
            self.drive("MAINS", not (self.is_there and (self._conducts or self.half_waves_s is None)))
