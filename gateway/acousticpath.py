"""From a microphone's blocks to verdicts: the one path of stages, evaluation and training's checks.

A trigger finds onsets and keeps a noisy site from being listened to bang by bang. Of every bang that passes,
the sound from shortly before it is resampled and framed as it comes; when a look's frames are there, its
network is asked. Nothing but the trigger runs while it is quiet, and all sound stays in memory.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.bang import Bang, Noted
from gateway.bundle import Bundle
from gateway.errors import BundleError
from gateway.features import Samples, as_sound
from gateway.inference import load_runner
from gateway.limiter import Limiter
from gateway.manifest import Look
from gateway.media import Block
from gateway.onset import OVER_DB, Found, OnsetFinder
from gateway.rounds import rounds_of
from gateway.soundring import SoundRing
from gateway.verdict import Judge, Verdict, front_end_of

ONSET_ERROR_NS: Final = 1_000_000  # how far a found first sample may be off, added to the clock's error
LOOKS: Final = (Look("first", 250, 500, 1), Look("second", 250, 2750, 2))  # where no model says otherwise
_OPEN_MAX: Final = 256  # bangs listened to at the same time; the limiter allows far fewer
_SLACK_S: Final = 0.1  # an onset is known no later than this after its sample
_KNOWN_S: Final = 0.06  # and no later than this if its level is all that is asked
_SHORTEST_AFTER_S: Final = 0.1  # of a bang that broke off because samples were lost
_GAP_MAX_S: Final = 60.0
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Marked:
    """A block, its first channel as sound, and the onsets that became known with it: all that were `found`,
    and the `bangs` to be listened to, each with how many were suppressed before it. They may lie in earlier
    blocks.
    """

    block: Block
    sound: Samples
    found: tuple[Found, ...]
    bangs: tuple[tuple[Found, int], ...]


class Trigger:
    """Finds onsets in the first channel. Lost samples (a jump in Block.first) start it afresh.

    `suppressed` counts what the limiter left out since it was started.
    """

    def __init__(self, over_db: float = OVER_DB, limiter: Limiter | None = None) -> None:
        self._finder = OnsetFinder(over_db)
        self._limiter = limiter
        self._last: Block | None = None
        self.suppressed = 0

    def push(self, block: Block) -> Marked:
        """Take the next block."""
        last, self._last = self._last, block
        if last is None or last.rate_hz != block.rate_hz or self._finder.end != block.first:
            self._finder.start(block.first, block.rate_hz)
        sound = as_sound(block.pcm)
        found = self._finder.find(sound)
        bangs = tuple(self._passing(block, found)) if found else ()
        return Marked(block, sound, tuple(found), bangs)

    def undecided_since_ns(self) -> int | None:
        """Time of the first sample in which an onset may still be found."""
        return None if self._last is None else _time_of(self._last, self._finder.oldest)

    def _passing(self, block: Block, found: list[Found]) -> Iterator[tuple[Found, int]]:
        for each in found:
            if self._limiter is None:
                yield each, 0
            elif self._limiter.passes(_time_of(block, each.first), each.over_db):
                yield each, self._limiter.take()
            else:
                self.suppressed += 1


class Listener:
    """Listens to the bangs of one stream. Without a judge every bang is "unclassified".

    A judge whose network fails is not asked again: `off` says why. `lost` counts bangs that broke off too
    soon to say anything.
    """

    def __init__(self, judge: Judge | None) -> None:
        self.use(judge)
        self._ring = SoundRing()
        self._open: list[Bang] = []
        self._onsets: deque[Found] = deque()  # as far back as a look may ask
        self._count = 0
        self.lost = 0

    @property
    def is_idle(self) -> bool:
        """Whether no bang is listened to right now."""
        return not self._open

    def use(self, judge: Judge | None) -> None:
        """Ask this judge from the next bang on. Only while it is idle."""
        self._judge = judge
        self._front_end = front_end_of(judge)
        self._looks = LOOKS if judge is None else judge.looks
        self.off: BundleError | None = None

    def hear(self, item: Marked) -> list[Verdict]:
        """Take one block; the verdicts of the looks that are complete with it, in order of their time."""
        out = [] if self._ring.follows(item.block) else self.end()
        self._ring.push(item.block)
        for bang in self._open:
            bang.hear(item.sound)
        passed = dict(item.bangs)
        for found in item.found:
            if found in passed:
                self._begin(found, passed[found])
            self._onsets.append(found)
        if self._open:
            out += self._look()
        self._forget()
        return out

    def end(self) -> list[Verdict]:
        """The stream is over, or broke off: what can be said of the bangs under way. It starts afresh."""
        out = []
        for bang in self._open:
            bang.end()
            out += self._break_off(bang)
        self._open.clear()
        self._onsets.clear()
        self._ring.clear()
        return out

    def waiting_since_ns(self) -> int | None:
        """Time of the first sample of the oldest bang of which nothing was said yet."""
        return next((bang.noted.t_ns for bang in self._open if not bang.looked), None)

    def _begin(self, found: Found, suppressed: int) -> None:
        if len(self._open) == _OPEN_MAX or found.first < self._ring.first:
            self.lost += 1
            return
        self._count += 1
        t_ns, error_ns = self._ring.time_of(found.first)
        before = self._onsets[-1] if self._onsets else None
        gap_ms = None
        if before is not None and found.first - before.first <= _GAP_MAX_S * self._ring.rate_hz:
            gap_ms = (found.first - before.first) * 1000.0 / self._ring.rate_hz
        noted = Noted(self._count, found, suppressed, gap_ms, t_ns, error_ns + ONSET_ERROR_NS)
        bang = Bang(noted, self._front_end, self._looks[0].before_ms, self._ring.rate_hz)
        bang.hear(self._ring.sound(bang.begins, self._ring.end))
        self._open.append(bang)

    def _look(self) -> list[Verdict]:
        """The looks that are complete, by when they became so: the same however the stream was cut."""
        ready: list[tuple[int, Verdict]] = []
        for bang in self._open:
            while bang.looked < len(self._looks):
                look = self._looks[bang.looked]
                power = bang.power(look.rows(self._front_end.shape) * look.pool)
                if power is None:
                    break
                self._ask(bang, look, power)
                ready.append((bang.due(look), self._verdict(bang, look, power)))
        self._open = [bang for bang in self._open if bang.looked < len(self._looks)]
        return [verdict for _, verdict in sorted(ready, key=lambda each: each[0])]

    def _break_off(self, bang: Bang) -> list[Verdict]:
        """The look that is under way, if enough of it was heard; else what was said before, as final."""
        look = self._looks[bang.looked]
        heard_s = (self._ring.end - bang.first) / self._ring.rate_hz
        enough_s = _SHORTEST_AFTER_S if not bang.looked else look.after_ms / 2000
        frames = look.rows(self._front_end.shape) * look.pool
        power = bang.power(frames, broken=True)
        if power is None or (not bang.looked and heard_s < enough_s):
            self.lost += 1
            return []
        if heard_s >= enough_s:
            self._ask(bang, look, power)
        return [self._verdict(bang, look, power, broken=True)]

    def _ask(self, bang: Bang, look: Look, power: Samples) -> None:
        bang.looked += 1
        if self._judge is None:
            return
        try:
            bang.answers.append(self._judge.logits(look, power))
            bang.opinion = self._judge.opinion(bang.answers)
        except BundleError as error:
            self._judge, self.off = None, error

    def _verdict(self, bang: Bang, look: Look, power: Samples, *, broken: bool = False) -> Verdict:
        until = bang.first + (look.after_ms / 1000 - _KNOWN_S) * self._ring.rate_hz
        onsets = [each for each in self._onsets if bang.first <= each.first <= until]
        pulse = bang.pulse(self._ring, power, rounds_of(onsets, self._ring.rate_hz))
        return Verdict(
            bang=bang.noted.number,
            first=bang.first,
            t_ns=bang.noted.t_ns,
            t_error_ns=bang.noted.t_error_ns,
            look=self._looks[len(bang.answers) - 1].name if bang.answers else "",
            final=broken or bang.looked == len(self._looks),
            label=bang.opinion.label,
            score=bang.opinion.score,
            threshold=bang.opinion.threshold,
            level=bang.level,
            pulse=pulse,
        )

    def _forget(self) -> None:
        rate = self._ring.rate_hz
        sound = self._ring.end - int(_SLACK_S * rate)
        onset = sound
        for bang in self._open:
            onset = min(onset, bang.first)
            if not bang.looked:
                sound = min(sound, bang.first)
        self._ring.forget(sound - self._looks[0].before_ms * rate // 1000)
        while len(self._onsets) > 1 and self._onsets[0].first < onset:
            self._onsets.popleft()  # the newest stays, for the gap to the next


class AcousticPath:
    """All of it for one stream: blocks in, verdicts out, of every bang, whatever the thresholds say of it.

    Give it a judge, or None for onsets alone. `limited` turns the limiter off, for evaluation and training.
    """

    def __init__(self, judge: Judge | None, over_db: float = OVER_DB, *, limited: bool = True) -> None:
        self.trigger = Trigger(over_db, Limiter() if limited else None)
        self.listener = Listener(judge)

    def push(self, block: Block) -> list[Verdict]:
        """Take the next block; the verdicts that are known by now."""
        return self.listener.hear(self.trigger.push(block))

    def end(self) -> list[Verdict]:
        """No more blocks come: the last verdicts."""
        return self.listener.end()


def judge_of(bundle: Bundle, variant: str = "f32") -> Judge:
    """A bundle's networks, run in this process, unwatched: for evaluation. Raises BundleError."""
    looks = bundle.manifest.looks
    return Judge.of(bundle, {look.name: load_runner(bundle, look.name, variant).run for look in looks})


def _time_of(block: Block, index: int) -> int:
    """Time of a sample by its index, from the time of a block near it."""
    return block.t_ns + (index - block.first) * _SECOND // block.rate_hz
