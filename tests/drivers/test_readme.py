"""drivers/README.md is true: from new-driver on, its commands run as they stand and print what it says."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment import Environment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "drivers/README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+) ?([\w.]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILES = {name: text for _, name, text in BLOCKS if name}
PLACES = {
    "wv7.py": "src/wv7.py",
    "wv7_emulator.py": "src/wv7_emulator.py",
    "capture.txt": "tests/drivers/wv7/data-sheet/capture.txt",
    "site.toml": "site.toml",
}
NEW = '$ gateway new-driver "Aeolus WV-7" --name wv7 --package'
CHECK = "$ gateway drivers --check wv7"
ON_A_BOX = """
import sys
from pathlib import Path
from gateway_hil.box import Box
from wv7_emulator import Wv7

with Wv7(every_s=0.2) as vane, Box(Path(sys.argv[1])) as box:
    box.start(f'[sensor.wind]\\ndriver = "wv7"\\nport = "{vane.port}"\\n')
    print(box.first_reading("wind", 20).values)
"""


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, without its prompt, with the output that is shown of it."""
    for part in ("\n" + block).split("\n$ ")[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown.removesuffix("\n")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The newcomer's environment: pole-gateway is in it, and pytest."""
    return Environment(tmp_path_factory.mktemp("env"))


@pytest.fixture(scope="module")
def project(own: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the whole tutorial but the check; every command was run as it stands."""
    folder = tmp_path_factory.mktemp("wv7")
    for kind, name, text in BLOCKS:
        if name:
            assert (folder / PLACES[name]).exists() or name == "site.toml", (
                "new-driver writes what is changed"
            )
            (folder / PLACES[name]).write_text(text, "utf-8")
        for command, shown in commands(text) if kind == "console" else ():
            if command.startswith("cd "):
                folder = folder / command.removeprefix("cd ")
            elif f"$ {command}" != CHECK:
                printed = own.good(command, folder).rstrip("\n")
                assert not shown or printed == shown, command
    return folder


def test_the_readme_has_everything_a_newcomer_needs() -> None:
    assert FILES.keys() == PLACES.keys()
    console = [text for kind, _, text in BLOCKS if kind == "console"]
    assert console[0].splitlines()[0] == NEW
    assert console[-1].splitlines() == [CHECK]
    assert len(console) == 5


def test_the_readmes_driver_is_short() -> None:
    body = FILES["wv7.py"].partition("class ")[2]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 25


def test_every_module_and_page_it_names_is_there() -> None:
    drivers = ROOT / "drivers/gateway_drivers"
    named = set(re.findall(r"`(\w+\.py)`", README.partition("# What else")[2]))
    assert len(named) >= 8
    assert [name for name in named if not (drivers / name).exists()] == []
    pages = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [page for page in pages if not (ROOT / "drivers" / page).exists()] == []


@pytest.mark.slow
def test_the_tutorials_commands_print_what_it_says(project: Path) -> None:
    assert (project / "tests/drivers/wv7/data-sheet/expected.json").exists()


@pytest.mark.slow
def test_the_tutorials_driver_passes_the_tests_that_came_with_it(own: Environment, project: Path) -> None:
    assert "1 passed" in own.good("python -m pytest -v -p no:cacheprovider tests -k capture", project)


@pytest.mark.slow
def test_the_first_reading_of_a_real_box_soon_after_new_driver(tmp_path: Path, record_property) -> None:
    own = Environment(tmp_path / "env")
    (tmp_path / "box").mkdir()
    began = time.monotonic()
    own.good(NEW.removeprefix("$ "), tmp_path)
    project = tmp_path / "gateway-wv7"
    for name in ("wv7.py", "wv7_emulator.py"):
        (project / PLACES[name]).write_text(FILES[name], "utf-8")
    (project / "on_a_box.py").write_text(ON_A_BOX)
    assert own.good(f"python on_a_box.py {tmp_path}/box", project) == "{'wind_from': 214, 'wind': 3.5}\n"
    took_s = time.monotonic() - began
    record_property("note", f"new-driver to the first reading: {took_s:.1f} s")
    print(f"new-driver to the first reading: {took_s:.1f} s")
    assert took_s < 30


@pytest.mark.slow
def test_the_tutorials_driver_is_silver(own: Environment, project: Path) -> None:
    said = own.good(CHECK.removeprefix("$ "), project, within_s=110)
    assert said.splitlines()[-1] == "wv7: silver", said
