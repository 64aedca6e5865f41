"""How a worker under test loads the driver: asked often, or with a wall clock that jumps.

The kit writes "gateway_hil.kit.quick:<how> <driver>" into the plan, as the factory of the sensor's driver.

    quick NAME     the driver, but a device that is asked seldom is asked every 0.2 s
    clock NAME     the same, in a process whose wall clock is put forth and back by an hour all the time
"""

import datetime as dt
import time
from typing import Any, Final

from gateway.driver import Driver, SerialDriver
from gateway.plugins import DRIVERS, find

EVERY_S: Final = 0.2
STEP_S: Final = 3600.0
_PACE_S: Final = 0.3  # between two steps of the clock


def __getattr__(words: str) -> Any:
    how, _, name = words.partition(" ")
    if how not in {"quick", "clock"}:
        raise AttributeError(words)
    if how == "clock":
        _let_the_clock_jump()  # before the driver is imported, so that it cannot keep the right one
    return _often(find(DRIVERS, name, "driver").load())


def _often(kind: type[Driver]) -> type[Driver]:
    if not issubclass(kind, SerialDriver) or kind.every_s <= EVERY_S:
        return kind

    class Often(kind):  # type: ignore[misc, valid-type]
        every_s = EVERY_S

        def every_for(self) -> float:
            return EVERY_S

    Often.__name__, Often.__qualname__, Often.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Often


def offset_s() -> float:
    """How wrong the clock is now: an hour ahead, right, an hour behind, right, and so on."""
    return (0.0, STEP_S, 0.0, -STEP_S)[int(time.monotonic() / _PACE_S) % 4]


def _let_the_clock_jump() -> None:
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + offset_s()
    time.time_ns = lambda: right_ns() + int(offset_s() * 1e9)

    class Jumping(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Jumping":
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> "Jumping":
            return cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

    dt.datetime = Jumping  # type: ignore[misc]
