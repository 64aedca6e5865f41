"""What becomes of lines: an unplug between them, a pause within one, noise. All readers at once."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.serial.lines import line
from benchmarks.serial.listener import Listener, wait_until_heard, write

AFTER: Final = 10  # lines after the replug
AWAY_S: Final = 1.0
EVERY_S: Final = 0.5
PAUSE_S: Final = 1.6  # within a line
ROUNDS: Final = 200  # of noise, each with a good line behind it
_END_S: Final = 1.5  # for what is still under way


@dataclass
class Fate:
    """What one reader made of the three. `open_s` and `first_s` are seconds from the replug; None: never."""

    title: str
    arrived: int = 0
    open_s: float | None = None
    first_s: float | None = None
    pieces: int = 0  # what it took for lines of the one line with a pause in it
    whole: bool = False  # one of them was that line
    good_lost: int = 0  # of ROUNDS
    goes_on: bool = False  # lines after all the noise arrive


def fates(listeners: Sequence[Listener]) -> list[Fate]:
    """The split line first, then noise, then the unplug, which not everybody survives."""
    found = [Fate(listener.title) for listener in listeners]
    _split(listeners, found)
    _noise(listeners, found)
    _unplug(listeners, found)
    return found


def _split(listeners: Sequence[Listener], found: list[Fate]) -> None:
    half = len(line(7)) // 2
    for part in (line(7)[:half], line(7)[half:]):
        for listener in listeners:
            write(listener, part)
        time.sleep(PAUSE_S)
    for listener, fate in zip(listeners, found, strict=True):
        heard = wait_until_heard(listener, {7}, 0.0)
        fate.pieces, fate.whole = heard.frames, any(number == 7 for number, _ in heard.numbers)


def _noise(listeners: Sequence[Listener], found: list[Fate]) -> None:
    chance = random.Random(5)
    for number in range(100, 100 + ROUNDS):
        noise = chance.randbytes(chance.randint(1, 40))
        for listener in listeners:
            write(listener, noise + line(number))
        time.sleep(0.01)
    wanted = set(range(100, 100 + ROUNDS))
    after = set(range(400, 405))
    for number in after:
        for listener in listeners:
            write(listener, line(number))
        time.sleep(0.05)
    for listener, fate in zip(listeners, found, strict=True):
        numbers = {number for number, _ in wait_until_heard(listener, after, _END_S).numbers}
        fate.good_lost, fate.goes_on = len(wanted - numbers), after <= numbers


def _unplug(listeners: Sequence[Listener], found: list[Fate]) -> None:
    for listener in listeners:
        listener.heard()
        listener.wire.unplug()
    time.sleep(AWAY_S)
    plugged_ns = time.monotonic_ns()
    for listener in listeners:
        listener.wire.plug()
    for number in range(1, AFTER + 1):
        due_s = plugged_ns / 1e9 + number * EVERY_S
        while time.monotonic() < due_s:
            for listener, fate in zip(listeners, found, strict=True):
                if fate.open_s is None and listener.wire.has_reader():
                    fate.open_s = (time.monotonic_ns() - plugged_ns) / 1e9
            time.sleep(0.01)
        for listener in listeners:
            listener.wire.write(line(number))  # lost, as on a real line, where nobody has it open
    for listener, fate in zip(listeners, found, strict=True):
        heard = wait_until_heard(listener, {AFTER}, _END_S)
        came = {number: t_ns for number, t_ns in reversed(heard.numbers) if 1 <= number <= AFTER}
        fate.arrived = len(came)
        fate.first_s = (min(came.values()) - plugged_ns) / 1e9 if came else None
