"""Things on GPIO lines: the base of their emulators. A line is driven as the wire outside would drive it."""

import random
import secrets
import threading
from types import TracebackType
from typing import Any, ClassVar, Self

from gateway.driver import Edge
from gateway_hil.emulators.truth import Truthful
from gateway_hil.guest.gpiosim import SimChip


class LineEmulator(Truthful):
    """Base of all emulators on GPIO lines. `lines` are the names of the lines it needs on a chip.

    It has a chip of its own, or shares `chip` with others; which then must have lines of these names.
    `unplug` and `replug` take the whole chip, as a loose expander board would go. `seed` makes every draw of
    chance repeatable. Use it as a context manager; all verbs may be called from any thread.
    """

    lines: ClassVar[tuple[str, ...]] = ()

    def __init__(self, chip: SimChip | None = None, *, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self._owns = chip is None
        self.chip = chip or SimChip(f"{type(self).__name__.lower()}-{secrets.token_hex(3)}", self.lines)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> str:
        """The port for the site file."""
        return self.chip.port

    @property
    def line(self) -> str:
        """The name of its first line, for the site file."""
        return self.lines[0]

    def settings(self) -> dict[str, Any]:
        """The line; with the bias that gpio-sim needs (see gateway_hil.guest.gpiosim)."""
        return {"line": self.line, "bias": "as-is"}

    def frames(self) -> tuple[Edge, ...]:
        """The level that its line is found at; something that pulses has more to show."""
        self.rest()
        return (Edge(self.line, self.chip.driven(self.line), found=True),)

    def rest(self) -> None:
        """Drive every line to the level it has when nothing happens; called before the chip is there."""

    def turn(self) -> float | None:
        """What it does by itself; seconds until the next turn, None for something that only does as told."""
        return None

    def unplug(self) -> None:
        """Take the chip away."""
        with self._lock:
            self.chip.unplug()

    def replug(self) -> None:
        """Bring the chip back, with its lines as they are driven now."""
        with self._lock:
            self.chip.replug()

    def drive(self, line: str, high: bool) -> None:
        """The wire to this line goes to this electrical level."""
        with self._lock:
            self.chip.drive(line, high)

    def pause(self, seconds: float) -> None:
        """Let time go by, but no longer than the emulator is there."""
        self._stop.wait(seconds)

    def __enter__(self) -> Self:
        self.rest()
        if self._owns:
            self.chip.__enter__()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._owns:
            self.chip.__exit__(kind, error, trace)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self.turn()
            if pause_s is None:
                return
            self._stop.wait(pause_s)
