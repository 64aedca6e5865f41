"""Notices two boxes that go by one key: a card was cloned, and both copies run.

The hub lets a box have one connection of a role; a newer one ends the older. A box that reconnects leaves a
dead connection behind. Of two boxes each comes back and ends the other's, again and again: then the ended
connections still speak. A late packet of a dead one does too, so once is no proof; a series is.
"""

import logging
from collections import OrderedDict, deque
from typing import Final

from gateway.log import say

SERIES: Final = 8  # ended connections that spoke
WITHIN_S: Final = 300.0
_SAID_FOR_S: Final = 86400.0
_ENDED_MAX: Final = 4096
_log = logging.getLogger("gateway.hub")


class Rivals:
    """What connections were ended by newer ones, and which of them speak on."""

    def __init__(self) -> None:
        self._ended: OrderedDict[bytes, str] = OrderedDict()  # routing id -> box
        self._spoke: dict[str, deque[float]] = {}
        self._said: dict[str, float] = {}

    def ended(self, routing_id: bytes, box: str) -> None:
        """A connection was ended by a newer one of the same box and role."""
        self._ended[routing_id] = box
        if len(self._ended) > _ENDED_MAX:
            self._ended.popitem(last=False)

    def spoke(self, routing_id: bytes, now: float) -> bool:
        """A connection without a session spoke: whether a newer one had ended it. Each counts once."""
        box = self._ended.pop(routing_id, None)
        if box is None:
            return False
        times = self._spoke.setdefault(box, deque(maxlen=SERIES))
        times.append(now)
        if len(times) == SERIES and now - times[0] <= WITHIN_S:
            self._say(box, now)
        return True

    def _say(self, box: str, now: float) -> None:
        if now < self._said.get(box, now):
            return
        self._said[box] = now + _SAID_FOR_S
        say(
            _log,
            logging.WARNING,
            f"two boxes take turns as {box}: was its card cloned? Their records cannot be told apart;"
            f" enrol one of them anew under another name, on a card with an empty spool",
            event="rivals",
            box=box,
        )
