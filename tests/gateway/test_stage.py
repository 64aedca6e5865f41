"""Throttle and on_change, and how items find their stages."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reading import Reading
from gateway.stage import (
    OnChange,
    OnChangeSettings,
    Stage,
    Throttle,
    ThrottleSettings,
    decibels,
    run_stages,
    seconds,
)


def readings(*values: float | None, every_s: float = 1.0) -> list[Reading]:
    return [Reading(int(n * every_s * 1e9), "s", {"v": value}) for n, value in enumerate(values)]


def through(stage: Stage, items: list[Reading]) -> list[float | None]:
    return [out.values["v"] for item in items for out in stage.feed(item)]


def test_throttle_passes_the_first_and_then_one_an_interval() -> None:
    throttle = Throttle("s", ThrottleSettings("3 s"))
    assert through(throttle, readings(0, 1, 2, 3, 4, 5, 6, 7)) == [0, 3, 6]


@given(st.lists(st.integers(0, 10**10), max_size=40).map(sorted), st.integers(1, 5000))
def test_throttle_never_passes_two_within_its_interval(times: list[int], every_ms: int) -> None:
    throttle = Throttle("s", ThrottleSettings(f"{every_ms} ms"))
    passed = [out.t_ns for t_ns in times for out in throttle.feed(Reading(t_ns, "s", {}))]
    assert all(b - a >= every_ms * 10**6 for a, b in itertools.pairwise(passed))
    assert passed[:1] == times[:1]


def test_on_change_passes_what_moved_enough_since_the_last_passed() -> None:
    on_change = OnChange("s", OnChangeSettings(0.5))
    assert through(on_change, readings(1.0, 1.2, 1.4, 1.6, 1.5, None, None, 1.6)) == [1.0, 1.6, None, 1.6]


def test_on_change_beats_though_nothing_moves() -> None:
    on_change = OnChange("s", OnChangeSettings(0.5, at_least="3 s"))
    assert len(through(on_change, readings(*[1.0] * 8))) == 3


def test_on_change_of_zero_passes_every_difference_and_no_repetition() -> None:
    assert through(OnChange("s", OnChangeSettings(0)), readings(0, 0, 1, 1, 0)) == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "value"), [("500 ms", 0.5), ("10 s", 10.0), ("1.5min", 90.0), (" 2 h ", 7200.0)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "10", "s", "-1 s", "10 parsecs", "1 s 2 s"])
def test_what_is_no_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="500 ms"):
        seconds(text)


def test_decibels() -> None:
    assert decibels("12 dB") == 12.0
    with pytest.raises(ValueError, match="12 dB"):
        decibels("12")


class Doubled(Stage):
    name = "doubled"
    takes = "int"

    def feed(self, item: int) -> Iterator[Any]:
        yield item
        yield str(item)


def test_an_item_meets_the_stages_that_take_its_type_in_order() -> None:
    assert list(run_stages([Doubled("s", None), Doubled("s", None)], 1)) == [1, "1", "1"]
    assert list(run_stages([Doubled("s", None)], "untouched")) == ["untouched"]
