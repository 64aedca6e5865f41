"""A lamp on a busy Modbus line: its commands wait for the running exchange at most, never for a dead unit.

In made-up time, at 9600 baud. Two that speak at once is an error of the test's bus.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest

from gateway.driver import Command, Measure, ModbusRtu, NoAnswer, SerialDriver, Talk
from gateway.modbus import ModbusDriver, ModbusSettings, Register
from gateway.talk import BEGIN_S, GONE_AFTER, Talks

CHAR_S = 11 / 9600
LAMP_S = 0.1  # from command to light


class Meter(ModbusDriver):
    every_s = 1.0
    registers = (Register("voltage", 0), Register("power", 40))  # two questions a poll
    emits = (Measure("voltage", "V"), Measure("power", "W"))


class Dimmer(ModbusDriver):
    every_s = 2.0
    lamp = "dimmer"
    registers = (Register("lamp_level", 0),)
    emits = (Measure("lamp_level", "%"),)
    accepts = (Command("dim", {"level": (0, 100)}),)

    def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[None]:
        yield from self.write(0, [round(arguments["level"])])
        yield from self.write_coil(0, True)


@dataclass
class Bus:
    """Units that answer after `slow_s`; those without are dead."""

    drivers: list[SerialDriver]
    slow_s: Mapping[int, float]
    now: float = 100.0
    said: list[tuple[float, int, int]] = field(default_factory=list)  # when, to whom, function
    gone: list[SerialDriver] = field(default_factory=list)
    values: list[SerialDriver] = field(default_factory=list)
    coming: list[tuple[float, float, bytes]] = field(default_factory=list)  # begin, end, frame
    collisions: int = 0
    begun: bool = False

    def __post_init__(self) -> None:
        self.talks = Talks(self.drivers, CHAR_S)
        self.talks.start(self.now)

    def answer(self, question: bytes) -> bytes:
        unit, function = question[0], question[1]
        if function == 3:
            return ModbusRtu().wrap(bytes((unit, 3, 2 * question[5])) + bytes(2 * question[5]))
        return question

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            if octets := self.talks.step(self.now):
                over = self.now + len(octets) * CHAR_S
                self.collisions += bool(self.coming)
                self.said.append((self.now, octets[0], octets[1]))
                if octets[0] in self.slow_s:
                    begin, frame = over + self.slow_s[octets[0]], self.answer(octets)
                    self.coming.append((begin, begin + len(frame) * CHAR_S, frame))
            for each in self.talks.answers:
                (self.gone if each.is_gone else self.values if each.values else []).append(each.driver)
            self.talks.answers.clear()
            due = self.talks.due()
            times = [] if due is None else [due]
            stir = math.inf
            if self.coming:
                stir = self.coming[0][1] if self.begun else self.coming[0][0]
                times.append(stir)
            if not times or min(times) > end:
                self.now = end
                return
            self.now = max(self.now, min(times))
            if stir <= self.now:
                self.talks.stirs(self.now)
                if self.begun:
                    self.talks.heard(self.now, self.coming.pop(0)[2])
                self.begun = not self.begun

    def dim(self, lamp: Dimmer, level: float = 40) -> tuple[float, list[Exception | None]]:
        """Tell a lamp; how long until its light is right, and what came of it."""
        at, before = self.now, len(self.said)
        came: list[Exception | None] = []
        self.talks.command(lamp, lamp.encode("dim", {"level": level}), came.append)
        while not came and self.now < at + 5:
            self.run(0.001)
        coil = [when for when, _, function in self.said[before:] if function == 5]
        return (coil[0] + 8 * CHAR_S - at if coil else 9.0), came


def test_a_dead_unit_costs_a_lamp_nothing() -> None:
    meter, dead, lamp = Meter(ModbusSettings(1)), Meter(ModbusSettings(2)), Dimmer(ModbusSettings(3))
    bus, rng = Bus([meter, dead, lamp], {1: 0.02, 3: 0.01}), Random(5)
    bus.run(3)
    waits = []
    for _ in range(400):
        bus.run(rng.uniform(0, 0.8))
        wait, came = bus.dim(lamp)
        assert came == [None]
        waits.append(wait)
    assert max(waits) <= LAMP_S
    assert bus.collisions == 0
    assert bus.gone == [dead]
    assert bus.values.count(meter) >= 0.85 * (bus.now - 100), "its readings go on"


def test_a_unit_that_died_just_now_is_away_although_commands_come_in_between() -> None:
    dead, lamp = Meter(ModbusSettings(2)), Dimmer(ModbusSettings(3))
    bus = Bus([dead, lamp], {3: 0.01})
    for _ in range(100):  # a ramp, say
        bus.run(0.15)
        assert bus.dim(lamp)[0] <= LAMP_S
    assert bus.gone == [dead]
    assert sum(unit == 2 for _, unit, _ in bus.said) > GONE_AFTER
    assert bus.values.count(lamp) >= 0.35 * (bus.now - 100), "its own readings, one each 2 s"


@pytest.mark.parametrize(("gap", "slow_s"), [(0, 0.12), (40, 0.01)])
def test_a_slow_or_long_answer_is_let_finish_so_that_nobody_speaks_at_once(
    monkeypatch: pytest.MonkeyPatch, gap: int, slow_s: float
) -> None:
    monkeypatch.setattr(Meter, "gap", gap)  # one long answer, or two short ones
    slow, lamp = Meter(ModbusSettings(2)), Dimmer(ModbusSettings(3))
    bus, rng = Bus([slow, lamp], {2: slow_s, 3: 0.01}), Random(6)
    bus.run(
        3 if slow_s > BEGIN_S else BEGIN_S + 0.015
    )  # it is known to be slow, or in the midst of its first
    for _ in range(200):
        assert bus.dim(lamp)[1] == [None]
        bus.run(rng.uniform(0, 0.5))
    assert bus.collisions == 0
    assert not bus.gone


def test_a_command_to_a_dead_lamp_says_so_and_then_another_lamp_is_free_at_once() -> None:
    dead, lamp = Dimmer(ModbusSettings(2)), Dimmer(ModbusSettings(3))
    bus = Bus([lamp, dead], {3: 0.01})
    bus.run(10)
    _, came = bus.dim(dead)
    assert isinstance(came[0], NoAnswer)
    assert bus.dim(lamp)[0] <= LAMP_S


def test_who_cannot_be_told_from_others_is_waited_for() -> None:
    """A late answer without an address could be taken for the command's."""

    class Bare(SerialDriver):
        emits = (Measure("voltage", "V"),)
        accepts = (Command("shout"),)
        every_s = 5.0

        def poll(self) -> Talk[None]:
            yield b"?"

        def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[None]:
            yield b"!"

    bare = Bare()
    talks = Talks([bare], CHAR_S)
    talks.start(0)
    assert talks.step(0) == b"?"
    talks.command(bare, bare.encode("shout", {}), lambda _: None)
    assert talks.step(0.9) == b""
    assert talks.due() == pytest.approx(bare.answer_s + CHAR_S)


def test_a_poll_that_gave_way_goes_on_where_it_was() -> None:
    meter, lamp = Meter(ModbusSettings(1)), Dimmer(ModbusSettings(3))
    bus = Bus([meter, lamp], {1: 0.02, 3: 0.01})
    bus.run(0.005)  # the first of its two questions is under way
    bus.dim(lamp)
    bus.run(0.5)
    functions = [(unit, function) for _, unit, function in bus.said]
    assert functions[:5] == [(1, 3), (3, 6), (3, 5), (1, 3), (3, 3)]
    assert bus.values == [meter, lamp]
