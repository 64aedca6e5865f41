"""When an adapter that hears nothing is to be helped: a ladder of measures, no clock and no I/O of its own.

Adapters and their firmware do stop hearing while all seems well. Where there is traffic, silence is the
only sign. After `QUIET_S` without anything the scan is begun anew, after `STEP_S` more the adapter is
switched off and on, after `STEP_S` more the port is given up, which is told as PortGone. Whatever is heard
ends the climb. Where nothing was ever heard, silence says nothing, and nothing is done.
"""

from enum import Enum
from typing import Final

QUIET_S: Final = 90.0
STEP_S: Final = 30.0


class Rung(Enum):
    """What to do about the silence, in this order."""

    RESTART_SCAN = "restart scan"
    POWER_CYCLE = "power cycle"
    GIVE_UP = "give up"


_LADDER: Final = tuple(Rung)


class Watchdog:
    """Told the time in seconds, on any clock that does not go back."""

    def __init__(self) -> None:
        self._heard_s: float | None = None
        self._rung = 0

    def heard(self, now_s: float) -> None:
        """Something came: an advertisement of anyone, or a notification."""
        self._heard_s = now_s
        self._rung = 0

    @property
    def due_s(self) -> float | None:
        """When to ask again; None as long as nothing was heard."""
        if self._heard_s is None:
            return None
        return self._heard_s + QUIET_S + self._rung * STEP_S

    def climb(self, now_s: float) -> Rung | None:
        """The measure to take now, if one is due. The last is given once, then it begins from nothing."""
        if self.due_s is None or now_s < self.due_s:
            return None
        measure = _LADDER[self._rung]
        self._rung += 1
        if measure is Rung.GIVE_UP:
            self._heard_s, self._rung = None, 0
        return measure
