"""When sessions need a look: to be sent a sign of life, or to be let go. A heap, looked at lazily.

A session that speaks all the time has its look put off without the heap being touched: it is found when
its earlier time comes, and goes back in with the later one. So a look costs what has come due, not the fleet.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

_Session = TypeVar("_Session")
_STALE_MAX: Final = 64  # entries of sessions that are gone, beside as many as there are live ones


class Lifetimes(Generic[_Session]):
    """Sessions by number; `due_of` says when one needs a look, which may only become later by itself."""

    def __init__(self, due_of: Callable[[_Session], float]) -> None:
        self._due_of = due_of
        self._sessions: dict[int, _Session] = {}
        self._heap: list[tuple[float, int]] = []

    def add(self, number: int, session: _Session) -> None:
        """Begin to look after a session."""
        self._sessions[number] = session
        heapq.heappush(self._heap, (self._due_of(session), number))
        if len(self._heap) > 2 * len(self._sessions) + _STALE_MAX:
            self._heap = [(self._due_of(live), n) for n, live in self._sessions.items()]
            heapq.heapify(self._heap)

    def remove(self, number: int) -> None:
        """Forget a session."""
        self._sessions.pop(number, None)

    def next_due(self) -> float | None:
        """When the next look is due at the earliest; None without sessions."""
        while self._heap and self._heap[0][1] not in self._sessions:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def ripe(self, now: float) -> Iterator[_Session]:
        """The sessions that are due, each once; whoever takes one puts its next look off, or removes it."""
        looked_at: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            number = heapq.heappop(self._heap)[1]
            session = self._sessions.get(number)
            if session is None:
                continue
            looked_at.append(number)
            if self._due_of(session) <= now:
                yield session
        for number in looked_at:
            if number in self._sessions:
                heapq.heappush(self._heap, (self._due_of(self._sessions[number]), number))
