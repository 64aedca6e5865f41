"""The kit's own process, where a driver's code runs: `python -m gateway_hil.kit.child NAME TIER [RULE ...]`.

Prints a JSON object a line: {"begins": RULE} before a rule that runs in here, and what came of each. The
rules that are named are left out: they were asked before, and one of them ended this process.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from gateway.compile import answer_alone
from gateway.errors import GatewayError
from gateway_hil.kit.rules import Ask, Failure, NotAsked, OnBox, Rule, Tier
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


class Asking:
    """Asks one driver the rules of one tier."""

    def __init__(self, name: str, tier: Tier, done: Sequence[str], out: TextIO) -> None:
        self._out = out
        self._subject = Subject(name, _cases())
        asks: list[tuple[Rule, Ask]] = [
            (rule, rule.asks[self._subject.kind.kind])
            for rule in RULES
            if rule.tier == tier and rule.name not in done
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
            self._told(rule, note, error, time.monotonic() - begin_s)
        if self._on_box:
            self._say({"begins": [rule.name for rule, _ in self._on_box]})
            with tempfile.TemporaryDirectory(prefix="gateway-kit-") as folder:
                try:
                    Stand(self._subject, self._on_box, Path(folder)).run(self._told)
                except Failure as error:  # before any worker was started
                    for rule, _ in self._on_box:
                        self._told(rule, "", error, 0.0)

    def _told(self, rule: Rule, note: str, error: Exception | None, seconds: float) -> None:
        self._say(outcome(rule, note, error, seconds))

    def _say(self, line: dict[str, object]) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


def _cases() -> Path | None:
    """Where the cases are, if the one who asked named a folder."""
    named = os.environ.get("GATEWAY_KIT_CASES")
    return Path(named) if named else None


def main(arguments: list[str]) -> int:
    """The child. A ConfigError is one line on stderr."""
    name, tier, *done = arguments
    with answer_alone() as out:
        try:
            Asking(name, Tier(tier), done, out).run()
        except GatewayError as error:
            sys.stderr.write(f"{error}\n")
            return os.EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
