"""What must hold of the spool after any power cut, and what it is held against: a plain account of the run.

The account knows, for each lane, which commits `append` has returned, which were tried and never
returned, what the hub has, what may have been given up for lack of space, and the highest n kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.lane import LaneLog
from gateway.segment import Lost, Payload, StoredFrame

_PEEK = 1 << 20


class Violation(Exception):
    """Something that must never be. The text says what, for a person."""


@dataclass(slots=True)
class Account:
    """One lane as it should be. Sequence numbers of a commit tried begin at `last_seq` + 1."""

    last_seq: int = 0  # of the last record whose append returned
    frames: dict[int, Payload] = field(default_factory=dict)  # first number -> what was appended there
    tried: list[tuple[Payload, ...]] = field(default_factory=list)  # commits that may be there, or not
    hub_has: int = 0
    given_up: int = 0  # up to here records may be declared lost
    marks: dict[int, int] = field(default_factory=dict)  # of what was appended
    marks_tried: dict[int, int] = field(default_factory=dict)
    uncounted: bool = False  # a page could not be read when records were given up

    def fork(self) -> "Account":
        """A copy that can go its own way."""
        return Account(
            self.last_seq,
            self.frames.copy(),
            self.tried.copy(),
            self.hub_has,
            self.given_up,
            self.marks.copy(),
            self.marks_tried.copy(),
            self.uncounted,
        )

    def will_append(self, payloads: tuple[Payload, ...], marks: dict[int, int]) -> None:
        """An append is called."""
        self.tried.append(payloads)
        for incarnation, n in marks.items():
            self.marks_tried[incarnation] = max(n, self.marks_tried.get(incarnation, 0))

    def has_appended(self, first_seq: int, payloads: tuple[Payload, ...], marks: dict[int, int]) -> None:
        """It returned, or its commit was found after a cut. What was tried before cannot be there now."""
        if first_seq != self.last_seq + 1:
            raise Violation(f"append gave number {first_seq} after {self.last_seq}")
        if first_seq <= max(self.last_seq, self.hub_has):
            raise Violation(f"number {first_seq} was given out twice")
        seq = first_seq
        for payload in payloads:
            self.frames[seq] = payload
            seq += payload.count
        self.last_seq = seq - 1
        self.marks.update(marks)
        self.tried.clear()
        self.marks_tried.clear()

    def hub_takes(self, last_seq: int) -> None:
        """The hub has everything up to there, on its own disk."""
        self.hub_has = max(self.hub_has, last_seq)
        for first_seq in [s for s, p in self.frames.items() if s + p.count - 1 <= last_seq]:
            del self.frames[first_seq]


def everything_after(log: LaneLog, seq: int) -> list[StoredFrame | Lost]:
    """All that a lane holds after a number. Raises Violation if it does not join up."""
    found: list[StoredFrame | Lost] = []
    while items := log.peek(seq, _PEEK):
        for item in items:
            if item.first_seq != seq + 1 and (found or item.first_seq > seq + 1 or item.last_seq <= seq):
                raise Violation(f"after record {seq} came {item.first_seq}..{item.last_seq}")
            seq = item.last_seq
        found += items
    return found


def check(log: LaneLog, account: Account) -> None:
    """Hold an opened lane against its account, and note there which of the tried commits are there.

    Raises Violation.
    """
    if log.acked > account.hub_has:
        raise Violation(f"the log says that the hub has {log.acked}, and it has {account.hub_has}")
    if log.next_seq <= account.hub_has:
        raise Violation(f"the next number is {log.next_seq}, and the hub has {account.hub_has} already")
    items = everything_after(log, account.hub_has)
    end = items[-1].last_seq if items else account.hub_has
    if end != log.next_seq - 1:
        raise Violation(f"the next number is {log.next_seq}, and what is held ends at {end}")
    for item in items:
        if isinstance(item, Lost):
            _check_lost(item, account)
    frames = [item for item in items if isinstance(item, StoredFrame)]
    new = [frame for frame in frames if frame.first_seq > account.last_seq]
    for frame in frames[: len(frames) - len(new)]:
        kept = account.frames.get(frame.first_seq)
        if kept is None or kept.content != frame.content or kept.count != frame.count:
            was = "was never appended" if kept is None else "has another content than was appended"
            raise Violation(f"what stands at {frame.first_seq}..{frame.last_seq} {was}")
    found = _check_new(new, account, end)
    _check_marks(log, account, found)
    if found:
        account.has_appended(account.last_seq + 1, found, log.marks)
    account.tried.clear()
    account.marks_tried.clear()


def _check_lost(lost: Lost, account: Account) -> None:
    count = lost.last_seq - lost.first_seq + 1
    if lost.reason != "evicted" or lost.last_seq > account.given_up:
        raise Violation(f"records {lost.first_seq}..{lost.last_seq} are lost ({lost.reason})")
    if sum(lost.counts.values()) < count and not account.uncounted:
        raise Violation(f"{count} records were given up, and {dict(lost.counts)} counted")


def _check_new(new: Sequence[StoredFrame], account: Account, end: int) -> tuple[Payload, ...]:
    """What follows the last commit that returned: nothing, or one of those tried, whole."""
    found = tuple(Payload(frame.count, frame.content) for frame in new)
    if not found:
        if end < account.last_seq:
            raise Violation(f"records {end + 1}..{account.last_seq} were kept and are gone")
        if end > account.last_seq:
            raise Violation(f"records {account.last_seq + 1}..{end} are lost, and there never were any")
        return ()
    if found in account.tried:
        return found
    part = any(set(found) <= set(tried) for tried in account.tried)
    what = "are part of a commit" if part else "were never appended"
    raise Violation(f"records {new[0].first_seq}..{end} {what}")


def _check_marks(log: LaneLog, account: Account, found: tuple[Payload, ...]) -> None:
    for incarnation, n in account.marks.items():
        if log.marks.get(incarnation, 0) < n:
            said = log.marks.get(incarnation, 0)
            raise Violation(f"the mark of incarnation {incarnation} is {said}, and {n} was kept")
    for incarnation, n in log.marks.items():
        most = account.marks.get(incarnation, 0)
        if found:
            most = max(most, account.marks_tried.get(incarnation, 0))
        if n > most:
            raise Violation(f"the mark of incarnation {incarnation} is {n}, and {most} is stored")
