"""`gateway new-driver`: what it writes works before a line is changed, alone and in a checkout."""

import json
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from environment import Environment

from gateway.cli import main
from gateway.commands.scaffold import KINDS, names_of, with_entry
from gateway.errors import ConfigError
from gateway.plugins import DRIVERS

ROOT = Path(__file__).resolve().parents[2]
POINTS = '[project]\nname = "x"\n\n[project.entry-points."gateway.drivers"]\n'
GIVEN = {"ble": "--set address=A4:C1:38:00:00:01", "gpio": "--set line=CONTACT"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(path: Path, name: str):
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def written(home: Path, kind: str) -> Path:
    """The project of a Gill WindSonic of this kind."""
    command = ["new-driver", "Gill WindSonic", "--package", "--kind", kind, "--no-install"]
    assert main(command) == 0
    return home / "gateway-gill-windsonic"


@pytest.mark.parametrize(
    ("device", "given", "names"),
    [
        ("Gill WindSonic", "", ("gill-windsonic", "gill_windsonic", "GillWindSonic")),
        ("Aeolus WV-7", "", ("aeolus-wv-7", "aeolus_wv_7", "AeolusWV7")),
        ("Aeolus WV-7", "wv7", ("wv7", "wv7", "Wv7")),
        ("  Müller   Ä3 ", "", ("muller-a3", "muller_a3", "MullerA3")),
    ],
)
def test_names_are_made_of_the_device(device, given, names) -> None:
    made = names_of(device, given)
    assert (made.driver, made.module, made.cls) == names


@pytest.mark.parametrize(
    ("device", "given", "words"),
    [
        ("3M Dust", "", "beginning with a letter; give one with --name"),
        ("Gill", "Gill_2", "beginning with a letter; give one with --name"),
        ("", "", "is no device's name"),
        ('Gill """', "", "is no device's name"),
        ("None", "", "is a word of Python's own"),
    ],
)
def test_what_makes_no_name_is_refused(device, given, words) -> None:
    with pytest.raises(ConfigError) as caught:
        names_of(device, given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["sds011"], "there is a driver 'sds011' of pole-gateway"),
        (["Serial"], "a module serial is installed already"),
        (["Measure"], "the template has a Measure of its own"),
    ],
)
def test_names_that_are_taken_are_refused(home, capsys, command, words) -> None:
    assert main(["new-driver", *command, "--package", "--no-install"]) == 1
    assert words in capsys.readouterr().err
    assert not list(home.iterdir())


def test_outside_a_checkout_it_says_package(home, capsys) -> None:
    assert main(["new-driver", "Gill WindSonic"]) == 1
    assert "is in no checkout of pole-gateway; add --package" in capsys.readouterr().err
    assert not list(home.iterdir())


def test_nothing_is_overwritten(home, capsys) -> None:
    readme = home / "gateway-gill-windsonic" / "README.md"
    readme.parent.mkdir()
    readme.write_text("precious")
    assert main(["new-driver", "Gill WindSonic", "--package", "--no-install"]) == 1
    assert "README.md in gateway-gill-windsonic would be overwritten" in capsys.readouterr().err
    assert [path.name for path in readme.parent.iterdir()] == ["README.md"]
    assert readme.read_text() == "precious"


def test_it_says_what_to_type_where_it_cannot_install(home, capsys) -> None:
    written(home, "serial")
    assert "type: pip install -e gateway-gill-windsonic\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (POINTS + 'a = "a:A"\nm = "m:M"\n', POINTS + 'a = "a:A"\ngill = "g:G"\nm = "m:M"\n'),
        (POINTS + 'm = "m:M"\na = "a:A"\n\n[x]\n', POINTS + 'm = "m:M"\na = "a:A"\ngill = "g:G"\n\n[x]\n'),
        (
            POINTS + 'm = "m:M"\na = "a:A"\n\n# x is\n[x]\n',
            POINTS + 'm = "m:M"\na = "a:A"\ngill = "g:G"\n\n# x is\n[x]\n',
        ),
        (POINTS + "\n[x]\n", POINTS + 'gill = "g:G"\n\n[x]\n'),
    ],
)
def test_an_entry_point_goes_to_its_place(before, after) -> None:
    assert with_entry(before, DRIVERS, "gill", "g:G") == after


def test_a_table_that_is_missing_is_made_and_a_name_twice_refused() -> None:
    text = with_entry('[project]\nname = "x"\n\n[project.scripts]\na = "b:c"\n', DRIVERS, "gill", "g:G")
    project = tomllib.loads(text)["project"]
    assert project["entry-points"] == {DRIVERS: {"gill": "g:G"}}
    assert project["scripts"] == {"a": "b:c"}
    with pytest.raises(ConfigError, match=r"names 'gill' in gateway.drivers already"):
        with_entry(text, DRIVERS, "gill", "g:H")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_needs_no_tidying(home, kind) -> None:
    made = written(home, kind)
    # Imports stand in other blocks where gateway is somebody else's.
    for check in (["check", "-q", "--extend-ignore", "I001"], ["format", "--check", "-q"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--config", str(ROOT / "pyproject.toml"), str(made)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    left = [p for p in made.rglob("*.*") if p.is_file() and "new" in p.read_text().lower().split()]
    assert left == []
    texts = "".join(path.read_text() for path in made.rglob("*") if path.is_file())
    assert not any(
        word in texts for word in ("new-sensor", "new_sensor", "NewSensor", "MAKER MODEL", 'PORT"')
    )


def test_the_templates_driver_reads_what_its_emulator_sends(home) -> None:
    made = written(home, "serial")
    driver = loaded(made / "src/gill_windsonic.py", "GillWindSonic")()
    emulator = loaded(made / "src/gill_windsonic_emulator.py", "GillWindSonic")()
    for celsius in (-40.0, -0.1, 0.0, 85.0):
        emulator.become({"temperature": celsius})
        (frame,) = driver.framing.framer().feed(emulator.packet())
        assert driver.decode(frame) == emulator.truth() == {"temperature": celsius}


def test_a_ble_templates_driver_reads_what_its_emulator_sends(home) -> None:
    made = written(home, "ble")
    emulator = loaded(made / "src/gill_windsonic_emulator.py", "GillWindSonic")()
    kind = loaded(made / "src/gill_windsonic.py", "GillWindSonic")
    driver = kind(kind.settings_type()(**emulator.settings()))
    emulator.become({"temperature": -12.34, "battery": 3})
    assert [driver.decode(frame) for frame in emulator.frames()] == [{"temperature": -12.34, "battery": 3}]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_works_alone_and_its_case_is_what_decode_expects(tmp_path, kind) -> None:
    own = Environment(tmp_path / "env")
    said = own.good(f'gateway new-driver "Gill WindSonic" --package --kind {kind}', tmp_path)
    assert "not installed" not in said
    (decode,) = [line.strip() for line in said.splitlines() if "gateway decode" in line]
    project = tmp_path / "gateway-gill-windsonic"
    listed = [json.loads(line) for line in own.good("gateway drivers --json", project).splitlines()]
    (row,) = [row for row in listed if row["name"] == "gill-windsonic"]
    assert row["distribution"] == "gateway-gill-windsonic"
    assert "temperature" in str(row["measures"]) or kind == "gpio"
    assert "21.5" in own.good(decode, project) or kind == "gpio"
    case = project / "tests/drivers/gill-windsonic/data-sheet"
    told = own.good(f"{decode} --expected {GIVEN.get(kind, '')}", project)
    assert json.loads(told) == json.loads((case / "expected.json").read_text())
    tests = own.good("python -m pytest -q tests -k capture -p no:cacheprovider", project)
    assert "1 passed" in tests


@pytest.mark.slow
def test_in_a_checkout_the_driver_is_found_at_once_and_its_case_is_a_test(tmp_path) -> None:
    own = Environment(tmp_path / "env")
    checkout = tmp_path / "checkout"
    for part in (
        "gateway",
        "drivers",
        "hil/gateway_hil",
        "models/gateway_models",
        "provisioning",
        "tests/drivers",
    ):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    before = (checkout / "pyproject.toml").read_text().splitlines()
    said = own.good('gateway new-driver "Gill WindSonic 75" --kind gpio', checkout)
    assert "not installed" not in said
    new = [line for line in (checkout / "pyproject.toml").read_text().splitlines() if line not in before]
    assert 'gill-windsonic-75 = "gateway_drivers.gill_windsonic_75:GillWindSonic75"' in new
    assert 'gill-windsonic-75 = "gateway_hil.emulators.gill_windsonic_75:GillWindSonic75"' in new
    (decode,) = [line.strip() for line in said.splitlines() if "gateway decode" in line]
    assert "closed True" in own.good(decode, checkout)
    tests = "python -m pytest -v tests/drivers/test_captures.py -k gill"
    assert "1 passed" in own.good(tests, checkout)
    tidy = "python -m ruff check -q {0} && python -m ruff format --check -q {0}"
    own.good(tidy.format("drivers/gateway_drivers/gill_* hil/gateway_hil/emulators/gill_*"), checkout)


@pytest.mark.slow
def test_the_wheel_brings_the_templates(tmp_path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    own = Environment(tmp_path / "env")
    own.good(f"python -m pip install -q --no-deps --no-index {wheel}", tmp_path)
    assert str(tmp_path) in own.good("python -c 'import gateway; print(gateway.__file__)'", tmp_path)
    for kind in KINDS:
        own.good(f"gateway new-driver 'My {kind} thing' --kind {kind} --package --no-install", tmp_path)
