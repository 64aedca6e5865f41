"""A bug in a driver, in one line that its author can use: which driver, on which frame, what, and where.

Like this:
    'wv7' of acme-wv7 1.0 broke on frame 7: ZeroDivisionError: division by zero (/home/a/wv7.py:23)
"""

import resource
from collections.abc import Iterator
from traceback import extract_tb
from typing import Final

from gateway.plan import SensorPlan

_LAST_WORDS_BYTES: Final = 32 << 20
_NOT_BLAMED = "a bug ended this worker, please report it"


def blame(error: BaseException, sensor: SensorPlan, on: str) -> None:
    """Note on an exception whose driver raised it, and `on` what: "frame 7" of this process, "a greeting"."""
    make_room()
    error.add_note(f"{named(sensor)} broke on {on}")


def make_room() -> None:
    """Let a process that dies of its memory limit (`gateway.guard`) say why: it may have some more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        more = soft + _LAST_WORDS_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (more if hard < 0 else min(more, hard), hard))


def bugs_in(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """What is inside all the groups around it: the line to log, and the exception with its own trace."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from bugs_in(each)
    else:
        who = next(iter(getattr(error, "__notes__", ())), _NOT_BLAMED)
        yield f"{who}: {what_and_where(error)}", error


def what_and_where(error: BaseException) -> str:
    """Type and text of an exception, and the file and line that raised it."""
    spots = extract_tb(error.__traceback__)
    return f"{said(error)} ({spots[-1].filename}:{spots[-1].lineno})" if spots else said(error)


def said(error: BaseException) -> str:
    """Type and text of an exception."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def named(sensor: SensorPlan) -> str:
    """The driver and the distribution it came with."""
    from importlib.metadata import entry_points  # 2 MiB in every worker, and only a bug needs it

    for point in entry_points(group="gateway.drivers", name=sensor.driver):
        if point.dist is not None and point.value == sensor.factory:
            return f"{sensor.driver!r} of {point.dist.name} {point.dist.version}"
    return f"{sensor.driver!r} ({sensor.factory})"
