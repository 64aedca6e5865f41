"""hil/README.md is true: its emulator, its tests and its rig work, with the driver of drivers/README.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_hil.bench import Capability
from gateway_hil.benches.real import read_rig
from gateway_hil.faults import VERBS, parse_script

ROOM = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+) ?([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = (ROOM / "hil/README.md").read_text("utf-8")
BLOCKS = FENCE.findall(TEXT)
FILES = {name: text for _, name, text in BLOCKS if name}
DRIVER = {
    name: text for _, name, text in FENCE.findall((ROOM / "drivers/README.md").read_text("utf-8")) if name
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An integrator's folder, with what `pip install -e .` would have added so that the driver is found."""
    for name, text in ({"wv7.py": DRIVER["wv7.py"]} | FILES).items():
        (tmp_path / name).write_text(text, "utf-8")
    metadata = tmp_path / "gateway_wv7-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-wv7\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[gateway.drivers]\nwv7 = wv7:Wv7\n")
    return tmp_path


@pytest.mark.slow
def test_the_readmes_test_runs_on_the_local_bench(folder: Path) -> None:
    (first, *_) = [text.splitlines()[0] for kind, _, text in BLOCKS if kind == "console"]
    assert first == "$ gateway hil run --bench local test_wv7.py"
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *first.split()[2:], "--out", str(folder / "out")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"a reading \d\.\d\d s after it was plugged in again", done.stdout)
    assert 'tests="3"' in (folder / "out/junit.xml").read_text()


def test_the_readmes_rig_is_a_rig(folder: Path) -> None:
    assert read_rig(folder / "rig.toml").keys() == {"wv7"}


def test_the_readmes_script_is_one() -> None:
    (script,) = [text for kind, name, text in BLOCKS if kind == "text" and text.startswith("at ")]
    assert [step.verb for step in parse_script(script)] == ["unplug", "garbage", "stall"]


def test_the_readme_names_every_capability_and_verb() -> None:
    assert all(f"`{name}`" in TEXT for name in set(Capability) - {Capability.TIME_TRAVEL})
    assert all(f"`{verb}`" in TEXT for verb in VERBS)
