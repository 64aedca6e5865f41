"""The whole ladder: every bench that a build machine can have, and the summary of all.

The guest's kernel is built, and QEMU's fetched, while the lowest rung runs. The rungs themselves run one at a
time, as what they measure would be the other's load; but virtual time does not feel load, so the rung that
travels in it runs beside the one after it.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from gateway.errors import GatewayError
from gateway_hil.report import Row, skipped_everywhere, summary
from gateway_hil.rung import GUESTS, Rung, climb, engine_named

__all__ = ["RUNGS", "climb_all"]

# On the bench qemu the few tests that ask what only the stock kernel can tell (hil/ladder/conftest.py).
RUNGS = (
    Rung(bench="local"),
    Rung(bench="uml"),
    Rung(bench="uml", time_travel=True),
    Rung(bench="qemu", marks="stock_kernel"),
)


def climb_all(
    benches: Sequence[str],
    out: Path,
    seed: int | None,
    say: Callable[[str], None],
    line: Callable[[str], None],
) -> int:
    """Run all rungs of these benches; print the summary with `say`. 0 only if every one ran and is good."""
    rungs = [rung for rung in RUNGS if rung.bench in benches]
    started_s = time.monotonic()
    running: list[Future[Row]] = []
    with ThreadPoolExecutor(thread_name_prefix="ladder") as pool:
        kernels = {bench: pool.submit(_prepare, bench, say) for bench in GUESTS if bench in benches}
        for rung in rungs:
            named = replace(rung, out=out / rung.name.replace(", ", "-").replace(" ", "-"), seed=seed)
            running.append(pool.submit(_climbed, named, kernels.get(rung.bench), say, line))
            if not rung.time_travel:
                _await(running[-1], say)
        for rung_row in running:
            _await(rung_row, say)
    rows = [row.result() for row in running]
    reports = [row.report for row in rows if row.report is not None]
    for text in summary(rows):
        say(text)
    # Only the whole ladder can tell that nobody ran a test.
    left_out = skipped_everywhere(reports) if len(rungs) == len(RUNGS) else []
    for name in left_out:
        say(f"NOT RUN: {name} was skipped on every bench")
    say(f"all in {time.monotonic() - started_s:.0f} s; consoles, reports and seeds are in {out}")
    return 0 if all(row.is_good for row in rows) and not left_out else 1


def _await(row: Future[Row], say: Callable[[str], None]) -> None:
    """Wait for a rung. Threads cannot be interrupted, but what they started dies with this process."""
    try:
        row.result()
    except KeyboardInterrupt:
        say("interrupted")
        os._exit(130)


def _prepare(bench: str, say: Callable[[str], None]) -> None:
    engine_named(bench).prepare(lambda text: say(f"{bench}: {text}"))


def _climbed(
    rung: Rung, kernel: Future[None] | None, say: Callable[[str], None], line: Callable[[str], None]
) -> Row:
    """One rung's row of the summary; whatever kept it from running is the row's reason."""
    say(f"--- {rung.name}")
    try:
        if kernel is not None:
            kernel.result()
        result = climb(rung, lambda text: line(f"[{rung.name}] {text}"), say)
        row = Row(rung.name, result.outcome.seconds, result.report, result.why)
    except GatewayError as error:
        row = Row(rung.name, 0.0, None, str(error))
    say(f"--- {rung.name}: {'good' if row.is_good else 'FAILED'} ({row.seconds:.0f} s)")
    return row
