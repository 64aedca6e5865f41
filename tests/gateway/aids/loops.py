"""Runs a coroutine test in a loop of its own, with a limit, so that a test that waits in vain fails soon."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

_Test = Callable[..., Coroutine[Any, Any, None]]


def in_loop(test: _Test, limit_s: float = 30) -> Callable[..., None]:
    """Make a coroutine function a test that pytest can call."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(limit_s):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


def patiently(test: _Test) -> Callable[..., None]:
    """`in_loop` for a test of several processes that start one after the other, on a busy machine."""
    return in_loop(test, 110)


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
