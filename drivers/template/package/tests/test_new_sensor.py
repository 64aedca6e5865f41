"""The driver of MAKER MODEL: every capture gives what it should, and the kit's rules hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = sorted(path.parent for path in Path(__file__).parent.glob("drivers/new-sensor/*/capture.txt"))


def gateway(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line of `gateway` in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_capture(case: Path) -> None:
    """What the driver makes of a capture is what expected.json says."""
    expected = json.loads((case / "expected.json").read_text("utf-8"))
    given = [f"{key}={json.dumps(value)}" for key, value in expected.get("settings", {}).items()]
    words = [word for each in given for word in ("--set", each)]
    done = gateway("decode", "new-sensor", str(case / "capture.txt"), "--expected", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_the_kit_finds_nothing() -> None:
    """Every rule of bronze and silver holds: noise, stalls, unplugging, memory and more."""
    done = gateway("drivers", "--check", "new-sensor", "--tier", "silver")
    assert done.returncode == 0, done.stdout + done.stderr
