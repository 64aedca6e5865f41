"""Fault verbs: what can be done to an emulator, by the same names everywhere, in scripts and by chance.

    at 12 s: unplug gps for 3 s
    at 20 s: garbage gps 64 bytes
    at 21.5 s: dropout dust 5 % for 2 s      # a comment

A step that lasts undoes itself when its time is over. `chaos` writes such a script from a seed, so whatever
went wrong under it can be played again, and cut down, as text.
"""

import random
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.errors import GatewayError


class FaultError(GatewayError):
    """A script, or a verb, that cannot be carried out. The text says what could be."""


class NoSuchVerb(FaultError, AttributeError):
    """An emulator was asked for a fault that a thing of its kind does not have."""


@dataclass(frozen=True, slots=True)
class Verb:
    """How a fault verb is written and undone.

    `unit` is what its amount is counted in (none: it takes none), `usual` its range in chaos. `undo` is
    the verb and the words that end it; none: it is over at once. `scale` turns the amount into what
    the method takes (per cent into a share, say), `whole` says that this is an int.
    """

    unit: str = ""
    usual: tuple[float, float] = (0, 0)
    undo: tuple[Any, ...] = ()
    scale: float = 1.0
    whole: bool = False


VERBS: Final[dict[str, Verb]] = {
    "unplug": Verb(undo=("replug",)),
    "replug": Verb(),
    "garbage": Verb("bytes", (1, 300), whole=True),
    "truncate": Verb("packets", (1, 3), ("truncate", 0), whole=True),
    "drip": Verb("ms", (1, 5), ("drip", 0.0), scale=1e-3),
    "stall": Verb(undo=("stall", False)),
    "wrong_baud": Verb("baud", (4800, 38_400), ("wrong_baud", None), whole=True),
    "bounce": Verb("times", (1, 20), whole=True),
    "dropout": Verb("%", (1, 20), ("dropout", 0.0), scale=1e-2),
    "clock_step": Verb("s", (-3600, 3600)),
    "link_loss": Verb(undo=("link_loss", False)),
    "disk_full": Verb(undo=("disk_full", False)),
    "read_only": Verb(undo=("read_only", False)),
    "write_errors": Verb(undo=("write_errors", False)),
    "sync_errors": Verb(undo=("sync_errors", False)),
    "bad_page": Verb("pages", (1, 3), whole=True),
    "gone": Verb(undo=("gone", False)),
    "late": Verb("ms", (50, 1500), ("late", 0.0), scale=1e-3),
    "wrong_unit": Verb(undo=("wrong_unit", False)),
    "lamp_out": Verb(undo=("lamp_out", False)),
}
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "days": 86_400.0, "weeks": 604_800.0}
_NUMBER: Final = r"(-?\d{1,9}(?:\.\d{1,3})?)"
_LINE: Final = re.compile(
    rf"at {_NUMBER} ?([a-z]+): (\w+) ([\w-]+)(?: {_NUMBER} ?([a-z]+|%))?(?: for {_NUMBER} ?([a-z]+))?"
)
_STEP_S: Final = (0.3, 3.0)  # how long a fault of chaos lasts
_NOT_CHAOS: Final = frozenset({"replug", "clock_step"})  # undone by others; or not undone at all


class FaultVerbs:
    """Base of what has fault verbs: asking for one that it lacks names those that it has."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in VERBS:
                raise NoSuchVerb(f"{type(self).__name__} has no {name}; it has {', '.join(verbs_of(self))}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script: at `at_s` seconds do `verb` to `name`, with this amount, for so long."""

    at_s: float
    verb: str
    name: str
    amount: float | None = None
    for_s: float | None = None

    def __str__(self) -> str:
        amount = "" if self.amount is None else f" {self.amount:.12g} {VERBS[self.verb].unit}"
        lasts = "" if self.for_s is None else f" for {self.for_s:.12g} s"
        return f"at {self.at_s:.12g} s: {self.verb} {self.name}{amount}{lasts}"

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + (self.for_s or 0.0)


class Clock(Protocol):
    """The time that a script is played in."""

    def now_s(self) -> float:
        """Seconds since whenever."""
        ...

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        ...


class RealClock:
    """CLOCK_MONOTONIC, waited for."""

    def now_s(self) -> float:
        """Seconds since boot."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def verbs_of(emulator: object) -> list[str]:
    """The fault verbs that an emulator has."""
    return [verb for verb in VERBS if callable(getattr(type(emulator), verb, None))]


def parse_script(text: str, emulators: Mapping[str, object] | None = None) -> list[Step]:
    """The steps of a script in order of time. With `emulators`, names and verbs are checked against them.

    Raises FaultError naming the line, and what could stand there.
    """
    found: list[tuple[int, Step]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = " ".join(line.partition("#")[0].split())
        if words:
            try:
                step = _step(words)
                if emulators is not None:
                    _check(step, emulators)
            except FaultError as error:
                raise FaultError(f"line {number}: {error}") from None
            found.append((number, step))
    found.sort(key=lambda entry: entry[1].at_s)
    lasting: dict[tuple[str, str], tuple[int, Step]] = {}
    for number, step in found:
        key = (step.verb, step.name)
        before = lasting.get(key)
        if before is not None and step.at_s < before[1].end_s:
            raise FaultError(
                f"line {number}: {step.verb} {step.name} begins before that of line {before[0]} is over "
                f"(at {before[1].end_s:g} s); make them one"
            )
        lasting[key] = (number, step)
    return [step for _, step in found]


def play(steps: Iterable[Step], emulators: Mapping[str, Any], clock: Clock | None = None) -> None:
    """Carry steps out in time, from now on; whatever lasts is undone, also if this is interrupted.

    Raises FaultError for an emulator or a verb that is not there, before anything is done.
    """
    clock = clock or RealClock()
    steps = list(steps)
    for step in steps:
        _check(step, emulators)
    # Ends before beginnings of the same moment: one fault may follow on another.
    acts = [(step.at_s, 1, step) for step in steps]
    acts += [(step.end_s, 0, step) for step in steps if step.for_s is not None]
    begun: list[Step] = []
    start_s = clock.now_s()
    try:
        for at_s, begins, step in sorted(acts, key=lambda act: act[:2]):
            if (left_s := start_s + at_s - clock.now_s()) > 0:
                clock.wait(left_s)
            if begins:
                begun += [step] if step.for_s is not None else []
                _do(step, emulators[step.name])
            else:
                begun.remove(step)
                _undo(step, emulators[step.name])
    finally:
        for step in begun:
            _undo(step, emulators[step.name])


def chaos(seed: int, emulators: Mapping[str, object], seconds: float) -> list[Step]:
    """A script drawn by chance: about a fault a second, none longer than three, all over when time is.

    The same seed and the same emulators give the same script. `print(*steps, sep="\\n")` is its text.
    Raises FaultError if no fault can be drawn for any of them: a test would else pass of nothing.
    """
    chance = random.Random(seed)
    steps: list[Step] = []
    free_s: dict[tuple[str, str], float] = {}
    at_s = 0.0
    choices = [
        (name, v) for name in sorted(emulators) for v in verbs_of(emulators[name]) if v not in _NOT_CHAOS
    ]
    if not choices:
        raise FaultError(
            f"chaos has nothing to do: {', '.join(sorted(emulators)) or 'nobody'} has no fault verb that "
            "may be drawn (a rig's never are: skip the test where bench.is_emulated is False)"
        )
    while True:
        at_s = round(at_s + chance.uniform(0.2, 1.8), 2)
        name, verb = chance.choice(choices)
        spec = VERBS[verb]
        for_s = round(chance.uniform(*_STEP_S), 2) if spec.undo else None
        amount = float(round(chance.uniform(*spec.usual))) if spec.unit else None
        step = Step(at_s, verb, name, amount, for_s)
        if step.at_s > seconds:
            break
        if step.end_s <= seconds and step.at_s >= free_s.get((name, verb), 0.0):
            free_s[name, verb] = step.end_s
            steps.append(step)
    return steps


def _step(words: str) -> Step:
    match = _LINE.fullmatch(words)
    if match is None:
        raise FaultError(f'{words!r}: write it like "at 12 s: unplug gps for 3 s"')
    at, at_unit, verb, name, amount, unit, lasts, lasts_unit = match.groups()
    spec = VERBS.get(verb)
    if spec is None:
        raise FaultError(f"{verb!r} is no fault verb; there are {', '.join(VERBS)}")
    at_s = _seconds(at, at_unit)
    for_s = None if lasts is None else _seconds(lasts, lasts_unit)
    if at_s < 0 or (for_s is not None and for_s <= 0):
        raise FaultError("time goes forward only")
    if for_s is not None and not spec.undo:
        raise FaultError(f"{verb} is over at once; leave out how long")
    return Step(at_s, verb, name, None if amount is None else _amount(verb, spec, amount, unit), for_s)


def _amount(verb: str, spec: Verb, text: str, unit: str) -> float:
    if not spec.unit:
        raise FaultError(f"{verb} takes no amount")
    amount = float(text)
    if spec.unit in _SECONDS and unit in _SECONDS:
        amount = round(amount * _SECONDS[unit] / _SECONDS[spec.unit], 6)
    elif unit.removesuffix("s") != spec.unit.removesuffix("s"):
        raise FaultError(f"the amount of {verb} is in {spec.unit}, not {unit}")
    if amount < 0 and verb != "clock_step":
        raise FaultError(f"the amount of {verb} is not below 0")
    if spec.unit == "%" and amount > 100:
        raise FaultError(f"the amount of {verb} is not above 100 %")
    if spec.whole and amount != int(amount):
        raise FaultError(f"the amount of {verb} is a whole number of {spec.unit}")
    return amount


def _seconds(text: str, unit: str) -> float:
    if unit not in _SECONDS:
        raise FaultError(f"{unit!r} is no unit of time; there are {', '.join(_SECONDS)}")
    return round(float(text) * _SECONDS[unit], 6)


def _check(step: Step, emulators: Mapping[str, object]) -> None:
    if step.name not in emulators:
        raise FaultError(f"there is no emulator {step.name!r}; there are {', '.join(sorted(emulators))}")
    method = getattr(emulators[step.name], step.verb)
    try:
        signature(method).bind(*_words(step))
    except TypeError:
        unit = VERBS[step.verb].unit
        raise FaultError(f"{step.verb} {step.name} needs an amount in {unit}") from None


def _words(step: Step) -> list[float]:
    if step.amount is None:
        return []
    spec = VERBS[step.verb]
    return [int(step.amount) if spec.whole else step.amount * spec.scale]


def _do(step: Step, emulator: Any) -> None:
    getattr(emulator, step.verb)(*_words(step))


def _undo(step: Step, emulator: Any) -> None:
    verb, *words = VERBS[step.verb].undo
    getattr(emulator, verb)(*words)
