"""CPU a line: the same lines to every reader in turn, round by round: a busy machine is unfair to all."""

import statistics
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.common.progress import say
from benchmarks.serial.lines import line
from benchmarks.serial.listener import Listener, wait_until_heard, write

SINGLE: Final = 300  # lines a turn, one at a time
SLOW: Final = 100  # of whoever is held to a rate, and no bursts
PAUSE_S: Final = 0.002
BURSTS, BURST = 12, 32  # writes a turn, lines in each
_FIRST: Final = 1000


def costs(listeners: Sequence[Listener], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds of CPU a line by reader and way: "single" and "burst", one figure a round."""
    found: dict[str, dict[str, list[float]]] = {each.title: {"single": [], "burst": []} for each in listeners}
    for round_ in range(rounds):
        order = [*listeners[round_ % len(listeners) :], *listeners[: round_ % len(listeners)]]
        for listener in order:
            singles = SLOW if listener.is_held_to_a_rate else SINGLE
            found[listener.title]["single"].append(_turn(listener, [line(n) for n in _numbers(singles)]))
            if listener.is_held_to_a_rate:
                continue
            bursts = [line(n) for n in _numbers(BURSTS * BURST)]
            writes = [b"".join(bursts[at : at + BURST]) for at in range(0, len(bursts), BURST)]
            found[listener.title]["burst"].append(_turn(listener, writes, pause_s=0.02))
        say(f"CPU a line, round {round_ + 1} of {rounds}")
    return found


def _numbers(count: int) -> range:
    return range(_FIRST, _FIRST + count)


def _turn(listener: Listener, writes: list[bytes], pause_s: float = PAUSE_S) -> float:
    """Microseconds a line. Raises SystemExit if not all lines arrive: a cost of nothing is no cost."""
    count = sum(each.count(b"\n") for each in writes)
    before = listener.heard().cpu_ns
    for octets in writes:
        write(listener, octets)
        time.sleep(pause_s)
    wanted = set(_numbers(count))
    heard = wait_until_heard(listener, wanted)
    if not wanted <= {number for number, _ in heard.numbers}:
        raise SystemExit(f"{listener.title}: {len(heard.numbers)} of {count} lines arrived")
    return (heard.cpu_ns - before) / 1000 / count


def median(figures: Sequence[float]) -> float | None:
    """Of the rounds; None if there were none."""
    return statistics.median(figures) if figures else None


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the rounds' ratios: both of a round met the same machine."""
    return median([a / b for a, b in zip(ours, theirs, strict=False)])
