"""Power cuts all through a story: before every operation some legal images, each opened, checked and used.

What is done on an image may be cut again, in the middle of its recovery too.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from gateway_hil.crashes.images import Fault, Outcome, draw_outcome, faults_possible, image, told, unsynced
from gateway_hil.crashes.invariants import Violation
from gateway_hil.crashes.medium import Folder
from gateway_hil.crashes.recorder import RecordingDisk
from gateway_hil.crashes.story import Do, Run, Step, Story, determined, draw_append

IMAGES: Final = 3  # of one moment
DEPTH: Final = 3  # power cuts one after the other
_AGAIN: Final = 0.3  # of the images, the share where the power is cut again
_WITHIN: Final = 14  # operations after opening starts


@dataclass(slots=True)
class Found:
    """A violation, and how it came to it, for a person."""

    story: Story
    state: int  # of the story's states
    step: int  # in which the power was cut
    violation: str
    trail: list[str]

    def told(self) -> str:
        """The counterexample as a short story."""
        steps = [f"  {n}. {step.told()}" for n, step in enumerate(self.story.steps, 1)]
        head = f"seed {self.story.seed}, state {self.state}: segments of {self.story.segment_pages} pages"
        return "\n".join([head, *steps, *(f"  {line}" for line in self.trail), f"  => {self.violation}"])


@dataclass(slots=True)
class Explorer:
    """Goes through one story. `only` is the number of the one state to look at, of all."""

    story: Story
    only: int | None = None
    images: int = IMAGES
    again: float = _AGAIN
    spared: frozenset[tuple[str, int]] = frozenset()  # pages that the first cut leaves as they were
    tally: Counter[str] = field(default_factory=Counter)
    states: int = 0
    found: Found | None = None
    damaged: list[tuple[str, int]] = field(default_factory=list)  # by the first cut of the state looked at
    _at: int = 0  # step
    _operations: int = 0
    _looked_at: int = -1  # `changes` of the disk when it was last cut
    _trail: list[str] = field(default_factory=list)

    def explore(self) -> Found | None:
        """The first violation, if there is one."""
        seed = self.story.seed
        with determined(seed):
            disk = RecordingDisk(Folder(), Random(seed))
            run = Run(self.story, disk)
            disk.before = lambda operation, path: self._cut(run, operation, path)
            try:
                for number, step in enumerate(self.story.steps, 1):
                    self._at = number
                    run.step(step)
                run.close()
                self._cut(run, "end", "the story")
            except Exception as error:  # noqa: BLE001 # whatever it is, it is what we look for
                if self.found is None:
                    self._fail(error)
        return self.found

    def _fail(self, error: Exception) -> None:
        text = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
        self.found = Found(self.story, self.states, self._at, text, self._trail.copy())

    def _cut(self, run: Run, operation: str, path: str) -> None:
        self._operations += 1
        if run.disk.changes == self._looked_at:
            return
        self._looked_at = run.disk.changes
        possible = unsynced(run.disk.root)
        faults = faults_possible(possible)
        count = self.images if possible.files else max(1, self.images // 3)
        for number in range(count):
            if self.only is None or self.states == self.only:
                draw = Random((self.story.seed << 24) + (self._operations << 4) + number)
                outcome = draw_outcome(possible, draw.choice(faults), draw).without(self.spared)
                line = f"step {self._at}: the power is cut before: {operation} {path}"
                self.damaged = list(outcome.pages)
                self._count(run, outcome, "")
                self._state(run, outcome, draw, 1, line)
                if self.found is not None:
                    raise Violation(self.found.violation)
            self.states += 1

    def _count(self, run: Run, outcome: Outcome, where: str) -> None:
        self.tally[outcome.fault.value] += 1
        self.tally["states"] += 1
        if where:
            self.tally[where] += 1
        self.tally["after records were given up"] += any(account.given_up for account in run.accounts)
        for operation in run.disk.failed:
            self.tally[f"after a failed {operation}"] += 1

    def _state(self, run: Run, outcome: Outcome, draw: Random, depth: int, line: str) -> None:
        """One image: open, check, go on; perhaps cut again on the way."""
        possible = unsynced(run.disk.root)
        mark = len(self._trail)
        self._trail += [line, *told(possible, outcome)] if self.only is not None else []
        disk = RecordingDisk(image(run.disk.root, possible, outcome), draw, capacity=run.disk.capacity)
        after = run.continued(disk)
        # A killed process alone proves little: what the next one took over must outlast a power cut too.
        if depth < DEPTH and draw.random() < (0.9 if outcome.fault is Fault.PROCESS else self.again):
            self._cut_later(after, draw, depth)
        with determined(draw.getrandbits(40)):
            try:
                self._use(after, draw)
            except Exception as error:  # noqa: BLE001 # whatever it is, it is what we look for
                if self.found is None:
                    self._fail(error)
        if self.found is None:
            del self._trail[mark:]

    def _use(self, run: Run, draw: Random) -> None:
        run.open()
        steps = []
        if draw.random() < 0.5:
            run.settle()
            lane = draw.randrange(4)
            steps = [draw_append(draw, lane, self.story.segment_pages), Step(Do.SEND, lane, much=4000)]
            steps = [*steps, Step(Do.ACK, lane), draw_append(draw, lane, self.story.segment_pages)]
        for step in steps:
            if self.only is not None:
                self._trail.append(f"then: {step.told()}")
            run.step(step)
        run.close()
        if run.disk.before is not None:
            run.disk.before("the end", "")

    def _cut_later(self, run: Run, draw: Random, depth: int) -> None:
        """Cut the power once more, before one of the next operations."""
        left = draw.randrange(1, _WITHIN)

        def before(operation: str, path: str) -> None:
            nonlocal left
            left = 0 if operation == "the end" and left > 0 else left - 1
            if left:
                return
            where = "in the work after a recovery" if run.lanes is not None else "in a recovery"
            possible = unsynced(run.disk.root)
            for _ in range(2 if possible.files or possible.folders else 1):
                outcome = draw_outcome(possible, draw.choice(faults_possible(possible)), draw)
                self._count(run, outcome, f"cut again {where}")
                line = f"the power is cut again {where}, before: {operation} {path}"
                inner = Random(draw.getrandbits(40))
                self._state(run, outcome, inner, depth + 1, line)
                if self.found is not None:
                    raise Violation(self.found.violation)

        run.disk.before = before
