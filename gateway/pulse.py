"""What a bang's sound was like, in numbers: all that ever leaves a box of it besides what it was called.

Every field has one meaning, a unit and bounds, and goes into the record of its event in this order. Eight
band levels say where several boxes heard the same thing; they say nothing of what was said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

BANDS: Final = 8
ROUNDS_MAX: Final = 5  # how many are told apart; 5 stands for more, too
LATER: Final = ROUNDS_MAX - 1
FIELDS: Final = 8 + LATER + BANDS  # elements of a pulse in a record, before its probabilities


@dataclass(frozen=True, slots=True)
class Pulse:
    """One bang. Levels are dB[FS] of AES17 (a full-scale sine is 0); None is not known.

    `rounds`: shots, or whatever it was, counted within its second look, 1 to 5; `suppressed`: onsets that the
    limiter left out since the pulse before; `snr_db`: how far it rose over the running median; `noise_dbfs`:
    that median; `rise_ms`: first sample to peak; `duration_ms`: until it lies 10 dB under its loudest frame;
    `gap_ms`: since the onset before it, None if that is over a minute ago; `crack_ms`: how far the N-wave of
    a bullet runs ahead of the muzzle blast, None if there is none; `later_ms`: where rounds 2 to 5 begin,
    after the first; `bands`: levels of its loudest frame in 8 equal bands of mel over the model's range;
    `probabilities`: calibrated, one for each label of the bundle, in its order, empty without a model.
    """

    rounds: int
    suppressed: int
    snr_db: float
    noise_dbfs: float
    rise_ms: float
    duration_ms: float
    gap_ms: float | None
    crack_ms: float | None
    later_ms: tuple[float, ...]
    bands: tuple[float, ...]
    probabilities: tuple[float, ...]

    def pack(self) -> list[int | None]:
        """As elements of a record: whole numbers, each within its bounds."""
        later = [_steps(ms, 10, 0, 65535) for ms in self.later_ms[:LATER]]
        return [
            _steps(self.rounds, 1, 1, ROUNDS_MAX),
            _steps(self.suppressed, 1, 0, 65535),
            _steps(self.snr_db, 1, 0, 127),
            _steps(self.noise_dbfs, 1, -128, 16),
            _steps(self.rise_ms, 10, 0, 1000),
            _steps(self.duration_ms, 1, 0, 10_000),
            None if self.gap_ms is None else _steps(self.gap_ms, 10, 0, 600_000),
            None if self.crack_ms is None else _steps(self.crack_ms, 10, 0, 5000),
            *later,
            *[None] * (LATER - len(later)),
            *(_steps(level, 1, -128, 16) for level in self.bands),
            *(_steps(p, 1000, 0, 1000) for p in self.probabilities),
        ]


def unpack_pulse(fields: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    """The elements of a pulse as a plain dict. Raises TypeError or IndexError if they are none.

    Probabilities go by the first of `labels`, the sensor's, as many as there are.
    """
    if any(type(each) not in {int, type(None)} for each in fields):
        raise TypeError("a pulse holds whole numbers")
    rounds, suppressed, snr, noise, rise, duration, gap, crack = fields[:8]
    later = [ms / 10 for ms in fields[8 : 8 + LATER] if ms is not None]
    bands = list(fields[8 + LATER : FIELDS])
    if len(bands) != BANDS:
        raise IndexError("a pulse has eight bands")
    return {
        "rounds": rounds,
        "suppressed": suppressed,
        "snr_db": snr,
        "noise_dbfs": noise,
        "rise_ms": rise / 10,
        "duration_ms": duration,
        "gap_ms": None if gap is None else gap / 10,
        "crack_ms": None if crack is None else crack / 10,
        "later_ms": later,
        "bands": bands,
        "probabilities": {label: p / 1000 for label, p in zip(labels, fields[FIELDS:], strict=False)},
    }


def _steps(value: float, per_unit: int, low: int, high: int) -> int:
    return min(max(round(value * per_unit), low), high)
