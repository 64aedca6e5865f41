"""Check a driver: ask it the rules of one tier after the other, in a process that it may take down.

`gateway drivers --check NAME` comes here through the entry point `gateway.kit`. What is told is plain: a
dict with tier, rule, outcome ("passed", "failed", "not asked"), text and seconds.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError, GatewayError
from gateway.plugins import DRIVERS, find, unknown
from gateway.process import child_environment
from gateway_hil.kit.child import Job, outcome
from gateway_hil.kit.climbing import climbed
from gateway_hil.kit.rules import Tier
from gateway_hil.kit.table import CLIMBS, RULES

SILENT_S: Final = 90.0  # the longest that a rule may take, on a busy machine
_LONG: Final = 1 << 16
Told = Callable[[dict[str, Any]], None]
# The line with the exception itself, in a group, too.
_RAISED: Final = re.compile(r"\b[A-Z]\w*(Error|Exception|Exit|Interrupt): ")


def check(
    name: str,
    tier: str,
    told: Told,
    *,
    bench: str = "",
    cases: Path | None = None,
    only: Sequence[str] = (),
) -> str:
    """Ask the rules up to `tier`; the tier that was reached, or "none".

    A tier is reached if none of its rules failed and at least one was asked; the next is asked only then.
    With `only` no other rules are asked. Raises ConfigError if there is no such rule or driver, or it cannot
    be loaded.
    """
    find(DRIVERS, name, "driver")
    reached = "none"
    for each in _tiers(tier, only):
        outcomes = _asked(Job(name, each.value, only, cases=str(cases.resolve()) if cases else ""), told)
        if each is Tier.GOLD and not _failed(outcomes) and (not only or CLIMBS.name in only):
            outcomes.append(_climbed(name, bench))
            told(outcomes[-1])
        if not only and not _holds(each, outcomes):
            break
        reached = each.value
    return reached


def _tiers(highest: str, only: Sequence[str]) -> list[Tier]:
    """The tiers up to the highest; or those of the rules that are named."""
    rules = {rule.name: rule.tier for rule in (*RULES, CLIMBS)}
    for name in only:
        if name not in rules:
            raise ConfigError(unknown("rule", name, rules))
    tiers = list(Tier)
    named = {rules[name] for name in only}
    return [tier for tier in tiers if tier in named] if only else tiers[: tiers.index(Tier(highest)) + 1]


def _holds(tier: Tier, outcomes: list[dict[str, Any]]) -> bool:
    """No rule of the tier failed, and some passed; for gold the last one, too."""
    passed = [out["outcome"] == "passed" for out in outcomes]
    return not _failed(outcomes) and any(passed) and (tier is not Tier.GOLD or passed[-1])


def _failed(outcomes: list[dict[str, Any]]) -> bool:
    return any(out["outcome"] == "failed" for out in outcomes)


def _asked(job: Job, told: Told) -> list[dict[str, Any]]:
    """One tier's rules. What kills or hangs the child is the failure of the rule that was asked just then."""
    outcomes: list[dict[str, Any]] = []
    while True:
        begun: list[str] = []

        def heard(line: dict[str, Any], begun: list[str] = begun) -> None:
            if "begins" in line:
                begun[:] = line["begins"]
                return
            begun.remove(line["rule"])
            outcomes.append(line)
            told(line)

        ended = _child(replace(job, done=[out["rule"] for out in outcomes]), heard)
        if not ended:
            return outcomes
        if not begun:
            raise ConfigError(f"checking {job.driver!r}: {ended}")
        for rule in begun:
            outcomes.append(
                {"tier": job.tier, "rule": rule, "outcome": "failed", "text": ended, "seconds": 0.0}
            )
            told(outcomes[-1])


def _child(job: Job, heard: Told) -> str:
    """Run the child to its end; why it did not come to a good one, or nothing."""
    command = [sys.executable, "-P", "-m", "gateway_hil.kit.child", json.dumps(asdict(job))]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=child_environment(),
            start_new_session=True,  # so that it goes with all that it started
        )
        assert child.stdout is not None
        try:
            whole = _lines(child.stdout.fileno(), heard)
        finally:
            if child.poll() is None and not _ends(child):
                os.killpg(child.pid, signal.SIGKILL)
            child.stdout.close()
            status = child.wait()
        if not whole:
            return f"it said nothing for {SILENT_S:.0f} s: its code hangs where Python cannot interrupt it"
        if status == 0:
            return ""
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    if status == os.EX_DATAERR:
        raise ConfigError("\n".join(said))
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    raised = [line.strip(" |+-") for line in said if _RAISED.search(line)]
    return f"it ended the process that asked it ({how}): {(raised or said)[-1]}"


def _ends(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines(descriptor: int, heard: Told) -> bool:
    """Hand over each line as it comes; False if none comes for too long."""
    rest, heard_s = b"", time.monotonic()
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, heard_s + SILENT_S - time.monotonic()))
        if not ready:
            return False
        chunk = os.read(descriptor, _LONG)
        if not chunk:
            return True
        heard_s = time.monotonic()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            heard(json.loads(line))


def _climbed(name: str, bench: str) -> dict[str, Any]:
    """The driver's tests of the ladder, on one bench."""
    begin_s = time.monotonic()
    note, error = "", None
    try:
        note = climbed(name, bench)
    except GatewayError as found:
        error = found
    return outcome(CLIMBS, note, error, time.monotonic() - begin_s)
