"""What `./dev bench serial` counts and concludes; and one reader in its child, for real."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serial.cost import ratio
from benchmarks.serial.faults import Fate
from benchmarks.serial.lines import LAST, line, number_in
from benchmarks.serial.listener import Reader, WholeBox, wait_until_heard, wake, write
from benchmarks.serial.readers import READERS
from benchmarks.serial.tables import LOOP, OURS, cost_table, fate_table, own_part, promises

GOOD = Fate(WholeBox.title, arrived=10, open_s=0.1, first_s=0.5, pieces=1, whole=True, goes_on=True)


@given(st.integers(0, LAST))
def test_a_line_has_its_number(number: int) -> None:
    assert number_in(line(number).rstrip()) == number


def test_half_a_line_has_none() -> None:
    assert [number_in(part) for part in (line(7)[:12], line(7)[12:].rstrip(), b"")] == [None] * 3


def costs(ours: float, loop: float) -> dict:
    found = {entry.title: {"single": [90.0] * 3, "burst": [9.0] * 3} for entry in READERS.values()}
    found[WholeBox.title] = {"single": [150.0] * 3, "burst": []}
    found[OURS] = {"single": [ours, 2 * ours, 3 * ours], "burst": [5.0] * 3}
    found[LOOP] = {"single": [loop, 2 * loop, 3 * loop], "burst": [5.0] * 3}
    return found


def broken(fate: Fate, cpu: dict) -> list[str]:
    return [promise.key for promise in promises(fate, cpu) if not promise.kept]


def test_what_holds_and_what_is_broken() -> None:
    assert broken(GOOD, costs(60, 50)) == []
    assert broken(GOOD, costs(66, 50)) == ["cpu"]
    lost = Fate("ours", arrived=8, first_s=2.1, pieces=2, goes_on=False)
    assert broken(lost, costs(60, 50)) == ["arrived", "first_s", "pieces", "noise"]
    assert broken(Fate("ours"), costs(60, 50)) == ["arrived", "first_s", "pieces", "noise"]


def test_a_ratio_is_of_one_round_each() -> None:
    assert ratio([10, 30, 20], [10, 15, 10]) == 2
    assert ratio([], [1.0]) is None


def test_a_line_that_came_twice_is_no_single_reading() -> None:
    twice = Fate(WholeBox.title, arrived=10, first_s=0.5, pieces=2, whole=True, goes_on=True)
    assert broken(twice, costs(60, 50)) == ["pieces"]


def test_the_tables_name_everybody() -> None:
    shown = fate_table([GOOD, Fate("other")]) + cost_table(costs(60, 50))
    assert all(entry.title in shown for entry in READERS.values())
    assert "never" in shown
    assert own_part(costs(60, 50)) == 30


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ours", "loop", "blocking", "pyserial"])
def test_a_reader_hears_what_is_written(name: str, tmp_path: Path) -> None:
    with Reader(READERS[name], tmp_path) as reader:
        wake(reader)
        write(reader, line(2) + line(3)[:9])
        first = wait_until_heard(reader, {2})
        write(reader, line(3)[9:])
        second = wait_until_heard(reader, {3})
    assert [number for number, _ in first.numbers + second.numbers] == [2, 3]
    assert (first.frames, second.frames) == (1, 1)
    assert second.cpu_ns > first.cpu_ns > 0
