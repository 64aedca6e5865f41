"""What the tests of a run said, read from their JUnit file, and the summary of several runs."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Report", "ReportError", "Row", "Told", "read_report", "skipped_everywhere", "summary"]

_BAD: Final = ("failure", "error")


class ReportError(Exception):
    """A report is missing or cut off."""


@dataclass(frozen=True, slots=True)
class Told:
    """One test: its outcome is passed, failed or skipped; `why` is the reason of a skip."""

    name: str
    outcome: str
    why: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All tests of a run."""

    tests: tuple[Told, ...]

    def count(self, outcome: str) -> int:
        """How many tests ended so."""
        return sum(test.outcome == outcome for test in self.tests)

    def reasons(self) -> list[tuple[str, int]]:
        """Why tests were skipped, the most frequent reason first."""
        return Counter(test.why for test in self.tests if test.outcome == "skipped").most_common()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the summary. `report` is None for a rung that did not run; `why` says then why not."""

    name: str
    seconds: float
    report: Report | None
    why: str = ""

    @property
    def is_good(self) -> bool:
        """It ran, it had tests that passed, and none failed."""
        return (
            self.report is not None and self.report.count("failed") == 0 and self.report.count("passed") > 0
        )


def read_report(path: Path) -> Report:
    """Read a JUnit file. Raises ReportError if it is not there or not whole."""
    try:
        # Written by our own run of pytest; a guest that could forge it could as well forge rc.
        root = ET.parse(path).getroot()  # noqa: S314
    except FileNotFoundError:
        raise ReportError(f"the tests left no report: there is no {path}") from None
    except ET.ParseError as error:
        raise ReportError(f"the tests' report is cut off or damaged: {path}: {error}") from None
    return Report(tuple(_test(case) for case in root.iter("testcase")))


def _test(case: ET.Element) -> Told:
    name = f"{case.get('classname', '')}::{case.get('name', '')}"
    notes = tuple(p.get("value", "") for p in case.iterfind("properties/property") if p.get("name") == "note")
    if any(case.find(bad) is not None for bad in _BAD):
        return Told(name, "failed", notes=notes)
    skipped = case.find("skipped")
    if skipped is not None:
        return Told(name, "skipped", skipped.get("message", "").removeprefix("Skipped: "), notes)
    return Told(name, "passed", notes=notes)


def skipped_everywhere(reports: Iterable[Report]) -> list[str]:
    """Tests that no rung ran, though each rung went over them: nobody knows whether they hold."""
    seen: set[str] = set()
    ran: set[str] = set()
    for report in reports:
        seen |= {test.name for test in report.tests}
        ran |= {test.name for test in report.tests if test.outcome != "skipped"}
    return sorted(seen - ran)


def summary(rows: Sequence[Row]) -> list[str]:
    """The table of all rungs, then the reasons of skips; a rung that did not run says NOT RUN."""
    width = max([len(row.name) for row in rows] + [len("bench")])
    lines = [f"{'bench':<{width}}  tests  passed  failed  skipped  seconds"]
    for row in rows:
        if row.report is None:
            lines.append(f"{row.name:<{width}}  {'NOT RUN':<30} {row.seconds:>8.1f}")
            continue
        counts = [len(row.report.tests), *map(row.report.count, ("passed", "failed", "skipped"))]
        cells = "  ".join(f"{n:>{w}}" for n, w in zip(counts, (5, 6, 6, 7), strict=True))
        lines.append(f"{row.name:<{width}}  {cells}  {row.seconds:>7.1f}")
    for row in rows:
        if row.report is not None:
            lines += [f"{row.name}: {count} skipped: {why}" for why, count in row.report.reasons()]
            lines += [f"{row.name}: FAILED {t.name}" for t in row.report.tests if t.outcome == "failed"]
            if not row.is_good and row.report.count("failed") == 0:
                lines.append(f"NOT RUN: the bench {row.name} ran no test")
    lines += [f"NOT RUN: the bench {row.name}: {row.why}" for row in rows if row.report is None]
    return lines
