"""Every emulator of `gateway.emulators` with its driver, on any bench: a test file of the ladder.

Installed with the kit: `gateway drivers --check NAME --tier gold` finds it wherever the driver is from.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.driver import Value
from gateway.errors import GatewayError
from gateway.plugins import DRIVERS, found
from gateway_hil.bench import Bench
from gateway_hil.box import Box, Seen
from gateway_hil.emulators import EMULATORS
from gateway_hil.emulators.truth import Truthful
from gateway_hil.faults import verbs_of
from gateway_hil.kit.gold import difference
from gateway_hil.kit.stand import amended
from gateway_hil.kit.subject import Subject

Plug = Callable[..., Any]
Note = Callable[[str], None]
WITHIN_S, BACK_S, STALLED_S = 20.0, 10.0, 1.5


def _params() -> list[Any]:
    """One for each emulator whose driver is installed, with what it needs of the bench."""
    params = []
    drivers = found(DRIVERS)
    for name in found(EMULATORS):
        if name not in drivers:
            continue
        try:
            kind = drivers[name].load().kind
        except GatewayError as error:  # its own check says so; the others climb all the same
            params.append(pytest.param(name, id=name, marks=pytest.mark.skip(reason=str(error))))
            continue
        params.append(pytest.param(name, id=name, marks=pytest.mark.needs(kind)))
    return params


@pytest.fixture(params=_params())
def subject(request: pytest.FixtureRequest) -> Subject:
    """A driver with an emulator."""
    return Subject(request.param)


class Climb:
    """A plugged-in emulator, and a box that reads it."""

    def __init__(self, subject: Subject, bench: Bench, plug: Plug, box: Box) -> None:
        assert subject.emulator is not None
        self.bench, self.box, self.subject = bench, box, subject
        self.emulator = plug(subject.emulator)
        self._emulated = bench.is_emulated
        settings = subject.settings
        if self._emulated:
            self.emulator.still()
            settings = dict(self.emulator.settings())
        site = subject.site("it", self.emulator.port, settings=settings)
        box.start(site, amend=lambda plan: amended(plan, subject.name, {"it": "quick"}))

    def reading(self, since_ns: int = 0, within_s: float = WITHIN_S) -> Seen:
        """The first one since a moment; something happens, where a device speaks only then."""
        begin_ns = since_ns or time.monotonic_ns()
        if self._emulated and self.acts:
            self.emulator.act()
        return self.box.first_reading("it", within_s, since_ns=begin_ns if self.acts else since_ns)

    @property
    def acts(self) -> bool:
        """Whether it speaks only when something happens."""
        return type(self.emulator).act is not Truthful.act

    def can(self, verb: str) -> None:
        """Skip the test if the emulator has no such fault."""
        if self._emulated and verb not in verbs_of(self.emulator):
            pytest.skip(f"{type(self.emulator).__name__} has no {verb}")


@pytest.fixture
def climb(subject: Subject, bench: Bench, plug: Plug, box: Box) -> Climb:
    """The driver of this test, at work."""
    return Climb(subject, bench, plug, box)


def test_its_first_readings_are_the_truth(climb: Climb) -> None:
    """What the emulator shows is what the box reads."""
    climb.box.first_reading("it", WITHIN_S)
    if not climb.bench.is_emulated:
        return  # only an emulator knows the truth
    since_ns = time.monotonic_ns() if climb.acts else 0
    climb.emulator.act()
    measures = {m.name: m for m in climb.subject.kind.emits}
    shows, truth = climb.emulator.shows, climb.emulator.truth()

    def told(records: list[Seen]) -> dict[str, Value]:
        """The first value of each measure; of one that something must happen for, the last."""
        values: dict[str, Value] = {}
        for record in records if climb.acts else reversed(records):
            values |= {name: value for name, value in record.values.items() if value is not None}
        return values

    def enough(records: list[Seen]) -> bool:
        got = told(records)
        return truth.keys() <= got.keys() and not (climb.acts and difference(truth, got, measures, shows))

    what = f"readings of {', '.join(truth)}"
    found = climb.box.until(enough, WITHIN_S, what, sensor="it", kind="reading", since_ns=since_ns)
    assert difference(truth, told(found), measures, shows, all_of_it=True) == ""


def test_it_comes_back_after_a_loose_plug(climb: Climb, note: Note) -> None:
    """Out of the bus, and back."""
    climb.can("unplug")
    climb.reading()
    climb.emulator.unplug()
    time.sleep(0.5)
    replugged_ns = time.monotonic_ns()
    climb.emulator.replug()
    seen = climb.box.first_reading("it", BACK_S, since_ns=replugged_ns)
    note(f"a reading {(seen.came_ns - replugged_ns) / 1e9:.2f} s after it was plugged in again")


def test_it_outlives_garbage(climb: Climb) -> None:
    """Noise arrives, and readings after it."""
    climb.can("garbage")
    climb.reading()
    climb.emulator.garbage()
    climb.reading(time.monotonic_ns())
    assert climb.box.records("it", "health") == [
        record for record in climb.box.records("it", "health") if record.body["code"] != "parked"
    ]


def test_it_outlives_silence(climb: Climb) -> None:
    """A device that stalls, and goes on."""
    climb.can("stall")
    climb.reading()
    climb.emulator.stall()
    time.sleep(STALLED_S)
    climb.emulator.stall(False)
    climb.reading(time.monotonic_ns())
