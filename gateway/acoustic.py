"""The stages of a microphone: onset marks where a bang begins, model says what it was.

    stages = [{ onset = "9 dB" }, { model = "gunshot" }]

Sound stays in this process, in memory, for as long as the model looks at it: what leaves is an Event.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gateway.acousticpath import Listener, Marked, Trigger
from gateway.bundle import planned_manifest
from gateway.errors import BundleError
from gateway.eventmaker import EventMaker
from gateway.limiter import Limiter
from gateway.manifest import Look, Manifest
from gateway.media import Block
from gateway.modelload import NoModelNow, open_model
from gateway.modelnote import ModelNote, write_note
from gateway.modelstore import ModelStore
from gateway.reading import UNCLASSIFIED, UNSURE, Event, HealthCode
from gateway.stage import Stage, StageSettings, decibels, seconds
from gateway.verdict import Judge

_NEED_SLACK_S = 0.010
_BUSY_NS = 10_000_000_000  # how long a new version waits for the end of the bangs under way
_LOOK_AGAIN_NS = 1_000_000_000  # between two looks for a version installed since
_TRY_AGAIN_NS = 600_000_000_000  # before a version is tried once more that a busy machine could not try
_log = logging.getLogger("model")


@dataclass(frozen=True)
class OnsetSettings(StageSettings):
    """`onset = "9 dB"`: how far a bang must rise over the last 300 ms."""

    over: str

    def __post_init__(self) -> None:
        if not 3.0 <= decibels(self.over) <= 60.0:
            raise ValueError(f'onset = "{self.over}" is out of range; 9 to 15 dB suits a street')


class Onset(Stage):
    """Marks where bangs begin, in the first channel; of more than 30 a minute only the loudest."""

    name = "onset"
    takes = "Block"
    gives = "Marked"
    settings_type = OnsetSettings

    def __init__(self, sensor: str, settings: OnsetSettings) -> None:
        super().__init__(sensor, settings)
        self._trigger = Trigger(decibels(settings.over), Limiter())
        self._suppressed = 0

    def feed(self, item: Block) -> Iterator[Marked]:
        """Pass every block on, with the onsets that are known by now."""
        marked = self._trigger.push(item)
        if self._trigger.suppressed > self._suppressed:
            self.counts[HealthCode.SUPPRESSED] += self._trigger.suppressed - self._suppressed
            self._suppressed = self._trigger.suppressed
        yield marked

    def waiting_since_ns(self) -> int | None:
        """Time of the first sample that no whole frame has covered yet."""
        return self._trigger.undecided_since_ns()


@dataclass(frozen=True)
class WindowSettings(StageSettings):
    """`window = "250 ms / 500 ms"`: not needed any more, as the model knows how much it looks at."""

    span: str

    def __post_init__(self) -> None:
        self.seconds()

    def seconds(self) -> tuple[float, float]:
        """Before and after, in seconds. Raises ValueError."""
        parts = self.span.split("/")
        if len(parts) != 2:
            raise ValueError(
                f'window = "{self.span}"; write it like "250 ms / 500 ms", or leave the stage out'
            )
        return seconds(parts[0]), seconds(parts[1])


class Window(Stage):
    """Does nothing: for site files of a time when the window was not the model's own."""

    name = "window"
    takes = "Marked"
    gives = "Marked"
    settings_type = WindowSettings


@dataclass(frozen=True)
class ModelSettings(StageSettings):
    """`model = "gunshot"`: the bundle's name. `score_min` is what its first label needs to be sure, instead
    of the bundle's own threshold; `reports` are the labels that make events, instead of the bundle's own.
    """

    bundle: str
    score_min: float | None = None
    reports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.score_min is not None and not 0.0 < self.score_min < 1.0:
            raise ValueError("score_min must lie between 0 and 1")


class Model(Stage):
    """Asks the bundle's networks what each bang was, once after half a second and once after a few.

    Until `open` was called, and when its model cannot run (`off` says why), every bang is "unclassified".
    A version that is installed while it runs is taken up between two bangs, or after ten seconds without a
    pause between them; no sound is missed by that.
    """

    name = "model"
    takes = "Marked"
    gives = "Event"
    settings_type = ModelSettings
    goes_on_without = True

    def __init__(self, sensor: str, settings: ModelSettings) -> None:
        super().__init__(sensor, settings)
        self._listener = Listener(None)
        self._use(None)
        self._store: ModelStore | None = None
        self._token: object = None
        self._look_again_ns = 0
        self._is_worth_a_retry = False
        self._try_again_ns: int | None = None

    def open(self, state: Path) -> None:
        """Load the model that this box is to run. Raises BundleError if there is none that can."""
        self._store = ModelStore(state)
        self._token = self._store.token(self.settings.bundle)
        self._try_again_ns = None
        try:
            loaded = open_model(self.settings.bundle, state, self.sensor)
        except BundleError as error:
            self._is_worth_a_retry = isinstance(error, NoModelNow)
            raise
        self._is_worth_a_retry = loaded.is_worth_a_retry
        nets = {look.name: partial(loaded.run, look.name) for look in loaded.bundle.manifest.looks}
        _check_reports(self.settings, loaded.bundle.manifest)
        _check_labels(_labels(loaded.bundle.manifest), self.labels_planned)
        self.standing_in = loaded.standing_in
        self._use(Judge.of(loaded.bundle, nets, self.settings.reports, self.settings.score_min))

    def do_without(self, error: BundleError) -> None:
        """Go on without the model."""
        super().do_without(error)
        self._use(None)

    @classmethod
    def labels(cls, settings: ModelSettings, state: Path) -> tuple[str, ...]:
        """What its events may be called. Raises BundleError."""
        return _labels(planned_manifest(settings.bundle, state))

    @classmethod
    def misfit(cls, settings: ModelSettings, before: Mapping[str, Any], state: Path) -> str:
        """A window other than the model's first look cannot be had any more. Raises BundleError."""
        manifest, window = planned_manifest(settings.bundle, state), before.get("window")
        _check_reports(settings, manifest)
        return _other_window(manifest.looks[0], window) if isinstance(window, WindowSettings) else ""

    def feed(self, item: Marked) -> Iterator[Event]:
        """What is known by now of the bangs in this block and those before it."""
        now_ns = item.block.t_ns
        is_idle = self._listener.is_idle
        if now_ns >= self._look_again_ns + (0 if is_idle else _BUSY_NS):
            self._look_again_ns = now_ns + _LOOK_AGAIN_NS
            if self._is_newer(now_ns):
                if not is_idle:  # it hails: what is under way is judged by what was heard of it
                    yield from self.broke_off()
                self._take_newer()
        for verdict in self._listener.hear(item):
            yield from self._events.take(verdict)
        if self._listener.off is not None and self.off is None:
            self._give_up(self._listener.off)

    def waiting_since_ns(self) -> int | None:
        """Time of the first sample of the oldest bang of which nothing was said yet, or not all."""
        times = (self._listener.waiting_since_ns(), self._events.waiting_since_ns())
        return min((t_ns for t_ns in times if t_ns is not None), default=None)

    def broke_off(self) -> Iterator[Event]:
        """What can be said of the bangs under way."""
        for verdict in self._listener.end():
            yield from self._events.take(verdict)

    def _give_up(self, error: BundleError) -> None:
        """The model answered what no model should: doctor is told, and it is tried once more in a while."""
        super().do_without(error)
        self._is_worth_a_retry = True
        if self._store is not None:
            write_note(self._store.state, self.sensor, ModelNote(self.settings.bundle, "", str(error)))

    def _use(self, judge: Judge | None) -> None:
        self._listener.use(judge)
        self._events = EventMaker(self.sensor, judge)

    def _is_newer(self, now_ns: int) -> bool:
        """Whether another version may have to run since."""
        if self._is_worth_a_retry and self._try_again_ns is None:
            self._try_again_ns = now_ns + _TRY_AGAIN_NS
        if self._store is None:
            return False
        is_due = self._try_again_ns is not None and now_ns >= self._try_again_ns
        return is_due or self._store.token(self.settings.bundle) != self._token

    def _take_newer(self) -> None:
        """Load what is to run now; if nothing can be, go on as before."""
        assert self._store is not None
        try:
            self.open(self._store.state)
        except BundleError as error:
            _log.error("sensor %s goes on with the model it has: %s", self.sensor, error)
        else:
            self.off = None


def _labels(manifest: Manifest) -> tuple[str, ...]:
    return (*manifest.labels, UNSURE, UNCLASSIFIED)


def _check_labels(labels: tuple[str, ...], planned: tuple[str, ...] | None) -> None:
    """Records give probabilities by place: the plan must have the same labels in the same order."""
    if planned is not None and labels != tuple(label for label in planned if label in labels):
        new = sorted(set(labels) - set(planned))
        what = (
            f"it knows {new[0]!r}, the plan does not" if new else "the plan has its labels in another order"
        )
        raise BundleError(f"{what}; run `gateway reload`")


def _check_reports(settings: ModelSettings, manifest: Manifest) -> None:
    for label in settings.reports:
        if label not in manifest.thresholds:
            known = ", ".join(manifest.thresholds)
            raise BundleError(f"model {manifest.name} has no threshold for {label!r}; it can report {known}")


def _other_window(look: Look, window: WindowSettings) -> str:
    wanted = (look.before_ms / 1000, look.after_ms / 1000)
    if all(abs(has - wants) <= _NEED_SLACK_S for has, wants in zip(window.seconds(), wanted, strict=True)):
        return ""
    return (
        f'the model takes its own window ("{look.before_ms} ms / {look.after_ms} ms" first); '
        "leave the window stage out"
    )
