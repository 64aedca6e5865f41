"""Every emulator of `gateway.emulators` with its driver, on any bench: a test file of the ladder.

Installed with the kit: `gateway drivers --check NAME --tier gold` finds it wherever the driver is from.
"""

import contextlib
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
WITHIN_S, BACK_S = 15.0, 10.0
ACT_S = 1.5  # between two attempts to make a device speak
STALLED_S, AWAY_S = 1.0, 0.5


def _params() -> list[Any]:
    """One for each emulator whose driver is installed, with what it needs of the bench."""
    params = []
    drivers = found(DRIVERS)
    for name in found(EMULATORS):
        if name not in drivers:
            continue
        try:
            kind = drivers[name].load().kind
        except GatewayError:  # said again, as a failure, where it is asked for; the others climb all the same
            params.append(pytest.param(name, id=name))
        else:
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
        self.box, self.subject, self.slowness = box, subject, bench.slowness
        self.emulator = plug(subject.emulator)
        self.is_emulated = bench.is_emulated  # else it is the device itself, whose truth nobody knows
        self.acts = subject.emulator.act is not Truthful.act  # it speaks only when something happens
        settings = subject.settings
        if self.is_emulated:
            self.emulator.still()
            settings = dict(self.emulator.settings())
        site = subject.site("it", self.emulator.port, settings=settings)
        box.start(site, amend=lambda plan: amended(plan, subject.name, {"it": "quick"}))

    def reads(self, within_s: float = WITHIN_S) -> Seen:
        """The next reading. Where a device speaks only when something happens, it does until it is heard."""
        since_ns = time.monotonic_ns()
        if not (self.is_emulated and self.acts):
            return self.box.first_reading("it", within_s, since_ns=since_ns)
        for _ in range(int(within_s / ACT_S)):
            self.emulator.act()
            with contextlib.suppress(AssertionError):
                return self.box.first_reading("it", ACT_S, since_ns=since_ns)
        return self.box.first_reading("it", ACT_S, since_ns=since_ns)

    def can(self, verb: str) -> bool:
        """Whether it can be done to it here. A rig says so itself."""
        return not self.is_emulated or verb in verbs_of(self.emulator)

    def told(self, records: list[Seen]) -> dict[str, Value]:
        """The first value of each measure; of a device that something happened to, the last."""
        values: dict[str, Value] = {}
        for record in records if self.acts else reversed(records):
            values |= {name: value for name, value in record.values.items() if value is not None}
        return values

    def tells_the_truth(self) -> str:
        """Wait until every measure was read; what is wrong with one of them."""
        self.reads()
        since_ns = 0
        measures = {m.name: m for m in self.subject.kind.emits}
        if self.acts:
            since_ns = time.monotonic_ns()
            self.emulator.act()
        shows, truth = self.emulator.shows, self.emulator.truth()

        def enough(records: list[Seen]) -> bool:
            got = self.told(records)
            return truth.keys() <= got.keys() and not (self.acts and difference(truth, got, measures, shows))

        what = f"readings that say {dict(truth)}"
        found = self.box.until(enough, WITHIN_S, what, sensor="it", kind="reading", since_ns=since_ns)
        return difference(truth, self.told(found), measures, shows, all_of_it=True)


def test_a_driver_climbs(subject: Subject, bench: Bench, plug: Plug, box: Box, note: Note) -> None:
    """Its first readings are the truth; then noise, silence, and a loose plug."""
    climb = Climb(subject, bench, plug, box)
    if climb.is_emulated:
        assert climb.tells_the_truth() == ""
    asked = ["truth"] if climb.is_emulated else []
    if climb.can("garbage"):
        climb.emulator.garbage()
        climb.reads()
        asked.append("garbage")
    if climb.can("stall"):
        climb.emulator.stall()
        time.sleep(STALLED_S)
        climb.emulator.stall(False)
        climb.reads()
        asked.append("silence")
    if climb.can("unplug"):
        climb.emulator.unplug()
        time.sleep(AWAY_S)
        replugged_ns = time.monotonic_ns()
        climb.emulator.replug()
        seen = climb.reads(BACK_S) if climb.acts else box.first_reading("it", BACK_S, since_ns=replugged_ns)
        asked.append(f"a plug (a reading {(seen.came_ns - replugged_ns) / 1e9:.2f} s after it was in again)")
    died = [record.body["code"] for record in box.records("it", "health") if record.body["code"] == "parked"]
    assert died == []
    note(f"{subject.name}: {', '.join(asked)}")
