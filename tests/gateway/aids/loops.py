"""Runs a coroutine test in a loop of its own, with a limit, so that a test that waits in vain fails soon."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test that pytest can call."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
