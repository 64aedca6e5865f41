"""One microphone, or several heard as one: how loud the street is. What is heard never leaves the box.

`level` is the mean over `every_s` of the square of all samples, unweighted. Like the meters of AES17-2020 it
counts from a full-scale sine (0 dB[FS]), which puts a full-scale square wave at +3.01. LAeq, LCeq and LAmax
(IEC 61672-1) cover the eighths of a second that ended in it; L10, L50, L90, the minute's own LAeq and LAmax,
and with `bands` the thirds of octaves (IEC 61260-1), come with the reading that ends a minute. A `throttle`
would leave those out.

With `channels` a card's microphones are heard as one: levels are their mean, bangs are looked for in the
first. Health records tell of one that is silent, turned round or has changed places with another.

`calibration_db` is the sound pressure level that makes the microphone read 0 dB[FS]: hold a 94 dB
calibrator to it, and take 94 minus the level then reported. Without it, levels end in _fs: of full scale.
"""

from dataclasses import dataclass
from math import log10
from typing import Annotated, Final

import numpy as np
from annotated_types import Interval

from gateway.driver import Measure, Settings, Values
from gateway.media import AudioDriver, Block, Pcm
from gateway.soundlevel import MINUTE_S, Levels, Minute, SoundLevels, band_names

_FULL_SCALE_SINE: Final = 32768.0**2 / 2  # mean square
_FLOOR: Final = 1e-12  # -120 dB: digital silence is a number, too
_LEVELS: Final = ("laeq", "lceq", "lamax")
_MINUTE: Final = ("l10", "l50", "l90", "laeq_60s", "lamax_60s")
_OF_FULL_SCALE: Final = tuple(Measure(f"{name}_fs", "dB[FS]") for name in _LEVELS + _MINUTE)
_CALIBRATED: Final = tuple(Measure(name, "dB[SPL]") for name in _LEVELS + _MINUTE)


@dataclass(frozen=True)
class MicrophoneSettings(Settings):
    """Seconds a level covers; dB SPL at 0 dB[FS], if the microphone was calibrated; samples a second,
    for a card that cannot do 48000; microphones on one card; whether to measure in thirds of octaves, too.
    """

    every_s: Annotated[float, Interval(ge=0.1, le=3600)] = 1.0
    calibration_db: Annotated[float, Interval(ge=0, le=200)] | None = None
    rate_hz: Annotated[int, Interval(ge=8_000, le=192_000)] = 48_000
    channels: Annotated[int, Interval(ge=1, le=8)] = 1
    bands: bool = False


class Microphone(AudioDriver):
    """Levels of all channels together."""

    # A quiet microphone costs mostly what waking up costs: blocks of 100 ms take half of what 20 ms took,
    # and a shot is told 40 ms later in the mean.
    rate_hz, channels, block_ms = 48_000, 1, 100
    emits = (Measure("level", "dB[FS]"), Measure("level_spl", "dB[SPL]"), *_OF_FULL_SCALE, *_CALIBRATED)
    settings: MicrophoneSettings

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """Sound pressure only where somebody calibrated it; what comes once a minute last."""
        assert isinstance(settings, MicrophoneSettings)
        if settings.calibration_db is None:
            levels, unit = (cls.emits[0], *_OF_FULL_SCALE), "dB[FS]"
        else:
            levels, unit = (*cls.emits[:2], *_CALIBRATED), "dB[SPL]"
        return levels + tuple(Measure(name, unit) for name in _band_names(settings))

    def rate_for(self) -> int:
        """As its settings have it."""
        return self.settings.rate_hz

    def channels_for(self) -> int:
        """As its settings have it."""
        return self.settings.channels

    def reset(self) -> None:
        """Begin a new mean, and a new minute."""
        self._levels: SoundLevels | None = None
        self._next = 0
        self._begin()

    def decode(self, frame: Block) -> Values | None:
        """Adds one block to the means; the levels when they cover `every_s`, or a minute."""
        shape = (frame.rate_hz, frame.pcm.shape[1])
        if self._levels is None or self._levels.shape != shape:
            self._levels = SoundLevels(*shape, bands=self.settings.bands)
        elif frame.first != self._next:
            self._levels.start()
        self._next = frame.first + len(frame.pcm)
        # A mean ends with its last sample, wherever in a block that lies.
        lacks = max(0, round(self.settings.every_s * frame.rate_hz) - self._samples)
        self._hear(self._levels, frame.pcm[:lacks])
        values: dict[str, float] = {}
        is_due = lacks <= len(frame.pcm)
        if is_due:
            values = self._since_last(self._levels)
            self._begin()
        if is_due or self.settings.every_s > MINUTE_S:
            values |= self._last_minute(self._levels)
        self._hear(self._levels, frame.pcm[lacks:])
        return values or None

    def _begin(self) -> None:
        self._squares, self._samples = 0.0, 0

    def _hear(self, levels: SoundLevels, pcm: Pcm) -> None:
        if len(pcm):
            levels.push(pcm)
            samples = pcm.astype(np.float32).ravel()
            self._squares += float(np.dot(samples, samples)) / pcm.shape[1]
            self._samples += len(pcm)

    def _since_last(self, sound: SoundLevels) -> dict[str, float]:
        level = 10 * log10(max(self._squares / self._samples / _FULL_SCALE_SINE, _FLOOR))
        plain, levels = {"level": level}, sound.take()
        if self.settings.calibration_db is not None:
            plain["level_spl"] = level + self.settings.calibration_db
        return plain if levels is None else plain | self._named(_LEVELS, levels)

    def _last_minute(self, sound: SoundLevels) -> dict[str, float]:
        minute = sound.take_minute()
        if minute is None:
            return {}
        # Not strict: a recording's rate may be another than the settings'.
        bands = zip(_band_names(self.settings), minute.bands, strict=False)
        return self._named(_MINUTE, minute) | {name: level + self._zero() for name, level in bands}

    def _named(self, names: tuple[str, ...], levels: Levels | Minute) -> dict[str, float]:
        suffix = "_fs" if self.settings.calibration_db is None else ""
        return {name + suffix: getattr(levels, name) + self._zero() for name in names}

    def _zero(self) -> float:
        return self.settings.calibration_db or 0.0


def _band_names(settings: MicrophoneSettings) -> tuple[str, ...]:
    if not settings.bands:
        return ()
    of = "band" if settings.calibration_db is None else "band_spl"
    return tuple(f"{of}_{nominal}" for nominal in band_names(settings.rate_hz))
