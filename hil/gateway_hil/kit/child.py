"""The kit's own process, where a driver's code runs: `python -m gateway_hil.kit.child JOB`, JSON of a `Job`.

Prints a JSON object a line: {"begins": [RULE, ...]} before rules are asked, and what came of each.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateway.compile import answer_alone
from gateway.errors import GatewayError
from gateway_hil.kit.rules import Ask, Failure, Hang, NotAsked, OnBox, Rule
from gateway_hil.kit.stand import Stand
from gateway_hil.kit.subject import Subject
from gateway_hil.kit.table import RULES

PASSED, FAILED, NOT_ASKED = "passed", "failed", "not asked"


def outcome(rule: Rule, note: str, error: Exception | None, seconds: float) -> dict[str, object]:
    """What came of a rule, as plain values."""
    came = PASSED if error is None else NOT_ASKED if isinstance(error, NotAsked) else FAILED
    text = note if error is None else str(error)
    return {
        "tier": rule.tier.value,
        "rule": rule.name,
        "outcome": came,
        "text": text,
        "seconds": round(seconds, 2),
    }


@dataclass(frozen=True, slots=True)
class Job:
    """What to ask: the rules of a tier, or only those of `only`; never again those of `done`.

    `cases` is the folder of the cases; empty: where the project has them.
    """

    driver: str
    tier: str
    only: Sequence[str] = ()
    done: Sequence[str] = ()
    cases: str = ""


class Asking:
    """Does a job, writing to `out`."""

    def __init__(self, job: Job, out: TextIO) -> None:
        self._out = out
        self._subject = Subject(job.driver, Path(job.cases) if job.cases else None)
        asks: list[tuple[Rule, Ask]] = [
            (rule, rule.asks[self._subject.kind.kind])
            for rule in RULES
            if rule.tier == job.tier and rule.name not in job.done and (not job.only or rule.name in job.only)
        ]
        self._on_box = [(rule, how) for rule, how in asks if isinstance(how, OnBox)]
        self._others = [(rule, how) for rule, how in asks if not isinstance(how, OnBox)]

    def run(self) -> None:
        """One after the other in here, then those of a real worker."""
        for rule, how in self._others:
            assert not isinstance(how, OnBox)
            self._say({"begins": [rule.name]})
            begin_s = time.monotonic()
            note, error = "", None
            try:
                if isinstance(how, str):
                    raise NotAsked(how)
                note = how(self._subject)
            except GatewayError as found:
                error = found
            except Hang as hang:
                error = Failure(str(hang))
            self._told(rule, note, error, time.monotonic() - begin_s)
        if self._on_box:
            self._say({"begins": [rule.name for rule, _ in self._on_box]})
            with tempfile.TemporaryDirectory(prefix="gateway-kit-") as folder:
                try:
                    Stand(self._subject, self._on_box, Path(folder)).run(self._told)
                except (Failure, Hang) as error:  # before any worker was started
                    for rule, _ in self._on_box:
                        self._told(rule, "", Failure(str(error)), 0.0)

    def _told(self, rule: Rule, note: str, error: Exception | None, seconds: float) -> None:
        self._say(outcome(rule, note, error, seconds))

    def _say(self, line: dict[str, object]) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


def main(arguments: list[str]) -> int:
    """The child. A ConfigError is one line on stderr."""
    job = Job(**json.loads(arguments[0]))
    with answer_alone() as out:
        try:
            Asking(job, out).run()
        except GatewayError as error:
            sys.stderr.write(f"{error}\n")
            return os.EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
