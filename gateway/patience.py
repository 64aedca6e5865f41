"""How long an alert may be under way before its connection counts as dead."""

from typing import Final

ALERT_WITHIN_S: Final = (4.0, 30.0)  # at first, and when a new connection did not help again and again
ALERT_UNACKED: Final = "alert_unacked"  # why it was given up, as counters name it


class Patience:
    """What is left of it outlives the connection.

    The time doubles each time, or a hub that is merely slow would be given up for ever. An ack resets it.
    """

    def __init__(self) -> None:
        self.within_s = ALERT_WITHIN_S[0]

    def was_lost(self) -> None:
        """A connection was given up for it."""
        self.within_s = min(2 * self.within_s, ALERT_WITHIN_S[1])

    def was_acked(self) -> None:
        """An alert is at the hub."""
        self.within_s = ALERT_WITHIN_S[0]
