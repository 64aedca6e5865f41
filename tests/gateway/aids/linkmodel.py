"""A link in virtual time for the window: a FIFO of some rate, a long way, a hub that commits in groups."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.window import Sent, Window

COMMIT_S = 0.02


@dataclass
class Link:
    """What lies between box and hub. `rate` is in bytes a second, `loss` is of packets of 1400 bytes."""

    rate: float = 125_000.0
    delay_s: float = 0.06
    loss: float = 0.0
    jitter_s: float = 0.004  # of the hub's commits
    late_s: tuple[float, float] = (0.0, 0.0)  # that a busy box reads each ack, at the least and at the most
    disk_s: float = 0.003
    size: int | None = None  # of all messages; None: as the window proposes, more or less
    seed: int = 0
    credit: int = 256 * 1024
    busy_until: float = field(default=0.0, init=False)


class Drain:
    """A box with a backlog without end, its window, the link, the hub. `at` plans what changes on the way."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.window = Window(link.credit)
        self.now = 0.0
        self.looks: list[tuple[float, float, float]] = []  # when, seconds of queue, bytes carried till then
        self.sizes: list[tuple[int, int, int]] = []  # limit, bytes under way, largest message at each ack
        self._random = random.Random(link.seed)
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._given = 0.0  # bytes handed to the link
        self._arrived = 0.0
        self._read_at = 0.0
        self._wake_at = -1.0
        self._under_way: list[Sent] = []
        self._at_hub: list[tuple[Sent, float]] = []

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._plans, (when, self._count, what))

    def run(self, seconds: float) -> "Drain":
        self.at(0.0, self._fill)
        self.at(0.0, lambda: self._look(seconds))
        while self._plans and self._plans[0][0] <= seconds:
            self.now, _, what = heapq.heappop(self._plans)
            what()
        return self

    def share(self, start: float, end: float) -> float:
        """Of the link's capacity that was used between two moments."""
        looks = [look for look in self.looks if start <= look[0] <= end]
        return (looks[-1][2] - looks[0][2]) / (self.link.rate * (looks[-1][0] - looks[0][0]))

    def queue_ms(self, start: float, end: float, quantile: float) -> float:
        """How long something small would have waited, had it come then."""
        waits = sorted(wait for when, wait, _ in self.looks if start <= when <= end)
        return waits[int(len(waits) * quantile)] * 1e3

    def _look(self, end: float) -> None:
        queue_s = max(0.0, self.link.busy_until - self.now)
        self.looks.append((self.now, queue_s, self._given - queue_s * self.link.rate))
        if self.now < end:
            self.at(self.now + self._random.uniform(0.02, 0.06), lambda: self._look(end))

    def _fill(self) -> None:
        now_ns = round(self.now * 1e9)
        while self.window.has_room(now_ns):
            proposed = int(self.window.piece * self._random.uniform(0.8, 1.5))
            size = self.link.size or min(max(700, proposed), 16000)
            if not self.window.fits(size):
                return
            sent = self.window.sent(size, now_ns)
            self._under_way.append(sent)
            self._send(sent)
        if self.window.next_ns > now_ns and self._wake_at <= self.now:
            self._wake_at = self.window.next_ns / 1e9 + 0.001  # as a poll's whole milliseconds do
            self.at(self._wake_at, self._fill)

    def _send(self, sent: Sent) -> None:
        link = self.link
        link.busy_until = max(link.busy_until, self.now) + sent.size / link.rate
        self._given += sent.size
        arrival = link.busy_until + link.delay_s
        if self._random.random() < link.loss * max(1.0, sent.size / 1400):
            arrival += 2 * link.delay_s + self._random.uniform(0.0, 0.05)  # TCP sends it again
        self._arrived = max(arrival, self._arrived)  # and holds back what follows
        self.at(self._arrived, lambda: self._arrive(sent))

    def _arrive(self, sent: Sent) -> None:
        if not self._at_hub:
            late_s = COMMIT_S + self._random.uniform(0.0, self.link.jitter_s) + self.link.disk_s
            self.at(self.now + late_s, self._commit)
        self._at_hub.append((sent, self.now))

    def _commit(self) -> None:
        committed, self._at_hub = self._at_hub, []
        acked_at = self.now
        late_s = self._random.uniform(*self.link.late_s)
        self._read_at = max(self._read_at, self.now + self.link.delay_s + late_s)  # in their order
        self.at(self._read_at, lambda: self._acked(committed, acked_at))

    def _acked(self, committed: list[tuple[Sent, float]], acked_at: float) -> None:
        for sent, _ in committed:
            self._under_way.remove(sent)
            self.window.left(sent)
        newest, came_at = committed[-1]
        self.window.acked(newest, round((acked_at - came_at) * 1e9), round(self.now * 1e9))
        largest = max((sent.size for sent in self._under_way), default=0)
        self.sizes.append((self.window.limit, self.window.under_way, largest))
        self._fill()
