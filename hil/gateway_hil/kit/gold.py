"""Gold: what the emulator shows is what the driver reads, exactly; and on a bench, through the kernel."""

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import given, seed
from hypothesis import strategies as st

from gateway.driver import SerialDriver, Value, Values
from gateway.reading import Measure
from gateway_hil.emulators.truth import Shown
from gateway_hil.kit.exchange import Exchange, shown
from gateway_hil.kit.fuzz import SEED, repeatable
from gateway_hil.kit.rules import Failure
from gateway_hil.kit.subject import Subject

EXAMPLES: Final = 200
_ROUNDS: Final = 4  # a round may hold a part of the measures only


def exact(subject: Subject) -> str:
    """Over the device's whole range: set the truth, one round, and the reading is that, to the resolution."""
    first = subject.emulated()
    if not first.shows:
        raise Failure(
            f"{type(first).__name__} does not say what it shows: "
            '`shows = {"measure": Shown("attribute", low, high)}` (gateway_hil.emulators.truth)'
        )
    measures = {m.name: m for m in subject.kind.measures(subject.driver().settings)}
    if strange := first.shows.keys() - measures.keys():
        raise Failure(f"the emulator shows {', '.join(sorted(strange))}, which the driver does not emit")

    @seed(SEED)
    @repeatable(EXAMPLES)
    @given(st.fixed_dictionaries({name: _range(each) for name, each in first.shows.items()}))
    def try_it(truth: Mapping[str, Value]) -> None:
        emulator = subject.emulated()
        emulator.become(truth)
        emulator.still()
        got = _read(subject, emulator, set(truth))
        if text := difference(emulator.truth(), got, measures, emulator.shows, all_of_it=True):
            raise Failure(f"the emulator shows {dict(truth)}: {text}")

    try_it()
    return f"{EXAMPLES} truths, {', '.join(first.shows)}"


def _range(each: Shown) -> st.SearchStrategy[Any]:
    if isinstance(each.low, bool):
        return st.booleans()
    if isinstance(each.low, int) and isinstance(each.high, int):
        return st.integers(each.low, each.high)
    return st.floats(each.low, each.high, allow_subnormal=False)


def _read(subject: Subject, emulator: Any, names: set[str]) -> Values:
    """What a fresh driver reads of it, in as few rounds as show every measure."""
    driver = subject.driver(dict(emulator.settings()))
    got: dict[str, Value] = {}
    if isinstance(driver, SerialDriver):
        talk = Exchange(driver, emulator)
        for _ in range(_ROUNDS):
            for values in talk.round():
                got |= values
            if names <= got.keys():
                break
        return got
    for frame in shown(subject, emulator):
        heard = driver.decode(frame)
        got |= heard or {}
    return got


def difference(
    truth: Values,
    got: Values,
    measures: Mapping[str, Measure],
    shows: Mapping[str, Shown],
    *,
    all_of_it: bool = False,
) -> str:
    """What a reading has other than the truth, beyond resolution; empty if nothing."""
    for name, true in truth.items():
        if name not in got:
            if all_of_it:
                return f"no reading holds {name}"
            continue
        read = got[name]
        if true is None or read is None:
            if true != read:
                return f"{name} is {true}, it read {read}"
            continue
        step = max(measures[name].resolution, shows[name].step if name in shows else 0.0)
        # Half a step to the device's rounding, half to the record's.
        if abs(float(read) - float(true)) > step * (1 + 1e-6) + 1e-9 * abs(float(true)):
            return f"{name} is {true}, it read {read}; a step of it is {step:g}"
    return ""
