"""The tables, and what must hold."""

from typing import Final

from benchmarks.common.promise import Promise
from benchmarks.common.table import figure, table
from benchmarks.serial.cost import median, ratio
from benchmarks.serial.faults import AFTER, PAUSE_S, ROUNDS, Fate
from benchmarks.serial.listener import WholeBox
from benchmarks.serial.readers import READERS

OURS: Final = READERS["ours"].title
LOOP: Final = READERS["loop"].title

Costs = dict[str, dict[str, list[float]]]  # microseconds a line: by reader, by way, one a round


def fate_table(lives: list[Fate]) -> str:
    """A row a reader."""
    head = (
        "after an unplug",
        f"of {AFTER} lines",
        "open again",
        "first line",
        f"{PAUSE_S:g} s within a line",
    )
    head += (f"noise: lost of {ROUNDS}", "goes on")
    rows = [
        (
            fate.title,
            str(fate.arrived),
            "never" if fate.open_s is None else f"{fate.open_s:.2f} s",
            "never" if fate.first_s is None else f"{fate.first_s:.2f} s",
            "one reading" if (fate.pieces, fate.whole) == (1, True) else f"{fate.pieces} pieces",
            str(fate.good_lost),
            "yes" if fate.goes_on else "NO",
        )
        for fate in lives
    ]
    return table(head, rows)


def cost_table(cpu: Costs) -> str:
    """A row a reader: CPU of a line by itself, and of one among many."""
    head = (
        "CPU µs a line, decoder included",
        "one at a time",
        "÷ os.read + split",
        "32 at a time",
        "÷ os.read + split",
    )
    rows = [
        (
            title,
            figure(median(ways["single"])),
            figure(ratio(ways["single"], cpu[LOOP]["single"])),
            figure(median(ways["burst"])),
            figure(ratio(ways["burst"], cpu[LOOP]["burst"])),
        )
        for title, ways in cpu.items()
    ]
    return table(head, rows)


def own_part(cpu: Costs) -> float | None:
    """What a whole worker costs beyond its port, in microseconds a line."""
    pairs = zip(cpu[WholeBox.title]["single"], cpu[OURS]["single"], strict=True)
    return median([whole - port for whole, port in pairs])


def promises(ours: Fate, cpu: Costs) -> list[Promise]:
    """What must hold."""
    is_one = (ours.pieces, ours.whole) == (1, True)
    return [
        Promise("arrived", f"lines of {AFTER} that arrive after a replug", ours.arrived, 9, at_least=True),
        Promise("first_s", "seconds from the replug to the first", ours.first_s or float("inf"), 2),
        Promise("pieces", "a line in two pieces is one reading", float(is_one), 1, at_least=True),
        Promise("noise", "lines after noise arrive", float(ours.goes_on), 1, at_least=True),
        Promise(
            "cpu", "port + framing ÷ os.read + split", ratio(cpu[OURS]["single"], cpu[LOOP]["single"]), 1.3
        ),
        Promise(
            "cpu_burst", "the same, 32 lines at a time", ratio(cpu[OURS]["burst"], cpu[LOOP]["burst"]), 1.3
        ),
    ]


def more_ratios(cpu: Costs) -> dict[str, float | None]:
    """For information: every reader over ours, a line at a time."""
    return {
        f"cpu_{entry.name}_over_ours": ratio(cpu[entry.title]["single"], cpu[OURS]["single"])
        for entry in READERS.values()
        if entry.title != OURS
    }
