"""drivers/README.md is true: its files are written down as they stand there, and its commands run."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from case_runner import in_steps, run

DRIVERS = Path(__file__).resolve().parents[2] / "drivers"
FENCE = re.compile(r"^```(\w+) ?([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall((DRIVERS / "README.md").read_text("utf-8"))
FILES = {name: text for _, name, text in BLOCKS if name}
CONSOLE = [text for kind, _, text in BLOCKS if kind == "console"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The newcomer's folder, with what `pip install -e .` would have added so that it is found."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def load(path: Path, name: str):
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)()


def agrees(driver, folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    steps = {measure.name: measure.resolution for measure in driver.emits}
    readings, bad, skipped = run(driver, folder / "capture.txt")
    assert [[at, in_steps(values, steps)] for at, values in readings] == [
        [at, in_steps(values, steps)] for at, values in expected["readings"]
    ]
    assert (bad, skipped) == (expected.get("bad", 0), 0)


def test_the_readme_has_everything_a_newcomer_needs() -> None:
    assert FILES.keys() == {"wv7.py", "pyproject.toml", "capture.txt", "site.toml", "expected.json"}
    assert len(CONSOLE) == 2


def test_the_readmes_driver_decodes_its_capture(folder: Path) -> None:
    agrees(load(folder / "wv7.py", "Wv7"), folder)


def test_the_templates_driver_decodes_its_capture() -> None:
    agrees(load(DRIVERS / "template" / "driver.py", "NewSensor"), DRIVERS / "template")


def test_the_readmes_driver_is_short() -> None:
    body = FILES["wv7.py"].partition("class ")[2]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 25


@pytest.mark.slow
@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: block.partition("\n")[0])
def test_the_readmes_commands_print_what_it_says(folder: Path, block: str) -> None:
    command, _, expected = block.partition("\n")
    prompt, program, *arguments = shlex.split(command)
    assert (prompt, program) == ("$", "gateway")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not expected or done.stdout == expected
