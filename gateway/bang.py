"""One bang that is being listened to: its frames of mel power as sound comes, and what is known of it."""

from dataclasses import dataclass, field, replace

import numpy as np

from gateway.features import FrontEnd, MelStream, Samples
from gateway.manifest import Look
from gateway.onset import Found
from gateway.pulse import Pulse
from gateway.pulseshape import band_levels, crack_ms, duration_ms, peak_level
from gateway.soundring import SoundRing
from gateway.verdict import NO_OPINION, Opinion


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of an onset when it is found: which it is in its stream, and what came before it."""

    number: int
    found: Found
    suppressed: int
    gap_ms: float | None
    t_ns: int
    t_error_ns: int


@dataclass(slots=True, eq=False)
class Bang:
    """Hears the sound from `before_ms` before the onset on; `answers` are the logits of its looks so far."""

    noted: Noted
    front_end: FrontEnd
    before_ms: int
    rate_hz: int
    answers: list[Samples] = field(default_factory=list)
    opinion: Opinion = NO_OPINION
    level: float = 0.0
    looked: int = 0  # looks that are done
    _pulse: Pulse | None = None
    _stream: MelStream = field(init=False)
    _power: Samples = field(init=False)
    _more: list[Samples] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stream = MelStream(self.front_end, self.rate_hz)
        self._power = np.zeros((0, self.front_end.shape.bands), np.float32)

    @property
    def first(self) -> int:
        """Index of its first sample."""
        return self.noted.found.first

    @property
    def begins(self) -> int:
        """Index of the first sample it hears."""
        return self.first - -(-self.before_ms * self.rate_hz // 1000)

    def due(self, look: Look) -> int:
        """Index of the sample at which a look's sound is over."""
        return self.first + look.after_ms * self.rate_hz // 1000

    def hear(self, sound: Samples) -> None:
        """The next sound."""
        self._more.append(self._stream.push(sound))

    def power(self, frames: int, *, broken: bool = False) -> Samples | None:
        """The first frames of mel power; None if they are not there yet. A stream that is broken off is
        continued by its mirror image.
        """
        if self._more:
            self._power = np.concatenate((self._power, *self._more))
            self._more.clear()
        if broken and 0 < len(self._power) < frames:
            return np.pad(self._power, ((0, frames - len(self._power)), (0, 0)), "symmetric")
        return self._power[:frames] if len(self._power) >= frames else None

    def end(self) -> None:
        """The sound is over."""
        self._more.append(self._stream.end())

    def pulse(self, ring: SoundRing, power: Samples, rounds_ms: tuple[float, ...]) -> Pulse:
        """What it was like, by the frames of the look just done; `rounds_ms` is when each round begins."""
        shape = self.front_end.shape
        since = power[max(0, self.before_ms // shape.hop_ms - 1) :]
        lasted = duration_ms(since, shape.hop_ms) if len(since) else 0.0
        if self._pulse is None:
            end = self.first + self.rate_hz * 3 // 10
            sound = ring.sound(self.first, min(end, ring.end))
            self.level, rise_ms = peak_level(sound, self.rate_hz)
            found = self.noted.found
            loudest = since[: max(1, 100 // shape.hop_ms)] if len(since) else power
            self._pulse = Pulse(
                rounds=1,
                suppressed=self.noted.suppressed,
                snr_db=found.over_db,
                noise_dbfs=found.floor,
                rise_ms=rise_ms,
                duration_ms=lasted,
                gap_ms=self.noted.gap_ms,
                crack_ms=crack_ms(sound, self.rate_hz),
                later_ms=(),
                bands=band_levels(loudest, self.front_end),
                probabilities=(),
            )
        return replace(
            self._pulse,
            rounds=len(rounds_ms),
            duration_ms=lasted,
            later_ms=tuple(at - rounds_ms[0] for at in rounds_ms[1:]),
            probabilities=self.opinion.probabilities,
        )
