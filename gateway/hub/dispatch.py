"""Which orders go to which box now: all that are open, once on each urgent session, until it answers."""

import logging
import sqlite3
from typing import Final

from gateway.hub.orders import Orders
from gateway.hub.sessions import Reply, Sessions
from gateway.log import Condition
from gateway.wire import NEWER, Command

_PROTOCOL: Final = NEWER["C"]
_log = logging.getLogger("gateway.hub")


class Dispatch:
    """For the fleet socket's thread. What it finds on a disk that refuses is nothing, said once."""

    def __init__(self, orders: Orders, sessions: Sessions) -> None:
        self._orders = orders
        self._sessions = sessions
        self._open: set[str] = set()  # boxes with open orders, as of the last look
        self._sent: dict[str, tuple[int, set[bytes]]] = {}  # box -> its session's number, what went over it
        self._disk = Condition(_log, "commands")

    def look(self) -> list[Reply]:
        """Look for orders that people gave since the last look; those for boxes that are here."""
        try:
            self._open = self._orders.open_boxes()
        except sqlite3.Error as error:
            self._disk.breaks(f"cannot be read ({error}); boxes get none")
            return []
        self._sent = {box: sent for box, sent in self._sent.items() if box in self._open}
        return [reply for box in sorted(self._open) for reply in self.due(box)]

    def due(self, box: str | None) -> list[Reply]:
        """What a box that may just have come gets now."""
        session = self._sessions.urgent(box) if box in self._open and box is not None else None
        if session is None or session.protocol < _PROTOCOL:
            return []
        number, ids = self._sent.get(session.box, (0, set[bytes]()))
        if number != session.number:
            ids = set()
        try:
            fresh = [order for order in self._orders.open(session.box) if order.id not in ids]
            for order in fresh:
                self._orders.sent(order.id)
            self._disk.heals()
        except sqlite3.Error as error:
            self._disk.breaks(f"cannot be used ({error}); {session.box} gets none now")
            return []
        self._sent[session.box] = (session.number, ids | {order.id for order in fresh})
        routing_id = session.peer.routing_id
        return [(routing_id, Command(session.number, order.signature, order.content)) for order in fresh]
