"""Core's own records, which are anchors and results, numbered as a worker numbers its records."""

import secrets
from collections import deque
from collections.abc import Iterable
from typing import Final

from gateway.reading import Lane
from gateway.records import Item
from gateway.spool import Kept, Spool

_OWED_MAX: Final = 128


class OwnRecords:
    """Puts them into the state lane of a spool. For core's event loop."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._incarnation = secrets.randbits(63)
        self._next_n = 1
        self._owed: deque[tuple[bytes, Item]] = deque(maxlen=_OWED_MAX)  # results the spool did not take yet
        self._orders: dict[int, bytes] = {}  # n of a result -> id of its order, until it is kept

    def put(self, item: Item) -> bool:
        """Have the spool take a record; False if too much waits for the disk already."""
        if not self._spool.put(Lane.STATE, self._incarnation, self._next_n, [item]):
            return False
        self._next_n += 1
        return True

    def put_result(self, order_id: bytes, item: Item) -> None:
        """The result of an order: now, or when `pay` is called and the spool takes it."""
        self._owed.append((order_id, item))
        self.pay()

    def pay(self) -> None:
        """Try again what the spool did not take."""
        while self._owed:
            order_id, item = self._owed[0]
            if not self.put(item):
                return
            self._orders[self._next_n - 1] = order_id
            self._owed.popleft()

    def kept(self, kept: Kept) -> Iterable[bytes]:
        """The orders whose results this commit put on the disk."""
        if kept.lane != Lane.STATE:
            return []
        upto = kept.marks.get(self._incarnation, 0)
        return [self._orders.pop(n) for n in list(self._orders) if n <= upto]
