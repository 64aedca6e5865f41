"""The last rule of gold: the driver's tests in `gateway_hil.kit.ladder_drivers`, on one bench."""

import tempfile
from pathlib import Path
from typing import Final

from gateway.plugins import DRIVERS, find
from gateway_hil.kit.rules import Failure, NotAsked
from gateway_hil.rung import Rung, climb

USUAL: Final = {"serial": "local"}  # the other kinds need a kernel of our own
TESTS: Final = Path(__file__).with_name("ladder_drivers.py")


def climbed(name: str, bench: str = "") -> str:
    """Run them. Raises Failure with the first that failed, NotAsked if this bench cannot do it."""
    kind = find(DRIVERS, name, "driver").load().kind
    where = bench or USUAL.get(kind, "uml")
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gateway-kit-") as folder:
        rung = Rung(bench=where, paths=(str(TESTS),), select=f"[{name}]", out=Path(folder))
        result = climb(rung, said.append, said.append)
    report = result.report
    if report is None:
        raise Failure(f"on the bench {where} the tests left no result: {result.why or said[-1:]}")
    if failed := [test.name for test in report.tests if test.outcome == "failed"]:
        raise Failure(f"on the bench {where} {failed[0]} failed: {_first_error(said)}")
    if not report.count("passed"):
        whys = [why for why, _ in report.reasons()] or [f"{name} has no emulator"]
        raise NotAsked(f"{whys[0]}; name another bench with --bench")
    skipped = f", {report.count('skipped')} could not be asked" if report.count("skipped") else ""
    return f"{report.count('passed')} tests on the bench {where}{skipped}"


def _first_error(said: list[str]) -> str:
    errors = [line.removeprefix("E").strip() for line in said if line.startswith("E  ")]
    return errors[0] if errors else "see `gateway hil run`"
