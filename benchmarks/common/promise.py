"""What a benchmark must show, and whether it did: a table, then one line of JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.table import figure, table


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio or figure with its bar. `value` is None where this machine cannot measure it."""

    key: str  # its name in the JSON's `ratios`
    what: str
    value: float | None
    limit: float
    at_least: bool = False  # the limit is a floor, not a ceiling

    @property
    def kept(self) -> bool | None:
        """Whether the bar holds; None if it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def report(
    promises: Sequence[Promise],
    found: Mapping[str, Any],
    *,
    as_json: bool,
    more: Mapping[str, float | None] | None = None,
) -> int:
    """Print the promises, and everything found as JSON on the last line; the exit status: 1 if one is broken.

    `more` are ratios for information, without a bar.
    """
    print(table(("what must hold", "bar", "measured", ""), [_row(p) for p in promises]))
    if as_json:
        ratios = {p.key: p.value for p in promises} | dict(more or {})
        print(json.dumps({"ratios": ratios} | dict(found), ensure_ascii=False))
    return int(any(p.kept is False for p in promises))


def _row(promise: Promise) -> tuple[str, str, str, str]:
    bar = ("≥ " if promise.at_least else "≤ ") + f"{promise.limit:g}"
    verdict = {True: "holds", False: "BROKEN", None: "not measured"}[promise.kept]
    return promise.what, bar, figure(promise.value), verdict
