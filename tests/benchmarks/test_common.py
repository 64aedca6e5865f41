"""What every benchmark takes and prints with: arguments, tables, promises, the last line."""

import argparse
import importlib
import json
from pathlib import Path

import pytest

from benchmarks.common.arguments import folder, whole
from benchmarks.common.promise import Promise, report
from benchmarks.common.table import figure, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    lines = table(("store", "µs"), [("ours", "1.04"), ("a longer one", "198")]).splitlines()
    assert lines[0] == "store           µs"
    assert lines[2:] == ["ours          1.04", "a longer one   198"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0567, "1.06"), (38.12, "38.1"), (253.6, "254"), (1234567.0, "1,234,567"), (0, "0"), (None, "–")],
)
def test_a_figure_has_three_digits_that_count(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "at_least", "kept"),
    [(0.9, True, True), (0.89, True, False), (0.9, False, True), (0.91, False, False), (None, True, None)],
)
def test_a_promise_is_kept_at_its_limit(value: float | None, at_least: bool, kept: bool | None) -> None:
    assert Promise("key", "what", value, 0.9, at_least=at_least).kept is kept


def test_a_broken_promise_is_said_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Promise("speed", "how fast", 0.5, 0.9, at_least=True)
    unknown = Promise("wear", "how much", None, 1.25)
    assert report([broken, unknown], {"machine": "this"}, as_json=True, more={"extra": 2.0}) == 1
    *told, last = capsys.readouterr().out.splitlines()
    assert any("≥ 0.9" in line and "BROKEN" in line for line in told)
    assert any("not measured" in line for line in told)
    assert json.loads(last) == {"ratios": {"speed": 0.5, "wear": None, "extra": 2.0}, "machine": "this"}


def test_what_was_not_measured_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Promise("wear", "how much", None, 1.25)], {}, as_json=False) == 0
    assert "{" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "-4", "2.5", "many", "", "٣x"])
def test_a_run_of_nothing_is_refused_as_it_would_keep_every_promise(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number from 1, not"):
        whole(1)(text)


def test_a_whole_number_at_its_least_is_taken() -> None:
    assert whole(1)("1") == 1


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert folder(str(tmp_path)) == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match="no folder that can be written"):
        folder(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("name", "words"), [("crash_states", ("--states", "0")), ("storm", ("--seconds", "0"))]
)
def test_no_benchmark_says_that_nothing_was_lost_after_doing_nothing(
    name: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = importlib.import_module(f"benchmarks.{name}.__main__")
    monkeypatch.setattr("sys.argv", [name, *words])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "must be a whole number from" in capsys.readouterr().err


@pytest.mark.slow
def test_the_last_line_of_the_enumerator_has_ratios_like_every_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enumerator = importlib.import_module("benchmarks.crash_states.__main__")
    monkeypatch.setattr("sys.argv", ["crash-states", "--states", "1", "--processes", "1", "--json"])
    assert enumerator.main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratios"] == {"violations": 0}
