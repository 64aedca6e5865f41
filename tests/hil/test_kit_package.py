"""The kit with somebody else's package: a good driver, and for every rule one that breaks just it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway_hil.kit.rules import Tier
from gateway_hil.kit.table import RULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
PACKAGE = Path(__file__).parent / "aids" / "kit_package"
Answers = dict[str, Future[subprocess.CompletedProcess[str]]]
CASES = PACKAGE / "tests" / "drivers" / "acme-vane"

# Driver, the rule that it breaks, and what the text of the failure says.
BROKEN = [
    ("acme-declares", "declares", "Source:"),
    ("acme-captures", "captures", "case examples: at 1.0 s it gives {'wind_from': 215"),
    ("acme-bytes", "bytes", "raised ValueError: invalid literal for int() with base 16"),
    ("acme-hangs", "bytes", "did not return within 2 s: it hangs"),
    ("acme-crashes", "bytes", "signal SIGSEGV"),
    ("acme-declared", "declared", "decode gave gust, which its `emits` does not declare"),
    ("acme-as-new", "as-new", "give a new driver 10 readings, and 9 after reset()"),
    ("acme-lasting", "lasting", "broken.py:"),
    ("acme-noise", "noise", "no reading within"),
    ("acme-truncation", "truncation", "after three packets that were cut in half"),
    ("acme-drip", "drip", "where its packets come byte by byte"),
    ("acme-stall", "stall", "after a silence"),
    ("acme-unplug", "unplug", "no reading within 2 s after it was plugged in again"),
    ("acme-clock", "clock", "while the wall clock jumps"),
    ("acme-fast", "fast", "at ten times its pace"),
    ("acme-flood", "flood", "after a flood"),
    ("acme-memory", "memory", "kB per 1,000 packets"),
    ("acme-stop", "stop", "did not end within 2 s of SIGTERM"),
    ("acme-stop-talk", "stop", "did not end within 2 s of SIGTERM"),
    ("acme-exact", "exact", "wind is 4"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it, beside our environment."""
    folder = tmp_path_factory.mktemp("acme")
    source = shutil.copytree(PACKAGE, folder / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--target", str(folder / "site"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def gateway(site: Path, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "XDG_STATE_HOME": str(state)}
    command = [sys.executable, "-m", "gateway", "drivers", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=200)


@pytest.fixture(scope="module")
def answers(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Answers]:
    """All that are asked for in this run, four at a time: most of it is waiting."""
    asked = [
        item.callspec.params
        for item in request.session.items
        if item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(4) as pool:
        yield {
            each["driver"]: pool.submit(gateway, installed, tmp_path_factory.mktemp("state"), *check(**each))
            for each in asked
        }


def check(driver: str, rule: str, text: str) -> list[str]:
    """The words of one check."""
    del text
    return ["--check", driver, "--rule", rule, "--cases", str(CASES)]


@pytest.mark.parametrize(("driver", "rule", "text"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_a_driver_that_breaks_one_rule_is_told_which_and_how(
    answers: Answers, driver: str, rule: str, text: str
) -> None:
    done = answers[driver].result()
    told = [line for line in done.stdout.splitlines() if f" {rule} " in line]
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(told) == 1, done.stdout
    assert "FAILED" in told[0]
    assert text in told[0]


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for _, rule, _ in BROKEN} == {rule.name for rule in RULES}


def test_a_good_driver_of_somebody_else_is_gold_and_keeps_its_badge_until_it_changes(
    installed: Path, tmp_path: Path
) -> None:
    done = gateway(installed, tmp_path, "--check", "acme-vane", "--tier", "gold", "--cases", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "acme-vane: gold"
    assert badge(installed, tmp_path) == Tier.GOLD
    vane = installed / "acme_vanes" / "vane.py"
    before = vane.read_text("utf-8")
    vane.write_text(before.replace("/ 10}", "/ 20}"), encoding="utf-8")
    assert badge(installed, tmp_path) == "unchecked"
    vane.write_text(before, encoding="utf-8")
    assert badge(installed, tmp_path) == Tier.GOLD


def test_without_an_emulator_its_capture_plays_the_part(installed: Path, tmp_path: Path) -> None:
    done = gateway(installed, tmp_path, "--check", "acme-recorded", "--cases", str(CASES))
    assert done.stdout.splitlines()[-1] == "acme-recorded: silver", done.stdout + done.stderr
    done = gateway(installed, tmp_path, "--check", "acme-recorded", "--rule", "exact", "--cases", str(CASES))
    assert "has no emulator; write one" in done.stdout


def badge(site: Path, state: Path) -> Any:
    lines = gateway(site, state).stdout.splitlines()
    head = next(line for line in lines if line.startswith("acme-vane "))
    return head.partition("(acme-vanes 1.0, ")[2].partition(")")[0]
