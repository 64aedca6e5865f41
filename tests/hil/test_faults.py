"""Fault verbs, their scripts and chaos, in a virtual time: nothing here waits."""

from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_hil import emulators
from gateway_hil.benches.real import RigSensor
from gateway_hil.emulators import Gnss, RelayLamp, Sds011
from gateway_hil.emulators.sdm120 import Sdm120
from gateway_hil.faults import (
    VERBS,
    FaultError,
    FaultVerbs,
    NoSuchVerb,
    Step,
    chaos,
    parse_script,
    play,
    verbs_of,
)
from gateway_hil.guest.disk import FaultyDisk
from gateway_hil.linkemulator import LinkEmulator


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def now_s(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class Toy(FaultVerbs):
    """Writes down what is done to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.done: list[tuple[Any, ...]] = []

    def _note(self, *words: object) -> None:
        self.done.append((round(self.clock.now - 1000, 6), *words))

    def unplug(self) -> None:
        self._note("unplug")

    def replug(self) -> None:
        self._note("replug")

    def garbage(self, count: int = 64) -> None:
        self._note("garbage", count)

    def stall(self, stalled: bool = True) -> None:
        self._note("stall", stalled)

    def drip(self, pause_s: float = 0.001) -> None:
        self._note("drip", pause_s)

    def dropout(self, share: float = 0.05) -> None:
        self._note("dropout", share)

    def truncate(self, count: int = 1) -> None:
        self._note("truncate", count)

    def clock_step(self, seconds: float) -> None:
        self._note("clock_step", seconds)


@pytest.fixture
def toy() -> Toy:
    return Toy(Clock())


def played(toy: Toy, script: str) -> list[tuple[Any, ...]]:
    play(parse_script(script, {"toy": toy}), {"toy": toy}, toy.clock)
    return toy.done


def test_steps_are_done_in_time_and_undone(toy: Toy) -> None:
    script = """
        # in any order
        at 20 s: garbage toy 32 bytes
        at 12 s: unplug toy for 3 s     # a comment
        at 1.5 min: dropout toy 5 % for 500 ms
        at 30 s: drip toy 2 ms
    """
    assert played(toy, script) == [
        (12, "unplug"),
        (15, "replug"),
        (20, "garbage", 32),
        (30, "drip", 0.002),
        (90, "dropout", 0.05),
        (90.5, "dropout", 0.0),
    ]


def test_one_fault_may_follow_on_another_at_once(toy: Toy) -> None:
    assert played(toy, "at 0 s: stall toy for 1 s\nat 1 s: stall toy for 1 s") == [
        (0, "stall", True),
        (1, "stall", False),
        (1, "stall", True),
        (2, "stall", False),
    ]


def test_an_amount_in_weeks(toy: Toy) -> None:
    assert played(toy, "at 0 s: clock_step toy -1024 weeks") == [(0, "clock_step", -1024 * 604_800)]


def test_what_lasts_is_undone_if_the_play_is_broken_off(toy: Toy) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    toy.clock.wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        played(toy, "at 0 s: unplug toy for 3 s\nat 0 s: stall toy for 9 s")
    assert toy.done[-2:] == [(0, "replug"), (0, "stall", False)]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("at 1 s unplug toy", r'line 1: .*write it like "at 12 s: unplug gps for 3 s"'),
        ("\nat 1 s: explode toy", "line 2: 'explode' is no fault verb; there are unplug, replug"),
        ("at 1 s: unplug gps", "line 1: there is no emulator 'gps'; there are toy"),
        ("at 1 s: bounce toy 3 times", "line 1: Toy has no bounce; it has unplug, replug, garbage"),
        ("at 1 s: garbage toy 3 %", "in bytes, not %"),
        ("at 1 s: garbage toy 1.5 bytes", "whole number of bytes"),
        ("at 1 s: unplug toy 3 bytes", "takes no amount"),
        ("at 1 s: garbage toy for 3 s", "over at once"),
        ("at 1 s: garbage toy -3 bytes", "not below 0"),
        ("at 1 s: dropout toy 200 %", "not above 100 %"),
        ("at 1 s: clock_step toy", "clock_step toy needs an amount in s"),
        ("at 1 s: stall toy 5 %", "takes no amount"),
        ("at -1 s: unplug toy", "forward"),
        ("at 1 s: stall toy for 0 s", "forward"),
        ("at 1 parsec: stall toy", "no unit of time; there are ms, s, min"),
        ("at 1 s: stall toy for 5 s\nat 3 s: stall toy", r"line 2: .*line 1 is over \(at 6 s\)"),
    ],
)
def test_an_error_names_the_line_and_what_could_stand_there(toy: Toy, script: str, says: str) -> None:
    with pytest.raises(FaultError, match=says):
        parse_script(script, {"toy": toy})


def test_nothing_is_done_if_a_step_cannot_be(toy: Toy) -> None:
    with pytest.raises(NoSuchVerb):
        play([Step(0, "unplug", "toy"), Step(1, "bounce", "toy")], {"toy": toy}, toy.clock)
    assert toy.done == []


def test_a_verb_that_an_emulator_lacks_names_those_it_has() -> None:
    with pytest.raises(NoSuchVerb, match="Sds011 has no clock_step; it has unplug, replug, garbage, trunc"):
        Sds011().clock_step(1)
    assert not hasattr(Sds011(), "no_such_thing")
    assert "clock_step" in verbs_of(Gnss())
    of_disks = {"disk_full", "read_only", "write_errors", "sync_errors", "bad_page", "gone"}
    of_buses = {"late", "wrong_unit", "lamp_out"}
    assert (
        set(verbs_of(RelayLamp())) == set(VERBS) - {"clock_step", "link_loss", "bounce"} - of_disks - of_buses
    )
    assert set(verbs_of(Sdm120())) == set(verbs_of(RelayLamp())) | of_buses
    assert set(verbs_of(FaultyDisk(Path("/nowhere")))) == of_disks


EMULATORS = {"gps": Gnss(), "dust": Sds011(), "lamp": RelayLamp()}


@given(st.integers(0, 2**31), st.floats(0, 60))
def test_chaos_is_a_script_that_can_be_played_again(seed: int, seconds: float) -> None:
    steps = chaos(seed, EMULATORS, seconds)
    assert steps == chaos(seed, EMULATORS, seconds)
    assert parse_script("\n".join(map(str, steps)), EMULATORS) == steps
    assert all(0 < step.at_s <= step.end_s <= seconds for step in steps)
    assert all(step.for_s is not None for step in steps if VERBS[step.verb].undo)


@given(st.integers(0, 2**31))
def test_after_chaos_everything_is_as_before(seed: int) -> None:
    toy = Toy(Clock())
    play(chaos(seed, {"toy": toy}, 30), {"toy": toy}, toy.clock)
    last = {words[1]: words[2:] for words in toy.done}
    assert last.get("stall", (False,)) == (False,)
    assert last.get("drip", (0.0,)) == last.get("dropout", (0.0,)) == (0.0,)
    assert last.get("truncate", (0,)) == (0,)  # one that seldom talks would halve its next answer later
    plugs = [words[1] for words in toy.done if words[1] in {"unplug", "replug"}]
    assert plugs == ["unplug", "replug"] * (len(plugs) // 2)


def test_chaos_uses_every_verb_of_every_emulator() -> None:
    steps = [step for seed in range(20) for step in chaos(seed, EMULATORS, 60)]
    wanted = {(name, verb) for name in EMULATORS for verb in verbs_of(EMULATORS[name])}
    assert {(step.name, step.verb) for step in steps} == {
        (name, verb) for name, verb in wanted if verb not in {"replug", "clock_step"}
    }


def test_chaos_without_a_verb_is_an_error_and_no_empty_script() -> None:
    with pytest.raises(FaultError, match="nothing to do: gps has no fault verb"):
        chaos(1, {"gps": RigSensor("gps", {"port": "serial:/dev/ttyS0", "unplug": "true"})}, 10)


def every_kind() -> list[type]:
    """Every class of an emulator that has fault verbs, by its module."""
    found: set[type] = {LinkEmulator}
    for module in iter_modules(emulators.__path__, "gateway_hil.emulators."):
        if not module.name.endswith("__main__"):
            found |= {
                kind
                for kind in vars(import_module(module.name)).values()
                if isinstance(kind, type)
                and kind.__module__ == module.name
                and any(verb in vars(kind) for verb in VERBS)
            }
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", every_kind())
def test_a_verb_takes_what_scripts_give_it(kind: type) -> None:
    for verb, spec in VERBS.items():
        if hasattr(kind, verb):
            signature(getattr(kind, verb)).bind(None, *([1.0] if spec.unit else []))
        if hasattr(kind, verb) and spec.undo:
            undo, *words = spec.undo
            signature(getattr(kind, undo)).bind(None, *words)


step_amounts = {
    "garbage": st.integers(0, 10**6),
    "drip": st.integers(0, 5000).map(lambda n: n / 1000),
    "wrong_baud": st.integers(1, 10**6),
    "bounce": st.integers(1, 50),
    "dropout": st.integers(0, 1000).map(lambda n: n / 10),
    "clock_step": st.integers(-(10**8), 10**8),
}


@given(st.data())
def test_every_step_is_read_back_as_it_was_written(data: st.DataObject) -> None:
    verb = data.draw(st.sampled_from(sorted(VERBS)))
    times = st.integers(1, 10**7).map(lambda ms: ms / 1000)
    amount = data.draw(st.none() | step_amounts[verb]) if verb in step_amounts else None
    for_s = data.draw(st.none() | times) if VERBS[verb].undo else None
    step = Step(data.draw(times), verb, "a-name", amount, for_s)
    assert parse_script(str(step)) == [step]
