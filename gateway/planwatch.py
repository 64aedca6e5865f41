"""A running process hears that core has put a new plan in the place of the one that it runs by."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from gateway.errors import ConfigError
from gateway.log import say
from gateway.plan import Plan, load_plan
from gateway.watch import Watch

_log = logging.getLogger("plan")


class PlanWatch:
    """While entered, `take_over` gets each new plan.json, in the running loop.

    Where the kernel has no watch left it says so: then the plan is the one of the start.
    """

    def __init__(self, path: Path, take_over: Callable[[Plan], Awaitable[None]]) -> None:
        self._path = path
        self._take_over = take_over
        self._tasks: set[asyncio.Future[None]] = set()
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        try:
            self._watch = Watch()
            self._watch.add(self._path.parent)
        except OSError as error:
            say(_log, logging.WARNING, f"{self._path} cannot be watched ({error.strerror})")
        else:
            asyncio.get_running_loop().add_reader(self._watch.fileno(), self._look)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()

    def _look(self) -> None:
        assert self._watch is not None
        if self._path not in self._watch.changes():
            return
        try:
            plan = load_plan(self._path)
        except (ConfigError, OSError) as error:
            say(_log, logging.WARNING, f"the old plan goes on: {error}")
            return
        task = asyncio.ensure_future(self._take_over(plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
