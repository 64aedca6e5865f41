"""From verdicts to events: what one incident of sound is, when it is said, and when it is said again.

A shot, its echoes and the rounds after it are one event, which says how many rounds were counted. It is said
at the first look that gives it a name; again at once when the name changes; and once more at the end if
the number of rounds, or how sure it is, has changed noticeably. What was said is never taken back in silence:
a later look that knows better is a new revision. "Unsure" is said before the last look only if a shot is
likelier than not by far, as otherwise it mostly comes to nothing: a street where people talk stays silent.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.reading import UNCLASSIFIED, UNSURE, Event
from gateway.verdict import NO_OPINION, Judge, Opinion, Verdict

TOGETHER_NS: Final = 2_500_000_000  # of the same kind and this close: one event
_REFRACTORY_NS: Final = 380_000_000  # whatever follows a bang this closely belongs to it
_ECHO_NS: Final = 1_500_000_000  # until then, what is weaker by _ECHO_DB is an echo of it
_ECHO_DB: Final = 8.0
_NOTICEABLE: Final = 0.1  # of a score
# Chosen with the folds in view: nearly all of their shots that were unsure at first and sure at last reach
# this at first; of the other sounds that were unsure at first but did not, half are nothing at last.
_UNSURE_AT_ONCE: Final = 0.6
_OPEN_MAX: Final = 64
_NO_MODEL: Final = "00" * 8
_NOT_URGENT: Final = frozenset({UNSURE, UNCLASSIFIED})


@dataclass(slots=True, eq=False)
class _Told:
    """One event under way: the newest verdict of each of its bangs, and what was said last."""

    event_id: bytes
    of: Verdict  # of the bang that began it, the newest
    bangs: dict[int, Verdict] = field(default_factory=dict)
    revision: int = -1
    label: str = ""
    score: float = 0.0
    rounds: int = 0
    last_ns: int = 0
    loudest: float = -200.0
    claimed: set[str] = field(default_factory=set)  # labels that were fresh once

    @property
    def is_over(self) -> bool:
        """Whether all its bangs have had their last look."""
        return all(verdict.final for verdict in self.bangs.values())

    def add(self, verdict: Verdict) -> None:
        """A verdict of one of its bangs."""
        if verdict.bang == self.of.bang:
            self.of = verdict
        if verdict.bang not in self.bangs:
            if not self._is_weak(verdict):  # echoes of echoes go on for no longer
                self.last_ns = max(self.last_ns, verdict.t_ns)
            self.loudest = max(self.loudest, verdict.level)
        self.bangs[verdict.bang] = verdict

    def echoes(self, verdict: Verdict) -> bool:
        """Whether a bang is no more than what follows the last one of this event."""
        since_ns = verdict.t_ns - self.last_ns
        if self._is_weak(verdict):
            return 0 <= since_ns < _ECHO_NS
        return 0 <= since_ns < _REFRACTORY_NS and self.is_near(verdict)

    def is_near(self, verdict: Verdict) -> bool:
        """Whether a bang is close enough to be a round of it."""
        return abs(verdict.t_ns - self.of.t_ns) <= TOGETHER_NS

    def _is_weak(self, verdict: Verdict) -> bool:
        return verdict.level < self.loudest - _ECHO_DB


class EventMaker:
    """Of one sensor. Feed it every verdict, in order."""

    def __init__(self, sensor: str, judge: Judge | None) -> None:
        self._sensor = sensor
        self._judge = judge
        self._open: list[_Told] = []

    def take(self, verdict: Verdict) -> Iterator[Event]:
        """What is to be said now that this is known."""
        told = self._event_of(verdict)
        if told is None:
            return
        told.add(verdict)
        yield from self._say(told)
        if told.revision < 0 and told.is_over:
            self._open.remove(told)

    def waiting_since_ns(self) -> int | None:
        """Time of the oldest bang of which something may be said, but was not yet."""
        return min((told.of.t_ns for told in self._open if told.revision < 0), default=None)

    def _event_of(self, verdict: Verdict) -> _Told | None:
        """The event that a verdict is about, perhaps a new one; None if there is nothing to be said of it."""
        for told in self._open:
            if verdict.bang in told.bangs:
                return told
        if not verdict.label:
            return None
        self._open = [
            told
            for told in self._open
            if not (told.is_over and verdict.t_ns - told.last_ns > max(TOGETHER_NS, _ECHO_NS))
        ][-_OPEN_MAX:]
        for told in self._open:
            same = self._kind(told.label or told.of.label) == self._kind(verdict.label)
            if told.echoes(verdict) or (same and told.is_near(verdict)):
                return told
        told = _Told(os.urandom(8), verdict)
        self._open.append(told)
        return told

    def _kind(self, label: str) -> str:
        """A label, or for "unsure" the one that it may be."""
        return self._judge.manifest.labels[0] if label == UNSURE and self._judge is not None else label

    def _say(self, told: _Told) -> Iterator[Event]:
        best = max(self._naming(told), key=self._rank)
        opinion = Opinion(best.label, best.score, best.threshold, best.pulse.probabilities)
        stands = bool(best.label)
        if not stands:
            if told.revision < 0:
                return
            opinion = self._judge.withdrawn(opinion) if self._judge is not None else NO_OPINION
        if told.revision < 0 and self._can_wait(told, opinion):
            return
        is_new = opinion.label != told.label
        rounds = told.of.pulse.rounds
        confirms = told.is_over and (abs(opinion.score - told.score) >= _NOTICEABLE or rounds != told.rounds)
        if not is_new and not confirms:
            return
        was_alarm = told.revision >= 0 and told.label not in _NOT_URGENT
        told.revision += 1
        urgent = is_new and (was_alarm or (stands and opinion.label not in _NOT_URGENT))
        told.label, told.score, told.rounds = opinion.label, opinion.score, rounds
        fresh = stands and opinion.label not in told.claimed
        told.claimed |= {opinion.label} if fresh else set()
        yield self._event(told, opinion, best, fresh=fresh, urgent=urgent)

    @staticmethod
    def _can_wait(told: _Told, opinion: Opinion) -> bool:
        return opinion.label == UNSURE and opinion.score < _UNSURE_AT_ONCE and not told.is_over

    def _naming(self, told: _Told) -> Iterator[Verdict]:
        """The verdicts that may name an event: of the bang that began it, and of others of its kind or shots.

        What else is heard right after a shot does not make the shot a broken pane.
        """
        kinds = {self._kind(told.of.label)}
        if self._judge is not None:
            kinds.add(self._judge.manifest.labels[0])
        for verdict in told.bangs.values():
            if verdict.bang == told.of.bang or self._kind(verdict.label) in kinds:
                yield verdict

    def _rank(self, verdict: Verdict) -> tuple[int, float]:
        """A shot goes before another kind that is sure, that before a perhaps, and that before nothing."""
        if not verdict.label:
            return 0, verdict.probability
        if verdict.label in _NOT_URGENT:
            return 1, verdict.score
        first = self._judge is not None and verdict.label == self._judge.manifest.labels[0]
        return (3 if first else 2), verdict.score

    def _event(self, told: _Told, opinion: Opinion, best: Verdict, *, fresh: bool, urgent: bool) -> Event:
        of = told.of
        model = self._judge.manifest.model if self._judge is not None and best.look else _NO_MODEL
        return Event(
            t_ns=of.t_ns,
            sensor=self._sensor,
            label=opinion.label,
            event_id=told.event_id,
            t_error_ns=of.t_error_ns,
            score=opinion.score,
            threshold=opinion.threshold,
            model=model,
            level=of.level,
            revision=told.revision,
            fresh=fresh,
            urgent=urgent,
            pulse=replace(of.pulse, probabilities=opinion.probabilities),
        )
