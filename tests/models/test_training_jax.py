"""Training itself, in its own environment: going on after an interruption, what is exported."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_PYTHON = _ROOT / ".venv-train" / "bin" / "python"
_CHECKS = Path(__file__).parent / "aids" / "jax_checks.py"


@pytest.fixture(scope="module")
def measured() -> Any:
    if not _PYTHON.exists():
        pytest.skip("training has an environment of its own, not set up here (./dev models makes it)")
    environment = os.environ | {
        "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'models'}",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    done = subprocess.run(
        [_PYTHON, _CHECKS], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(measured: Any) -> None:
    assert measured["resumed_off"] == 0.0
    assert measured["other_seed_off"] > 0.01


@pytest.mark.slow
def test_what_is_exported_computes_what_was_trained(measured: Any) -> None:
    assert measured["oracle_off"] < 1e-3


@pytest.mark.slow
def test_it_learns(measured: Any) -> None:
    assert measured["right"] > 0.95
    assert measured["losses"][1] < measured["losses"][0]
