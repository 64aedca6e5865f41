"""A worker in the test's own process, run and stopped as its program would, on a capture."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.plan import Plan
from gateway.worker import Worker


@asynccontextmanager
async def working(plan: Plan) -> AsyncIterator[Worker]:
    """A worker that runs until the block ends, then is stopped as by SIGTERM."""
    stop = asyncio.Event()
    worker = Worker(plan, plan.ports[0])
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        yield worker
        stop.set()


def capture(folder: Path, *lines: str) -> str:
    """The port of a capture with these lines, played as fast as it is taken."""
    (folder / "bus.capture").write_text("\n".join(["# capture: 1", *lines]) + "\n")
    return f"replay:{folder}/bus.capture?speed=max"
