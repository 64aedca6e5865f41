"""One microphone, or several heard as one: how loud the street is. What is heard never leaves the box.

The level is the mean over `every_s` of the square of all samples, unweighted. Like the meters of
AES17-2020 it counts from a full-scale sine (0 dB[FS]), which puts a full-scale square wave at +3.01.
`calibration_db` is the sound pressure level that makes the microphone read 0 dB[FS]: hold a 94 dB
calibrator to it, and take 94 minus the level then reported.
"""

from dataclasses import dataclass
from math import log10
from typing import Annotated, Final

import numpy as np
from annotated_types import Interval

from gateway.driver import Measure, Settings, Values
from gateway.media import AudioDriver, Block

_FULL_SCALE_SINE: Final = 32768.0**2 / 2  # mean square
_FLOOR: Final = 1e-12  # -120 dB: digital silence is a number, too


@dataclass(frozen=True)
class MicrophoneSettings(Settings):
    """Seconds a level covers; dB SPL at 0 dB[FS], if the microphone was calibrated; samples a second,
    for a card that cannot do 48000.
    """

    every_s: Annotated[float, Interval(ge=0.1, le=3600)] = 1.0
    calibration_db: Annotated[float, Interval(ge=0, le=200)] | None = None
    rate_hz: Annotated[int, Interval(ge=8_000, le=192_000)] = 48_000


class Microphone(AudioDriver):
    """Level of all channels together."""

    rate_hz, channels, block_ms = 48_000, 1, 20
    emits = (Measure("level", "dB[FS]"), Measure("level_spl", "dB[SPL]"))
    settings: MicrophoneSettings

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """Sound pressure only where somebody calibrated it."""
        calibrated = getattr(settings, "calibration_db", None) is not None
        return cls.emits if calibrated else cls.emits[:1]

    def rate_for(self) -> int:
        """As its settings have it."""
        return self.settings.rate_hz

    def reset(self) -> None:
        """Begin a new mean."""
        self._squares, self._samples, self._seconds = 0.0, 0, 0.0

    def decode(self, frame: Block) -> Values | None:
        """Adds one block to the mean; the level when the mean covers `every_s`."""
        samples = frame.pcm.astype(np.float32).ravel()
        self._squares += float(np.dot(samples, samples))
        self._samples += samples.size
        self._seconds += len(frame.pcm) / frame.rate_hz
        if self._samples == 0 or self._seconds < self.settings.every_s - 1e-6:
            return None
        level = 10 * log10(max(self._squares / self._samples / _FULL_SCALE_SINE, _FLOOR))
        self.reset()
        if self.settings.calibration_db is None:
            return {"level": level}
        return {"level": level, "level_spl": level + self.settings.calibration_db}
