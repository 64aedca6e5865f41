"""The shipped models answer the golden questions on other machines, too: on an ARM processor (emulated by
qemu-user) with tflite-runtime, and with the runtime litert. `./dev test` makes both; litert on ARM crashes
under this emulator, and is tried nowhere.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from gateway_hil.arm64 import Arm64
from gateway_models.bundles import gunshot, gunshot_synthetic

ROOT = Path(__file__).parents[2]
LITERT = ROOT / ".venv-litert/bin/python"
ASK = """
import json, sys
from pathlib import Path
from gateway.bundle import load_bundle
from gateway.inference import load_runner
bundle = load_bundle(Path(sys.argv[1]))
bundle.check_front_end()
found = {}
for variant, facts in bundle.manifest.variants.items():
    for look in bundle.manifest.looks:
        runner = load_runner(bundle, look.name, variant)  # refuses an answer that is too far off
        off, info = bundle.golden.off_by(variant, look.name, runner.run), runner.info()
        found[f"{look.name}.{variant}"] = [off, facts.tolerance, info.machine, info.runtime]
print(json.dumps(found))
"""


def answers(done: subprocess.CompletedProcess[str]) -> dict[str, list]:
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def not_here(what: str) -> None:
    """Where the recordings must be, so must the other machines."""
    if os.environ.get("GATEWAY_TEST_DATA"):
        pytest.fail(f"{what} is not there; ./dev test makes it")
    pytest.skip(f"NOT RUN: {what} is not there; ./dev test makes it")


@pytest.mark.slow
@pytest.mark.parametrize("bundle", [gunshot, gunshot_synthetic], ids=lambda path: path.name)
def test_golden_answers_on_an_arm_processor(bundle: Path) -> None:
    machine = Arm64(ROOT / ".arm64")
    if not machine.is_made:
        not_here("the ARM machine")
    found = answers(machine.python(["-c", ASK, str(bundle)], [ROOT]))
    assert set(found) == {"first.f32", "first.int8", "second.f32", "second.int8"}
    for off, tolerance, processor, runtime in found.values():
        assert (processor, runtime) == ("aarch64", "tflite-runtime")
        assert off <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("bundle", [gunshot, gunshot_synthetic], ids=lambda path: path.name)
def test_golden_answers_with_the_other_runtime(bundle: Path) -> None:
    if not LITERT.exists():
        not_here("the runtime litert")
    done = subprocess.run(
        [LITERT, "-c", ASK, bundle], env=other_environment(), capture_output=True, text=True, check=False
    )
    found = answers(done)
    assert set(found) == {"first.f32", "first.int8", "second.f32", "second.int8"}
    for off, tolerance, _, runtime in found.values():
        assert runtime == "ai-edge-litert"
        assert off <= tolerance


@pytest.mark.slow
def test_the_other_runtime_passes_admission(tmp_path: Path) -> None:
    """Its libraries are larger and start threads: the child's limits must leave room for that."""
    if not LITERT.exists():
        not_here("the runtime litert")
    script = (
        "import sys; from pathlib import Path; from gateway.admission import admit; "
        "from gateway.bundle import load_bundle; "
        "print(admit(load_bundle(Path(sys.argv[1])), Path(sys.argv[2])))"
    )
    done = subprocess.run(
        [LITERT, "-c", script, gunshot, tmp_path],
        env=other_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "litert" in done.stdout


def other_environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
