"""The stages of a microphone: onset marks where a bang begins, window cuts it out, model says what it was.

    stages = [{ onset = "12 dB" }, { window = "250 ms / 500 ms" }, { model = "shot-v1" }]

Sound stays in this process, in memory, for as long as the window is: what leaves is an Event.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway.bundle import Manifest, find_bundle, load_bundle, read_manifest
from gateway.errors import BundleError
from gateway.features import as_sound, resample
from gateway.inference import load_runner
from gateway.media import Block, Pcm
from gateway.onset import OnsetFinder
from gateway.reading import Event
from gateway.stage import Stage, StageSettings, decibels, seconds

ONSET_ERROR_NS: Final = 1_000_000  # how far a found first sample may be off, added to the clock's error
RING_MAX_S: Final = 10.0  # sound is never held for longer
_PENDING_MAX: Final = 256
_RING_SLACK_S: Final = 0.1  # an onset is reported up to this long after its sample
_PEAK_S: Final = 0.030  # the peak level of a bang is reached within this time of its first sample
_SHORTEST_AFTER_S: Final = 0.1  # of a bang that broke off because samples were lost
_REFRACTORY_NS: Final = 380_000_000  # whatever follows an event this closely belongs to it
_ECHO_NS: Final = 1_500_000_000  # until then, what is weaker by _ECHO_DB is an echo of it
_ECHO_DB: Final = 8.0
_NEED_SLACK_S: Final = 0.010


@dataclass(frozen=True, slots=True)
class Marked:
    """A block, and the indices of onsets that became known with it (they may lie in earlier blocks)."""

    block: Block
    onsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """One bang. `t_ns` is the time of its first sample, which is `pcm[before]`; `pcm` is int16, one
    channel; `level` is its peak in dB[FS].
    """

    t_ns: int
    t_error_ns: int
    rate_hz: int
    before: int
    pcm: Pcm
    level: float


@dataclass(frozen=True)
class OnsetSettings(StageSettings):
    """`onset = "12 dB"`: how far a bang must rise over the last 300 ms."""

    over: str

    def __post_init__(self) -> None:
        if not 3.0 <= decibels(self.over) <= 60.0:
            raise ValueError(f'onset = "{self.over}" is out of range; 9 to 15 dB suits a street')


class Onset(Stage):
    """Marks where bangs begin, in the first channel. Lost samples (a jump in Block.first) start it afresh."""

    name = "onset"
    takes = "Block"
    gives = "Marked"
    settings_type = OnsetSettings

    def __init__(self, sensor: str, settings: OnsetSettings) -> None:
        super().__init__(sensor, settings)
        self._finder = OnsetFinder(decibels(settings.over))
        self._last: Block | None = None

    def feed(self, item: Block) -> Iterator[Marked]:
        """Pass every block on, with the onsets that are known by now."""
        last, self._last = self._last, item
        if last is None or last.rate_hz != item.rate_hz or self._finder.end != item.first:
            self._finder.start(item.first, item.rate_hz)
        yield Marked(item, tuple(self._finder.push(as_sound(item.pcm))))

    def waiting_since_ns(self) -> int | None:
        """Time of the first sample that no whole frame has covered yet."""
        return None if self._last is None else _time_of(self._last, self._finder.oldest)


@dataclass(frozen=True)
class WindowSettings(StageSettings):
    """`window = "250 ms / 500 ms"`: how much to cut before and after the first sample of a bang."""

    span: str

    def __post_init__(self) -> None:
        self.seconds()

    def seconds(self) -> tuple[float, float]:
        """Before and after, in seconds. Raises ValueError."""
        parts = self.span.split("/")
        if len(parts) != 2:
            raise ValueError(f'window = "{self.span}"; write it like "250 ms / 500 ms" (before / after)')
        before, after = seconds(parts[0]), seconds(parts[1])
        if before + after > RING_MAX_S or after < _SHORTEST_AFTER_S:
            raise ValueError(f'window = "{self.span}" is out of range; at most 10 s, at least 100 ms after')
        return before, after


class Window(Stage):
    """Cuts every marked bang out of the stream. Holds no more sound than its window, plus 0.1 s.

    Where the stream began, or broke off, inside a window, the missing part is mirrored sound; a bang
    that broke off within 100 ms is given up and counted in `lost`.
    """

    name = "window"
    takes = "Marked"
    gives = "Cut"
    settings_type = WindowSettings

    def __init__(self, sensor: str, settings: WindowSettings) -> None:
        super().__init__(sensor, settings)
        self._before_s, self._after_s = settings.seconds()
        self._ring: deque[Block] = deque()
        self._pending: deque[int] = deque()
        self.lost = 0

    def feed(self, item: Marked) -> Iterator[Cut]:
        """Take one block; yield the bangs whose window is now complete."""
        block = item.block
        if self._ring and (self._end() != block.first or self._ring[-1].rate_hz != block.rate_hz):
            yield from self._break_off()
        self._ring.append(block)
        for onset in item.onsets:
            if len(self._pending) == _PENDING_MAX or onset < self._ring[0].first:
                self.lost += 1
            else:
                self._pending.append(onset)
        after = _count(self._after_s, block.rate_hz)
        while self._pending and self._pending[0] + after <= self._end():
            yield self._cut(self._pending.popleft())
        self._forget()

    def waiting_since_ns(self) -> int | None:
        """Time of the first sample of the oldest bang not cut yet."""
        if not self._pending:
            return None
        return _time_of(self._block_of(self._pending[0]), self._pending[0])

    def _end(self) -> int:
        newest = self._ring[-1]
        return newest.first + len(newest.pcm)

    def _block_of(self, index: int) -> Block:
        return next(b for b in self._ring if b.first <= index < b.first + len(b.pcm))

    def _cut(self, onset: int) -> Cut:
        home = self._block_of(onset)
        rate = home.rate_hz
        first, begin = onset - _count(self._before_s, rate), self._ring[0].first
        last, end = onset + _count(self._after_s, rate), self._end()
        sound = np.concatenate([_mono(b.pcm) for b in self._ring])
        sound = sound[max(first, begin) - begin : min(last, end) - begin]
        if first < begin or last > end:
            sound = np.pad(sound, (max(0, begin - first), max(0, last - end)), "symmetric")
        bang = sound[onset - first :][: _count(_PEAK_S, rate)].astype(np.float64)
        peak = max(float(np.abs(bang).max()), 0.5) / 32768.0
        return Cut(
            t_ns=_time_of(home, onset),
            t_error_ns=home.t_error_ns + ONSET_ERROR_NS,
            rate_hz=rate,
            before=onset - first,
            pcm=sound,
            level=20.0 * float(np.log10(peak)),
        )

    def _break_off(self) -> Iterator[Cut]:
        """Samples were lost: cut what is long enough to be judged, then start afresh."""
        enough = self._end() - _count(_SHORTEST_AFTER_S, self._ring[-1].rate_hz)
        for onset in self._pending:
            if onset <= enough:
                yield self._cut(onset)
            else:
                self.lost += 1
        self._pending.clear()
        self._ring.clear()

    def _forget(self) -> None:
        rate = self._ring[-1].rate_hz
        needed = self._end() - _count(_RING_SLACK_S, rate)
        if self._pending:
            needed = min(needed, self._pending[0])
        needed -= _count(self._before_s, rate)
        while self._ring[0].first + len(self._ring[0].pcm) <= needed:
            self._ring.popleft()


@dataclass(frozen=True)
class ModelSettings(StageSettings):
    """`model = "shot-v1"`: the bundle's name; `score_min` overrides its threshold."""

    bundle: str
    score_min: float | None = None

    def __post_init__(self) -> None:
        if self.score_min is not None and not 0.0 < self.score_min < 1.0:
            raise ValueError("score_min must lie between 0 and 1")


class Model(Stage):
    """Asks the bundle's network what a bang was; yields an Event for each label scored high enough.

    One shot and its echoes are one event; a second shot 400 ms later is its own, unless it is so much
    weaker that it is taken for an echo. Raises BundleError when it is made, if the bundle cannot run.
    """

    name = "model"
    takes = "Cut"
    gives = "Event"
    settings_type = ModelSettings

    def __init__(self, sensor: str, settings: ModelSettings) -> None:
        super().__init__(sensor, settings)
        bundle = load_bundle(find_bundle(settings.bundle))
        self._manifest = bundle.manifest
        self._runner = load_runner(bundle)
        self._threshold = bundle.manifest.threshold if settings.score_min is None else settings.score_min
        self._last: dict[str, tuple[int, float]] = {}  # label -> time of its last event, loudest level since

    @classmethod
    def labels(cls, settings: ModelSettings) -> tuple[str, ...]:
        """What its events may be called. Raises BundleError."""
        return read_manifest(find_bundle(settings.bundle)).labels

    @classmethod
    def misfit(cls, settings: ModelSettings, before: Mapping[str, Any]) -> str:
        """A window shorter than the network's would only show at the first bang. Raises BundleError."""
        need, window = read_manifest(find_bundle(settings.bundle)), before.get("window")
        if not isinstance(window, WindowSettings):
            return ""  # somebody else's stage cuts; what it gives is seen when it gives it
        wanted_ms = (need.before_ms, need.after_ms)
        lacks_s = max(ms / 1000 - given_s for ms, given_s in zip(wanted_ms, window.seconds(), strict=True))
        return _short_window(need) if lacks_s > _NEED_SLACK_S else ""

    def feed(self, item: Cut) -> Iterator[Event]:
        """Judge one bang."""
        scores = self.scores(item)
        for label, score in zip(self._manifest.labels, scores, strict=True):
            if score >= self._threshold and self._is_new(label, item):
                yield Event(
                    t_ns=item.t_ns,
                    sensor=self.sensor,
                    label=label,
                    event_id=os.urandom(8),
                    t_error_ns=item.t_error_ns,
                    score=score,
                    threshold=self._threshold,
                    model=self._manifest.model,
                    level=item.level,
                )

    def scores(self, item: Cut) -> tuple[float, ...]:
        """The network's score of one bang, 0..1, for each of the bundle's labels.

        Raises BundleError if the window before this stage is shorter than the network's.
        """
        shape, need = self._manifest.input, self._manifest
        sound = resample(as_sound(item.pcm), item.rate_hz, shape.rate_hz)
        first = round(item.before * shape.rate_hz / item.rate_hz) - need.before_ms * shape.rate_hz // 1000
        missing = max(-first, first + shape.samples - len(sound), 0)
        if missing > _NEED_SLACK_S * shape.rate_hz:
            raise BundleError(f"{self.sensor}: {_short_window(need)}")
        if missing:  # rounding at odd sample rates
            sound, first = np.pad(sound, missing, "edge"), first + missing
        picture = shape.picture(sound[first : first + shape.samples])
        return tuple(float(s) for s in self._runner.run(picture[None, :, :, None])[0])

    def _is_new(self, label: str, cut: Cut) -> bool:
        """Whether this is another bang, not a part or an echo of the last one; remembers it if it is."""
        if label in self._last:
            t_ns, loudest = self._last[label]
            since = cut.t_ns - t_ns
            if since < _REFRACTORY_NS or (since < _ECHO_NS and cut.level < loudest - _ECHO_DB):
                self._last[label] = (t_ns, max(loudest, cut.level))
                return False
        self._last[label] = (cut.t_ns, cut.level)
        return True


def _short_window(need: Manifest) -> str:
    wanted = f'window = "{need.before_ms} ms / {need.after_ms} ms"'
    return f"model {need.name} needs more sound than the window gives; write {wanted}"


def _count(span_s: float, rate_hz: int) -> int:
    """Samples in a span, rounded up."""
    return int(np.ceil(span_s * rate_hz - 1e-9))


def _mono(pcm: Pcm) -> Pcm:
    return pcm[:, 0] if pcm.ndim == 2 else pcm


def _time_of(block: Block, index: int) -> int:
    """Time of a sample by its index, from the time of a block near it."""
    return block.t_ns + (index - block.first) * 1_000_000_000 // block.rate_hz
