"""gateway hil run on this machine: arguments, results, and what it refuses."""

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import ConfigError
from gateway_hil.rung import Rung, climb

TESTS = """
import pytest

def test_good(bench, note):
    note(f"on {{bench.name}} with {{bench.seed}}")

@pytest.mark.needs("v4l2")
def test_needs_a_camera():
    raise AssertionError

def test_{name}():
    assert {holds}
"""

DIES = """
import time
from gateway_hil.emulators import Sds011

class Broken(Sds011):
    def packet(self):
        raise RuntimeError("boom")

def test_it(plug):
    dust = plug(Broken)
    with open(dust.path, "rb", buffering=0):
        while dust._thread.is_alive():
            time.sleep(0.01)
"""

IN_VAIN = """
import pytest
from gateway_hil.emulators import Sds011

def test_it(plug, box):
    with pytest.raises(AssertionError, match="was not started"):
        box.first_reading("dust", within_s=100)
    box.start(f'[sensor.dust]\\ndriver = "sds011"\\nport = "{plug(Sds011).port}"')
    with pytest.raises(AssertionError, match="no sensor 'dst'; it has dust"):
        box.first_reading("dst", within_s=100)
    with pytest.raises(AssertionError, match="no health record says 'silent'; there are deaf, port_gone"):
        box.health("dust", "silent", within_s=100)
"""


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one file of tests, which is the current folder."""
    (tmp_path / "pyproject.toml").write_text("")
    folder = tmp_path / "hil" / "ladder"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(TESTS.format(name="true", holds=True))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.slow
class TestLocal:
    def test_results_come_back_in_the_out_folder(
        self, ladder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        assert main(["hil", "run", "--seed", "7", "--out", str(out)]) == 0
        assert (out / "rc").read_text() == "0\n"
        assert (out / "seed").read_text() == "7\n"
        assert "test_good PASSED" in (out / "console.log").read_text()
        shown = capfd.readouterr()
        assert "on local with 7" in shown.out
        assert "status 0, seed 7" in shown.err
        assert ladder.is_dir()

    def test_a_test_that_fails_is_the_status(self, ladder: Path, tmp_path: Path) -> None:
        (ladder / "test_it.py").write_text(TESTS.format(name="false", holds=False))
        result = climb(Rung(bench="local", out=tmp_path / "out"), lambda line: None, lambda text: None)
        assert result.status == 1
        assert result.report is not None
        assert {test.name.rpartition("::")[2]: test.outcome for test in result.report.tests} == {
            "test_good": "passed",
            "test_needs_a_camera": "skipped",
            "test_false": "failed",
        }

    def test_a_run_that_dies_without_a_report_failed(self, ladder: Path, tmp_path: Path) -> None:
        (ladder / "test_it.py").write_text("import os\n\ndef test_dies():\n    os._exit(0)\n")
        result = climb(Rung(bench="local", out=tmp_path / "out"), lambda line: None, lambda text: None)
        assert result.outcome.rc == 0
        assert result.status == 99
        assert "no report" in result.why

    def test_an_emulator_that_dies_fails_its_test(self, ladder: Path, tmp_path: Path) -> None:
        (ladder / "test_it.py").write_text(DIES)
        result = climb(Rung(bench="local", out=tmp_path / "out"), lambda line: None, lambda text: None)
        assert result.status == 1
        assert "boom" in (tmp_path / "out" / "console.log").read_text()

    def test_an_unknown_capability_fails_and_says_which_there_are(self, ladder: Path, tmp_path: Path) -> None:
        text = 'import pytest\n\n@pytest.mark.needs("usbserial")\ndef test_it():\n    pass\n'
        (ladder / "test_it.py").write_text(text)
        result = climb(Rung(bench="local", out=tmp_path / "out"), lambda line: None, lambda text: None)
        assert result.status == 1
        said = (tmp_path / "out" / "console.log").read_text()
        assert "no bench has a capability 'usbserial'; there are serial, usb-serial" in said
        assert "During handling" not in said

    def test_waiting_for_what_cannot_come_fails_at_once(self, ladder: Path, tmp_path: Path) -> None:
        (ladder / "test_it.py").write_text(IN_VAIN)
        result = climb(Rung(bench="local", out=tmp_path / "out"), lambda line: None, lambda text: None)
        assert result.report is not None
        assert [test.outcome for test in result.report.tests] == ["passed"]

    def test_one_test_can_be_named_from_any_folder(
        self, ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(ladder)
        rung = Rung(bench="local", out=tmp_path / "out", paths=("test_it.py::test_true",))
        result = climb(rung, lambda line: None, lambda text: None)
        assert result.report is not None
        assert [test.outcome for test in result.report.tests] == ["passed"]


@pytest.mark.usefixtures("ladder")
class TestRefused:
    @pytest.mark.parametrize(
        ("rung", "said"),
        [
            (Rung(bench="qemu", time_travel=True), "cannot skip idle time"),
            (Rung(bench="uml", rig=Path("rig.toml")), "--rig goes with"),
            (Rung(bench="real"), "the bench real needs a rig"),
            (Rung(bench="real", rig=Path("no.toml")), "cannot read the rig no.toml"),
            (Rung(bench="local", paths=("nowhere/test_it.py",)), "there is no nowhere/test_it.py"),
        ],
    )
    def test_what_makes_no_sense_is_said_before_anything_runs(self, rung: Rung, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            climb(rung, pytest.fail, pytest.fail)


def test_without_a_ladder_the_tests_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="name the tests"):
        climb(Rung(bench="local"), pytest.fail, pytest.fail)
