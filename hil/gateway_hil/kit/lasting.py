"""Silver, without a port: a driver that was reset is as good as new, and it does not grow with the years."""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count, cycle, islice, pairwise
from pathlib import Path
from typing import Any, Final

from gateway.driver import BadFrame, Driver, SerialDriver, Values
from gateway_hil.kit.exchange import decoded, exchange, guarded, recorded, shown
from gateway_hil.kit.rules import Failure, NotAsked
from gateway_hil.kit.subject import Subject

ROUNDS: Final = 10
WARM: Final = 3000  # frames until every cache is full
STRETCH: Final = 3000  # frames between two looks at the memory
GROWTH_MAX: Final = 2000.0  # bytes per 1,000 frames; an int kept for each frame is 32,000


def as_new(subject: Subject) -> str:
    """After reset() ten rounds give what they gave a new driver: a replug costs no frame."""
    new, again = _rounds_before_and_after(subject)
    if new == 0:
        raise Failure(f"{ROUNDS} rounds of the emulator, or of its best case, give no reading at all")
    if again < new:
        raise Failure(
            f"{ROUNDS} rounds give a new driver {new} readings, and {again} after reset(): a replug costs "
            "frames; set up in reset() everything that decode() remembers"
        )
    return f"{again} of {new} readings"


def _rounds_before_and_after(subject: Subject) -> tuple[int, int]:
    if issubclass(subject.kind, SerialDriver):
        talk = exchange(subject)
        rounds = ROUNDS if subject.emulator else max(ROUNDS, 4)
        new = sum(len(talk.round()) for _ in range(rounds))
        talk.open()
        return new, sum(len(talk.round()) for _ in range(rounds))
    driver, rounds_of = subject.driver(), _shower(subject)

    def ten() -> int:
        return sum(_says(driver, frame) is not None for _ in range(ROUNDS) for frame in rounds_of())

    new = ten()
    guarded(driver.reset, "reset()")
    return new, ten()


def _shower(subject: Subject) -> Callable[[], list[Any]]:
    """Gives the frames of one more round: the emulator's, or a frame of the cases."""
    if subject.emulator is not None:
        emulator = subject.emulated()
        return lambda: shown(subject, emulator)
    frames = cycle(recorded(subject) or [None])
    first = next(frames)
    if first is None:
        raise NotAsked(f"{subject.name} has neither emulator nor case")
    return lambda: [next(frames)]


def _says(driver: Driver, frame: Any) -> Values | None:
    try:
        return decoded(driver, frame)
    except BadFrame:
        return None


def grows(subject: Subject) -> str:
    """Bytes that Python allocated per 1,000 rounds, good and bad ones, after a warm-up."""
    step = _stepper(subject)
    for _ in range(WARM):
        step()
    gc.collect()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for _ in range(STRETCH):
                step()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        slopes = [(after - before) * 1000 / STRETCH for before, after in pairwise(sizes)]
        slope = min(slopes)  # what grew in one stretch only was a cache, not a leak
        where = _where(subject)
    finally:
        tracemalloc.stop()
    if slope > GROWTH_MAX:
        raise Failure(
            f"it grows by {slope / 1000:.1f} kB per 1,000 frames, most of it from {where}; "
            "keep a bounded number of things (deque(maxlen=...)) between frames"
        )
    return f"{slope:+.0f} B per 1,000 frames"


def _where(subject: Subject) -> str:
    """The line of the driver's package that holds most of what was allocated; of anybody's if none does."""
    folder = Path(sys.modules[subject.kind.__module__].__file__ or "").parent
    snapshot = tracemalloc.take_snapshot()
    own = snapshot.filter_traces((tracemalloc.Filter(True, f"{folder}/*"),)).statistics("lineno")
    others = snapshot.filter_traces((tracemalloc.Filter(False, "*gateway_hil*"),)).statistics("lineno")
    top = own or others
    return f"{top[0].traceback[0].filename}:{top[0].traceback[0].lineno}" if top else "its extension module"


def _stepper(subject: Subject) -> Callable[[], None]:
    if issubclass(subject.kind, SerialDriver):
        talk = exchange(subject)

        def ask() -> None:
            talk.round()

        return ask
    driver, rounds_of = subject.driver(), _shower(subject)
    return lambda: _all(driver, rounds_of())


def _all(driver: Driver, frames: list[Any]) -> None:
    for frame in frames:
        _says(driver, frame)


def readings_a_round(subject: Subject) -> float:
    """How many readings a round gives once the driver has settled; of a recording: a frame of `frames_of`.

    Of a device that only answers a round is an answer: a conversation may need several for one reading.
    """
    if issubclass(subject.kind, SerialDriver):
        talk = exchange(subject)
        for _ in range(ROUNDS):
            talk.round()
        before = talk.answers
        readings = sum(len(talk.round()) for _ in range(ROUNDS))
        return readings / (max(1, talk.answers - before) if talk.only_answers else ROUNDS)
    driver, frames = subject.driver(), list(islice(frames_of(subject), 6 * ROUNDS))
    return sum(_says(driver, frame) is not None for frame in frames) / len(frames)


def frames_of(subject: Subject) -> Iterator[Any]:
    """Frames to write into a capture, round after round, for ever. What is on or off goes on and off."""
    if subject.emulator is None:
        rounds_of = _shower(subject)
        while True:
            yield from rounds_of()
    emulator = subject.emulated()
    switches = [name for name, each in emulator.shows.items() if isinstance(each.low, bool)]
    for n in count():
        emulator.become(dict.fromkeys(switches, n % 2 == 1))
        yield from shown(subject, emulator)
