"""The mains fails and comes back, on the kernel's own gpiolib: told fast, and not for less than a failure."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway_hil.box import Box, Seen
from gateway_hil.emulators.mains import MainsFail

pytestmark = pytest.mark.needs("gpio")

Plug = Callable[..., Any]
HOLD_MS = 150


def start(box: Box, mains: MainsFail) -> None:
    """A box that watches it; waits until it knows that there is mains."""
    box.start(
        f'[sensor.power]\ndriver = "mains-fail"\nport = "{mains.port}"\nline = "{mains.line}"\n'
        f'bias = "as-is"\nhold_ms = {HOLD_MS}\n'
    )
    box.until(lambda found: found and found[-1].values["mains"], 10, "there is mains", sensor="power")


def said(box: Box) -> list[Any]:
    """What it was, reading by reading."""
    return [record.values["mains"] for record in box.records("power", "reading")]


def failed(found: list[Seen]) -> bool:
    """Whether the last reading says that it is gone."""
    return bool(found) and found[-1].values["mains"] is False


def test_a_failure_is_told_after_its_hold_and_the_return_at_once(
    plug: Plug, box: Box, note: Callable[[str], None]
) -> None:
    mains = plug(MainsFail)
    start(box, mains)
    failed_ns = time.monotonic_ns()
    mains.fail()
    gone = box.until(failed, 3, "it failed", sensor="power", kind="reading")[-1]
    assert HOLD_MS <= (gone.came_ns - failed_ns) / 1e6 < HOLD_MS + 1000 * box.slowness
    note(
        f"a failure was a record after {(gone.came_ns - failed_ns) / 1e6:.0f} ms, {HOLD_MS} of them the hold"
    )
    mains.restore()
    box.until(lambda found: found[-1].values["mains"], 3, "it is back", sensor="power", kind="reading")


def test_a_dip_and_a_chattering_contact_are_no_failure(plug: Plug, box: Box) -> None:
    mains = plug(MainsFail)
    start(box, mains)
    mains.dip(HOLD_MS / 3000)
    mains.bounce()
    time.sleep(2 * HOLD_MS / 1000)
    assert all(said(box)), "an edge that the kernel missed may have it said again that there is mains"
    mains.fail()
    box.until(failed, 3, "a real one is told", sensor="power", kind="reading")


def test_an_optocoupler_that_conducts_every_other_half_wave(plug: Plug, box: Box) -> None:
    mains = plug(MainsFail, half_waves_s=0.03)  # slower than 10 ms: a guest's kernel misses those
    start(box, mains)
    time.sleep(1.0)
    steady = said(box)
    assert steady in ([True], [False, True]), "found between two half waves, at most"
    mains.fail()
    box.until(failed, 3, "it failed", sensor="power", kind="reading")
    assert said(box) == [*steady, False]
