"""The lines of a GPIO port without a chip: lost edges are counted, and what cannot be shared is refused."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import Command, Edge, GpioDriver, Measure, Settings, Values, Wiring
from gateway.errors import ConfigError
from gateway.ports.gpiolines import EdgeCount, lines_of
from gateway_drivers.door_contact import DoorContact, DoorContactSettings
from gateway_drivers.gpio_relay import GpioRelay, GpioRelaySettings
from gateway_drivers.pir import Pir, PirSettings
from gateway_drivers.sds011 import Sds011


def test_edges_in_a_row_are_complete() -> None:
    count = EdgeCount()
    assert [count.take(n, n % 2 == 1) for n in range(1, 10)] == [0] * 9
    assert count.lost == 0


@pytest.mark.parametrize(
    ("number", "rising", "lost"),
    [
        (2, False, 0),
        (2, True, 1),  # two rises in a row: the fall between them came with one of them
        (3, True, 1),
        (3, False, 2),  # one number is missing, yet the level is the other one: two are
        (12, False, 10),
        (12, True, 11),
    ],
)
def test_a_jump_of_the_number_or_a_level_twice_is_counted(number: int, rising: bool, lost: int) -> None:
    count = EdgeCount()
    count.take(1, True)
    assert count.take(number, rising) == lost


def test_edges_lost_before_the_first_one_read_are_counted() -> None:
    assert EdgeCount().take(137, True) == 136


def test_the_kernels_numbers_begin_anew_after_four_thousand_million() -> None:
    count = EdgeCount(last=2**32 - 2, level=False)
    assert [count.take(2**32 - 1, True), count.take(0, False), count.take(3, True)] == [0, 0, 2]
    assert count.lost == 2


@given(st.lists(st.sampled_from(["kept", "dropped", "merged with the next"]), max_size=60))
def test_what_is_read_and_what_is_counted_never_exceed_what_was(fates: list[str]) -> None:
    """Edges alternate. The kernel numbers those it sees; one merged with the next never has a number."""
    count, number, read, merged = EdgeCount(), 0, 0, 0
    for n, fate in enumerate(fates):
        if fate == "merged with the next":
            merged += 1
            continue
        number += 1
        if fate == "kept":
            count.take(number, n % 2 == 0)
            read += 1
    trailing = next((i for i, fate in enumerate(reversed(fates)) if fate == "kept"), len(fates))
    before_the_last = len(fates) - trailing
    assert read + count.lost <= before_the_last
    if merged == 0:
        assert read + count.lost == before_the_last


def relay(line: str, feedback: str = "") -> GpioRelay:
    return GpioRelay(GpioRelaySettings(line, feedback=feedback))


def door(line: str, debounce_ms: int = 50) -> DoorContact:
    return DoorContact(DoorContactSettings(line, debounce_ms=debounce_ms))


def test_every_line_is_opened_once_and_feedback_is_a_line_too() -> None:
    inputs, outputs = lines_of([door("D"), relay("R", "F"), door("D"), relay("S")])
    assert [line.wiring.line for line in inputs] == ["D", "F"]
    assert [output.wiring.line for output in outputs] == ["R", "S"]
    assert inputs[1].output is outputs[0]
    assert outputs[0].feedback is inputs[1]
    assert outputs[1].feedback is None


@pytest.mark.parametrize(
    ("drivers", "words"),
    [
        ([door("D"), door("D", debounce_ms=1)], "different ways"),
        ([relay("R"), relay("R")], "one master"),
        ([door("R"), relay("R")], "read by one sensor and switched"),
        ([door("F"), relay("R", "F")], "is feedback of"),
        ([relay("F"), relay("R", "F")], "is feedback of"),
        ([relay("Q", "F"), relay("R", "F")], "is feedback of"),
        ([Sds011()], "no driver for a gpio port"),
    ],
)
def test_lines_that_cannot_be_shared_are_refused(drivers: list, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lines_of(drivers)


def test_a_setting_of_the_same_name_overrules_what_the_driver_declares() -> None:
    class Bell(GpioDriver):
        bias, debounce_ms, hold_ms = "pull-up", 20, 500
        emits = (Measure("rings", "bool"),)
        settings: BellSettings

        def decode(self, frame: Edge) -> Values:
            return {"rings": frame.rising}

    assert Bell(BellSettings("B", debounce_ms=7)).wiring() == Wiring(
        "B", bias="pull-up", debounce_ms=7, hold_ms=500
    )
    assert Pir(PirSettings("P", hold_ms=0)).wiring() == Wiring("P", bias="pull-down")


@dataclass(frozen=True)
class BellSettings(Settings):
    line: str
    debounce_ms: int = 20


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"direction": "both"}, 'must be "in" or "out"'),
        ({"bias": "up"}, "bias must be"),
        ({"direction": "out"}, "exactly if it accepts commands"),
        ({"accepts": (Command("ring"),), "encode": lambda *_: True}, "exactly if it accepts commands"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: dict, words: str) -> None:
    body = {
        "emits": (Measure("rings", "bool"),),
        "decode": lambda self, frame: None,
        "__annotations__": {"settings": BellSettings},
        "__module__": __name__,
    }
    with pytest.raises(TypeError, match=words):
        type("Bell", (GpioDriver,), body | declared)
