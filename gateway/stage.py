"""Stages: verbs that turn blocks or readings into fewer. Each takes one kind of thing and is pure.

In a sensor's `stages` list every item first meets the first stage that takes its type; what comes
out meets the next such stage, and so on. Blocks thus run through onset, window and model, readings
through throttle and on_change. Stages that need numpy live in `gateway.acoustic`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from gateway.errors import BundleError
from gateway.reading import NAME, HealthCode, Reading
from gateway.settings import RULES

_QUANTITY: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z%]+)\s*")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Read a duration like "500 ms", "10 s", "5 min". Raises ValueError with the accepted units."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f'{text!r} is no duration; write it like "500 ms", "10 s", "5 min" or "1 h"')
    return float(match[1]) * _SECONDS[match[2]]


def decibels(text: str) -> float:
    """Read a level difference like "12 dB". Raises ValueError if it is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] != "dB":
        raise ValueError(f'{text!r} is no level difference; write it like "12 dB"')
    return float(match[1])


@dataclass(frozen=True)
class StageSettings:
    """Base of a stage's settings. The first field is the value behind the stage's name in the site file."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = RULES


class Stage:
    """One stage of one sensor. `settings` is checked when the site file is compiled."""

    name: ClassVar[str] = ""
    takes: ClassVar[str] = "Reading"  # type name of what it takes: Reading, Block, or what a stage gives
    gives: ClassVar[str] = ""  # type name of what comes out, if it is not what went in
    settings_type: ClassVar[type[StageSettings]] = StageSettings
    goes_on_without: ClassVar[bool] = False  # whether it still makes events when its model cannot run

    def __init__(self, sensor: str, settings: Any) -> None:
        self.sensor = sensor
        self.settings = settings
        self.counts: Counter[HealthCode] = Counter()  # for the worker to tell, which takes them out
        self.off: BundleError | None = None  # why it goes on without its model
        self.standing_in = ""  # why its model is another version than the one it should run
        self.labels_planned: tuple[str, ...] | None = None  # what its events may be called; None: anything

    @classmethod
    def labels(cls, settings: Any, state: Path) -> tuple[str, ...]:
        """The labels that events of this stage may carry; asked when the site file is compiled.

        `state` is the box's folder, where its models are.
        """
        del settings, state
        return ()

    @classmethod
    def misfit(cls, settings: Any, before: Mapping[str, Any], state: Path) -> str:
        """Why it cannot work behind the stages of these names and settings; empty if it can.

        Asked when the site file is compiled, as `labels`.
        """
        del settings, before, state
        return ""

    def open(self, state: Path) -> None:
        """Load what it needs, before the first item; `state` is the box's folder. Raises BundleError."""

    def do_without(self, error: BundleError) -> None:
        """Go on without the model, if it can: `goes_on_without`."""
        self.off = error

    def feed(self, item: Any) -> Iterator[Any]:
        """Take one item, yield what is left of it (nothing, itself, or something smaller)."""
        yield item

    def broke_off(self) -> Iterator[Any]:
        """The stream broke off: what can be said of what is under way."""
        return iter(())

    def waiting_since_ns(self) -> int | None:
        """Time of the oldest sample this stage still holds back; None if it holds nothing."""
        return None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not NAME.fullmatch(cls.name):
            raise TypeError(f"{cls.__qualname__}: a stage needs a snake_case name")


@dataclass(frozen=True)
class ThrottleSettings(StageSettings):
    """`throttle = "10 s"`: at most one reading every so long."""

    every: str

    def __post_init__(self) -> None:
        seconds(self.every)


class Throttle(Stage):
    """Lets one reading pass, then none until the interval is over. The first passes at once."""

    name = "throttle"
    settings_type = ThrottleSettings

    def __init__(self, sensor: str, settings: ThrottleSettings) -> None:
        super().__init__(sensor, settings)
        self._every_ns = int(seconds(settings.every) * 1e9)
        self._next_ns = 0

    def feed(self, item: Reading) -> Iterator[Reading]:
        """Pass the reading if the interval since the last passed one is over."""
        if item.t_ns >= self._next_ns:
            self._next_ns = item.t_ns + self._every_ns
            yield item


@dataclass(frozen=True)
class OnChangeSettings(StageSettings):
    """`on_change = 0.5`: pass when any value moved by at least this much; `at_least` is a heartbeat."""

    step: float
    at_least: str = ""

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError("on_change must be 0 or more")
        if self.at_least:
            seconds(self.at_least)


class OnChange(Stage):
    """Passes a reading when a value differs from the last passed one by `step` or more."""

    name = "on_change"
    settings_type = OnChangeSettings

    def __init__(self, sensor: str, settings: OnChangeSettings) -> None:
        super().__init__(sensor, settings)
        self._heartbeat_ns = int(seconds(settings.at_least) * 1e9) if settings.at_least else None
        self._last: Reading | None = None

    def feed(self, item: Reading) -> Iterator[Reading]:
        """Pass the reading if it is the first, moved enough, or the heartbeat is due."""
        if self._last is None or self._moved(self._last, item) or self._due(self._last, item):
            self._last = item
            yield item

    def _moved(self, last: Reading, item: Reading) -> bool:
        if last.values.keys() != item.values.keys():
            return True
        for key, value in item.values.items():
            before = last.values[key]
            if value is None or before is None:
                if value is not before:
                    return True
            elif value != before and abs(value - before) >= self.settings.step:
                return True
        return False

    def _due(self, last: Reading, item: Reading) -> bool:
        return self._heartbeat_ns is not None and item.t_ns - last.t_ns >= self._heartbeat_ns


def run_stages(stages: Sequence[Stage], item: Any) -> Iterable[Any]:
    """Everything that comes out when `item` runs through the stages that take its type, in order."""
    items: list[Any] = [item]
    for stage in stages:
        items = [
            out
            for each in items
            for out in (stage.feed(each) if type(each).__name__ == stage.takes else (each,))
        ]
        if not items:
            break
    return items
