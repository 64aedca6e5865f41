"""One direction of a slow link: a queue of stated depth, a rate, a delay, loss. Pure: it is told the time.

A packet waits until those before it are sent, is sent at the rate, and arrives one delay later. What does
not fit into the queue is dropped as it comes. Loss happens on the way: a lost packet took its time to be
sent. While the link is cut nothing enters and nothing arrives, and nobody is told, as with 4G or a NAT that
forgot.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

_SECOND: Final = 10**9


@dataclass(slots=True)
class LinkCounters:
    """What became of one direction's packets; octets are those of IP packets, headers and all."""

    packets: int = 0
    octets: int = 0
    dropped_full: int = 0  # packets
    dropped_loss: int = 0
    dropped_cut: int = 0
    high_water: int = 0  # octets in the queue, at most


class Fifo:
    """Times are CLOCK_MONOTONIC in ns and never go back. Raises ValueError for settings that cannot be."""

    def __init__(
        self,
        rate_bps: float,
        delay_s: float,
        depth: int,
        loss: float = 0.0,
        chance: random.Random | None = None,
    ) -> None:
        self._check(rate_bps, delay_s, depth, loss)
        self.rate_bps = rate_bps
        self.delay_s = delay_s
        self.depth = depth
        self.loss = loss
        self.is_cut = False
        self.queued = 0  # octets that wait or are being sent
        self.counters = LinkCounters()
        self._chance = chance or random.Random(0)
        self._queue: deque[bytes] = deque()
        self._sent_ns = 0  # when the first of the queue will be sent
        self._flying: deque[tuple[int, bytes]] = deque()

    def put(self, now_ns: int, packet: bytes) -> None:
        """A packet comes in."""
        self._advance(now_ns)
        if self.is_cut:
            self.counters.dropped_cut += 1
        elif self.queued + len(packet) > self.depth:
            self.counters.dropped_full += 1
        else:
            self._queue.append(packet)
            self.queued += len(packet)
            self.counters.high_water = max(self.counters.high_water, self.queued)
            if len(self._queue) == 1:
                self._sent_ns = now_ns + self._time_ns(packet)

    def take(self, now_ns: int) -> list[bytes]:
        """The packets that have arrived by now, in order."""
        self._advance(now_ns)
        arrived: list[bytes] = []
        while self._flying and self._flying[0][0] <= now_ns:
            _, packet = self._flying.popleft()
            if self.is_cut:
                self.counters.dropped_cut += 1
                continue
            self.counters.packets += 1
            self.counters.octets += len(packet)
            arrived.append(packet)
        return arrived

    def due_ns(self) -> int | None:
        """When the next packet arrives; None if none is on its way."""
        if self._flying:
            return self._flying[0][0]
        return self._sent_ns + int(self.delay_s * _SECOND) if self._queue else None

    def change(
        self,
        now_ns: int,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        depth: int | None = None,
        loss: float | None = None,
    ) -> None:
        """Other settings from now on. What is being sent goes on at the new rate; nothing overtakes."""
        self._advance(now_ns)
        before = self.rate_bps
        self._check(
            rate_bps or self.rate_bps,
            self.delay_s if delay_s is None else delay_s,
            depth or self.depth,
            self.loss if loss is None else loss,
        )
        self.rate_bps = rate_bps or self.rate_bps
        self.delay_s = self.delay_s if delay_s is None else delay_s
        self.depth = depth or self.depth
        self.loss = self.loss if loss is None else loss
        if self._queue:
            self._sent_ns = now_ns + round((self._sent_ns - now_ns) * before / self.rate_bps)

    def cut(self, now_ns: int, is_cut: bool) -> None:
        """Cut the link, or mend it. What is on its way arrives only if the link is whole by then."""
        if self.is_cut:
            self.take(now_ns)  # what should have arrived meanwhile is lost
        self.is_cut = is_cut

    def _advance(self, now_ns: int) -> None:
        """Send what was to be sent by now, each packet right behind the one before it."""
        while self._queue and self._sent_ns <= now_ns:
            packet = self._queue.popleft()
            self.queued -= len(packet)
            if self.loss and self._chance.random() < self.loss:
                self.counters.dropped_loss += 1
            else:
                arrives_ns = self._sent_ns + int(self.delay_s * _SECOND)
                if self._flying:
                    arrives_ns = max(arrives_ns, self._flying[-1][0])
                self._flying.append((arrives_ns, packet))
            if self._queue:
                self._sent_ns += self._time_ns(self._queue[0])

    def _time_ns(self, packet: bytes) -> int:
        return round(len(packet) * 8 * _SECOND / self.rate_bps)

    @staticmethod
    def _check(rate_bps: float, delay_s: float, depth: int, loss: float) -> None:
        if rate_bps <= 0 or delay_s < 0 or depth < 1 or not 0 <= loss <= 1:
            raise ValueError(
                f"a link needs rate > 0, delay >= 0, depth > 0 and loss in 0..1, "
                f"not {rate_bps}, {delay_s}, {depth}, {loss}"
            )
