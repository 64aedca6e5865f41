"""How fast one sensor may talk: readings beyond it are left out and counted, so that no other goes short.

Generous: 1500 at once, then 200 a second for ever, which the telemetry lane holds for a day without its hub.
Whoever wants less of a fast sensor thins its readings with a stage. A replay may go as fast as it is told to.
"""

from typing import Final

RATE: Final = 200  # readings a second and sensor, for ever
BURST: Final = 1500  # and at once
_COST_NS: Final = 10**9 // RATE


class Flood:
    """A token bucket for each sensor, by its number. Knows no clock: times are those of the readings."""

    def __init__(self) -> None:
        self._paid_ns: dict[int, int] = {}  # when what a sensor said will have been paid for

    def allows(self, sensor: int, t_ns: int) -> bool:
        """Whether one more reading of this sensor may pass; then it is counted."""
        paid_ns = max(self._paid_ns.get(sensor, 0), t_ns - BURST * _COST_NS) + _COST_NS
        if paid_ns > t_ns:
            return False
        self._paid_ns[sensor] = paid_ns
        return True
