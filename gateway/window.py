"""How many bytes of a connection may be under way: as many as keep the link busy, and hardly more.

What is under way beyond what the link itself holds waits in a queue, in a modem or a base station, and an
alert on the other connection waits behind it. So the window is steered by delay, after FAST TCP (Wei, Jin,
Low, Hegde: "FAST TCP: motivation, architecture, algorithms, performance", IEEE/ACM ToN 14(6), 2006):

    window = window * (base + held + target) / (taken + held)

once a round trip. `taken` is how long a message took to be sent and acked, without the time that the hub
held it to commit it with others (`held`, which it tells); `base` is the least taken lately, which is the way
without a queue. In balance messages find a queue of `target`. What deviates from the paper, and why:

- It looks at the quickest message of a round: a lost packet delays all that follow it on a TCP connection.
- Where acks come late by chance, as on a busy machine, even the quickest of a round is late. Taken for a
  queue that would starve the link, so the target grows with what two acks in a row usually differ by.
- At first it doubles each round trip, and again whenever the base was found anew, until a queue shows.
- The least seen is forgotten after a while, as routes change. Since a queue that never empties would pass for
  the way itself, the window dips for one round now and then, just so far that the queue should be gone.
- A queue that stays as it is while the window falls is not its own: what is taken there is the way. A route
  that became longer, or another sender that fills the queue, costs a second of low rate, not all of it.
- Messages are spread over the time between two acks: what an ack of many allows would be a queue by itself.

Sans I/O: times are given, in nanoseconds of any one clock.
"""

import math
from dataclasses import dataclass
from typing import Final

TARGET_NS: Final = (18_000_000, 40_000_000)  # of queue that a message finds: with even acks, with late ones
PIECE_NS: Final = 12_000_000  # of the link's time that one message should take
PIECE: Final = (1024, 32768)  # bytes of one message, at the least and at the most
FIRST: Final = 4096  # bytes under way before anything is known
_FORGET_NS: Final = 15_000_000_000  # the base is the least of this period and the one before
_LONGER: Final = 1.2  # times what it was, the base is that of another route
_FALL_MAX: Final = 0.75  # a round's delays may be those of one lost packet
_FALLEN: Final = 0.7  # a window that fell to this part
_SAME: Final = 0.12  # changes a queue of its own by more than this one
_RISE: Final = 1.25
_FIRST_RISE: Final = 1.5
_CALM: Final = 3  # rounds without a queue, and there is none
_LATE: Final = 1.75  # times what acks differ by is the target
_LEARNS: Final = 1.1  # by which one ack changes the target: it follows the median of what they differ by
_FRAMES: Final = 0.7  # the target is not less than this much of a message's time on a slow link
_SHARE: Final = 20  # nor than this fraction of the way, on a long one
_DIP: Final = 0.75  # of what the link itself holds
_TAKEN_MIN_NS: Final = 100_000
_MESSAGES_MIN: Final = 2
_PACE: Final = 1.25  # times the rate; what one ack allows is spread over most of the time to the next
_PACE_DOUBLING: Final = 2.0
_PAUSE_MAX_NS: Final = 1_000_000_000
_SLACK_NS: Final = 4_000_000  # a thread wakes up that late, or is not sent to sleep for less


@dataclass(frozen=True, slots=True)
class Sent:
    """A message under way: when it was sent, and how many bytes were under way then, itself included."""

    at_ns: int
    size: int
    flight: int


@dataclass(frozen=True, slots=True)
class _Sample:
    taken_ns: int
    held_ns: int
    flight: int

    @property
    def whole_ns(self) -> int:
        return self.taken_ns + self.held_ns


class Window:
    """The window of one connection, steered by its acks; `limit` and `piece` are its results, in bytes."""

    def __init__(self, credit: int) -> None:
        self.credit = credit  # what the hub allows; never more
        self.under_way = 0
        self.rounds = 0
        self.next_ns = 0  # nothing is sent before, so that what one ack allows does not go at once
        self._target_ns = self._jitter_ns = float(TARGET_NS[0])
        self._last_taken_ns = 0
        self._wanted = float(FIRST)
        self._doubling = True
        self._dip_due = False
        self._dipped_from = 0.0  # window to go back to; 0: none
        self._wait_rounds = 0
        self._falling: tuple[float, float] | None = None  # window and queue when it began to fall
        self._calm = 0  # rounds in a row without a queue
        self._held_ns = 0.0  # at the hub, on average
        self._rate = 0.0  # bytes a nanosecond
        self._largest = PIECE[0]  # of the messages sent lately
        self._held_back = False  # something waited for the window since the round began
        self._round_ns = 0
        self._quickest_ns = math.inf  # time taken in this round
        self._fastest = 0.0  # rate in this round
        self._base: tuple[float, float] = (math.inf, math.inf)  # of the period before, and of this one
        self._period_ns = 0

    @property
    def limit(self) -> int:
        """Bytes that may be under way."""
        return min(self.credit, max(int(self._wanted), int(self._floor)))

    @property
    def piece(self) -> int:
        """Bytes that a message should have at most, so that it does not occupy the link for long."""
        return min(PIECE[1], max(PIECE[0], int(self._rate * PIECE_NS)))

    @property
    def base_ns(self) -> float:
        """The least time taken lately; infinite before the first ack."""
        return min(self._base)

    def has_room(self, now_ns: int) -> bool:
        """Whether something more may be sent now; whoever asks has something."""
        has_room = self.under_way + self._largest // 2 <= self.limit or not self.under_way
        if has_room and now_ns >= self.next_ns:
            return True
        self._held_back = True
        return False

    def fits(self, size: int) -> bool:
        """Whether a message stays within the credit. One alone may go over it, or nothing would go at all."""
        return self.under_way + size <= self.credit or (self.credit > 0 and not self.under_way)

    def sent(self, size: int, now_ns: int) -> Sent:
        """Something was handed over to be sent."""
        self.under_way += size
        self._largest = max(size, self._largest)
        if self._rate:
            pace = self._rate * (_PACE_DOUBLING if self._doubling else _PACE)
            pause_ns = min(_PAUSE_MAX_NS, int(size / pace))
            self.next_ns = max(self.next_ns, now_ns - _SLACK_NS) + pause_ns
        return Sent(now_ns, size, self.under_way)

    def left(self, sent: Sent) -> None:
        """It is not under way any more."""
        self.under_way -= sent.size

    def acked(self, newest: Sent, held_ns: int, now_ns: int) -> None:
        """The hub acked up to and including `newest`, which it held for `held_ns`."""
        whole_ns = max(_TAKEN_MIN_NS, now_ns - newest.at_ns)
        held_ns = min(max(0, held_ns), whole_ns - _TAKEN_MIN_NS)
        sample = _Sample(whole_ns - held_ns, held_ns, newest.flight)
        self._held_ns += (held_ns - self._held_ns) / 8
        self._look_at_jitter(sample.taken_ns)
        self._look_at_base(sample.taken_ns, now_ns)
        self._quickest_ns = min(self._quickest_ns, sample.taken_ns)
        self._fastest = max(self._fastest, sample.flight / sample.whole_ns)
        if newest.at_ns >= self._round_ns:
            self._round_ends(now_ns)
            self._largest = max(PIECE[0], newest.size, self._largest * 3 // 4)
            self._quickest_ns, self._fastest = math.inf, 0.0
            self._round_ns, self._held_back = now_ns, False
            self.rounds += 1

    def _look_at_jitter(self, taken_ns: int) -> None:
        differs = _LATE * abs(taken_ns - self._last_taken_ns) > self._jitter_ns
        least, most = TARGET_NS
        learnt_ns = self._jitter_ns * _LEARNS if differs else self._jitter_ns / _LEARNS
        self._jitter_ns = max(least, min(learnt_ns, most))
        self._last_taken_ns = taken_ns

    def _look_at_base(self, taken_ns: int, now_ns: int) -> None:
        before, this = self._base
        if now_ns - self._period_ns >= _FORGET_NS:
            if math.isfinite(this):
                if this > _LONGER * before:
                    self._doubling = True
                before, this = this, math.inf
                self._dip_due = True
            self._period_ns = now_ns
        self._base = (before, min(this, taken_ns))

    def _round_ends(self, now_ns: int) -> None:
        if not self._held_back:
            return  # nobody knows what the link would have carried
        if self._wait_rounds:  # what is acked now was sent before the last change
            self._wait_rounds -= 1
            if self._dipped_from and not self._wait_rounds:
                self._set(self._dipped_from)
                self._dipped_from, self._wait_rounds = 0.0, 1
            return
        self._rate = (self._rate + self._fastest) / 2 if self._rate else self._fastest
        frame_ns = self._largest / self._rate
        self._target_ns = max(self._jitter_ns, frame_ns * _FRAMES, self.base_ns / _SHARE)
        queue_ns = self._quickest_ns - self.base_ns
        self._calm = self._calm + 1 if queue_ns < self._target_ns / 4 else 0
        if self._doubling:
            self._double(queue_ns)
        elif self._dip_due:
            self._dip_due, self._wait_rounds = False, 2
            self._dipped_from = self._aim(queue_ns, self._target_ns)
            self._set(self._aim(queue_ns, 0.0) * _DIP)
        elif self._calm < _CALM:
            self._follow(queue_ns, now_ns)
        else:  # no queue: what was late had other reasons
            self._calm, self._wait_rounds = 0, 1
            self._set(self._wanted * _RISE)

    def _double(self, queue_ns: float) -> None:
        if queue_ns > self._target_ns / 2:
            self._doubling, self._dip_due = False, True
            self._set(self._aim(queue_ns, self._target_ns))
        else:
            carried = self._rate * (self._way_ns + self._target_ns)  # until this round
            self._set(min(_FIRST_RISE * self._wanted, max(FIRST, _FIRST_RISE * carried)))

    def _follow(self, queue_ns: float, now_ns: int) -> None:
        """Half way to where the queue should be the target."""
        change = (1 + max(_FALL_MAX, self._aim(queue_ns, self._target_ns) / self._wanted)) / 2
        if change >= 1:
            self._falling = None
        elif self._falling is None or abs(queue_ns - self._falling[1]) > _SAME * self._falling[1]:
            self._falling = (self._wanted, queue_ns)
        elif self._wanted <= max(self._floor, _FALLEN * self._falling[0]):
            # Less under way made no difference: what is taken is the way, or somebody else's queue.
            self._base, self._period_ns = (math.inf, self._quickest_ns), now_ns
            self._falling, self._doubling = None, True
            return
        self._set(self._wanted * change)

    def _set(self, wanted: float) -> None:
        self._wanted = max(self._floor, min(wanted, self.credit))

    @property
    def _floor(self) -> float:
        return float(_MESSAGES_MIN * self._largest)

    def _aim(self, queue_ns: float, target_ns: float) -> float:
        """The window that makes a queue of the target, by the one that made this queue."""
        return self._wanted * (self._way_ns + target_ns) / (self._way_ns + queue_ns)

    @property
    def _way_ns(self) -> float:
        return self.base_ns + self._held_ns
