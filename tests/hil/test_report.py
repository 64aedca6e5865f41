"""Reports of the ladder's runs, and the summary of all of them."""

from pathlib import Path

import pytest

from gateway_hil.engines import NO_RESULT, Outcome
from gateway_hil.report import Report, ReportError, Row, Told, read_report, skipped_everywhere, summary
from gateway_hil.rung import Result, Rung

JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="4">
<testcase classname="hil.ladder.test_gpio" name="test_good" time="1.0">
  <properties>
    <property name="bench" value="uml"/><property name="note" value="seen after 31 ms"/>
  </properties>
</testcase>
<testcase classname="hil.ladder.test_gpio" name="test_bad"><failure message="no">trace</failure></testcase>
<testcase classname="hil.ladder.test_gpio" name="test_broken"><error message="no">trace</error></testcase>
<testcase classname="hil.ladder.test_ble" name="test_left">
  <skipped type="pytest.skip" message="the bench uml has no ble">where</skipped></testcase>
</testsuite></testsuites>
"""


def report(**outcomes: str) -> Report:
    """Tests by name, each with its outcome."""
    return Report(tuple(Told(name, outcome) for name, outcome in outcomes.items()))


class TestRead:
    def test_each_test_has_its_outcome_reason_and_notes(self, tmp_path: Path) -> None:
        (tmp_path / "junit.xml").write_text(JUNIT)
        got = read_report(tmp_path / "junit.xml")
        assert [test.outcome for test in got.tests] == ["passed", "failed", "failed", "skipped"]
        assert got.tests[0].name == "hil.ladder.test_gpio::test_good"
        assert got.tests[0].notes == ("seen after 31 ms",)
        assert got.reasons() == [("the bench uml has no ble", 1)]

    def test_a_report_that_is_cut_off_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "junit.xml").write_text(JUNIT[:300])
        with pytest.raises(ReportError, match="cut off"):
            read_report(tmp_path / "junit.xml")

    def test_a_report_that_is_missing_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match="no report"):
            read_report(tmp_path / "junit.xml")


class TestResultOfARun:
    @pytest.mark.parametrize(
        ("rc", "is_reported", "status"),
        [(0, True, 0), (0, False, NO_RESULT), (1, True, 1), (1, False, 1), (None, True, NO_RESULT)],
    )
    def test_good_is_only_what_says_so_twice(
        self, tmp_path: Path, rc: int | None, is_reported: bool, status: int
    ) -> None:
        told = report(a="passed") if is_reported else None
        assert Result(Rung(bench="uml"), Outcome(rc, "", 1.0, tmp_path), told, 1, "").status == status


class TestSummary:
    def test_a_row_for_each_rung(self) -> None:
        rows = [Row("local", 12.34, report(a="passed", b="passed")), Row("uml", 3.0, report(a="passed"))]
        header, local, uml = summary(rows)
        assert header.split() == ["bench", "tests", "passed", "failed", "skipped", "seconds"]
        assert local.split() == ["local", "2", "2", "0", "0", "12.3"]
        assert uml.split() == ["uml", "1", "1", "0", "0", "3.0"]
        assert len(header) == len(local) == len(uml)

    def test_a_rung_that_did_not_run_says_so_at_the_start_of_a_line(self) -> None:
        row = Row("qemu", 0.0, None, "there is no QEMU here")
        assert not row.is_good
        assert "NOT RUN: the bench qemu: there is no QEMU here" in summary([row])

    def test_a_rung_without_a_test_did_not_run(self) -> None:
        for nothing in (report(), report(a="skipped")):
            row = Row("uml", 1.0, nothing)
            assert not row.is_good
            assert "NOT RUN: the bench uml ran no test" in summary([row])

    def test_failures_and_reasons_of_skips_are_listed(self) -> None:
        tests = (Told("a", "failed"), Told("b", "skipped", "no ble"), Told("c", "passed"))
        row = Row("uml", 1.0, Report(tests))
        assert not row.is_good
        assert {"uml: FAILED a", "uml: 1 skipped: no ble"} <= set(summary([row]))

    def test_what_every_rung_skipped_is_named(self) -> None:
        local = report(a="passed", b="skipped", c="skipped")
        uml = report(a="skipped", b="failed", c="skipped", d="passed")
        assert skipped_everywhere([local, uml]) == ["c"]
