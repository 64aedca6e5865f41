"""Where the product's own onset finder goes off in a recording, and how far the bang rises there."""

from dataclasses import dataclass
from typing import Final

from gateway.features import Samples
from gateway.onset import OVER_DB, OnsetFinder

_BLOCK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Trigger:
    """`first`: index of the bang's first sample; `level_db`: how loud it gets within 25 ms, of full scale;
    `prominence_db`: that level over the running median before it.
    """

    first: int
    level_db: float
    prominence_db: float


def triggers(sound: Samples, rate_hz: int, over_db: float = OVER_DB) -> list[Trigger]:
    """Every onset in `sound`, in order of time."""
    finder = OnsetFinder(over_db)
    finder.start(0, rate_hz)
    size = int(_BLOCK_S * rate_hz)  # in blocks, as on a box: the finder is quicker once it knows its median
    return [
        Trigger(found.first, found.level, found.over_db)
        for at in range(0, len(sound), size)
        for found in finder.find(sound[at : at + size])
    ]
