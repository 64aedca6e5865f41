"""The scripts ./dev and .ci/run on machines that lack things: `Machine` has only what it is given."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("basename", "cat", "cut", "date", "dirname", "flock", "grep", "mktemp", "readlink", "realpath")
COMMANDS += ("rm", "sh", "bash", "sha256sum", "tail", "tee", "env")


class Machine:
    """A clone on a machine that has only the commands it is given; `run` starts one of its scripts."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.commands = folder / "bin"
        self.commands.mkdir()
        for name in COMMANDS:
            found = shutil.which(name)
            assert found, name
            (self.commands / name).symlink_to(found)
        for name in ("dev", ".ci/run", "pyproject.toml", "requirements/dev.txt"):
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.clone / name)

    def has(self, name: str, script: str) -> None:
        """Give this machine a command, as a shell script."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the clone, from another folder."""
        asked: Mapping[str, str] = {"PATH": str(self.commands), "HOME": str(self.clone), **environment}
        command = [str(self.clone / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd="/", env=dict(asked), capture_output=True, text=True, timeout=20, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def bare(machine: Machine) -> Machine:
    """One with a Python 3.11 that cannot make environments, no certificates, and an ordinary user."""
    machine.has("python3.11", "case $2 in *ensurepip*) exit 1 ;; esac")
    machine.has("id", "echo 1000")
    return machine


def test_help_names_every_command_and_needs_nothing(machine: Machine) -> None:
    said = machine.run("dev", "help")
    assert said.returncode == 0
    for command in ("demo", "test", "check", "bench", "models", "setup", "lock"):
        assert f"\n  {command} " in said.stdout
    assert not (machine.clone / ".venv").exists()


def test_an_unknown_command_is_an_error(machine: Machine) -> None:
    said = machine.run("dev", "frobnicate")
    assert said.returncode == 1
    assert "there is no command 'frobnicate'" in said.stderr


def test_setup_takes_no_arguments(machine: Machine) -> None:
    said = machine.run("dev", "setup", "extra")
    assert said.returncode == 1
    assert said.stderr == "dev: setup takes no arguments, and this is one: extra\n"


def test_a_wrong_interpreter_is_refused(machine: Machine) -> None:
    machine.has("python3.9", "exit 1")
    said = machine.run("dev", "setup", PYTHON="python3.9")
    assert said.returncode == 1
    assert "PYTHON=python3.9 is not a Python from 3.11 to 3.13" in said.stderr


def test_neither_root_nor_sudo_gets_the_exact_line(bare: Machine) -> None:
    bare.has("apt-get", "exit 99")
    said = bare.run("dev", "test", PIP_CERT="/nowhere.crt")
    assert said.returncode == 1
    lines = said.stderr.splitlines()
    assert lines[0] == "dev: missing on this machine: python3.11-venv ca-certificates"
    assert "needed for an environment of this project's own" in lines[1]
    install = "apt-get update && apt-get install -y --no-install-recommends python3.11-venv ca-certificates"
    assert lines[-1] == f"dev:   {install}"


def test_sudo_is_announced_and_its_refusal_told(bare: Machine) -> None:
    bare.has("apt-get", "exit 99")
    bare.has("sudo", 'echo "sudo was asked: $*"; exit 1')
    said = bare.run("dev", "setup", PIP_CERT=str(ROOT / "LICENSE"))
    assert said.returncode == 1
    order = [
        "missing on this machine: python3.11-venv",
        "installing with sudo",
        "sudo was asked: -n",
        "as root",
    ]
    places = [said.stderr.find(words) for words in order]
    assert places == sorted(places)
    assert places[0] >= 0


def test_without_apt_get_it_says_what_to_install(bare: Machine) -> None:
    said = bare.run("dev", "setup", PIP_CERT=str(ROOT / "LICENSE"))
    assert said.returncode == 1
    assert "python3.11-venv" in said.stderr
    assert "there is no apt-get here" in said.stderr


def test_an_environment_of_somebody_elses_is_not_touched(bare: Machine) -> None:
    theirs = bare.clone / ".venv" / "theirs"
    theirs.parent.mkdir()
    theirs.touch()
    said = bare.run("dev", "setup")
    assert said.returncode == 1
    assert ".venv was not made by ./dev; move it away or delete it" in said.stderr
    assert theirs.exists()


class TestCi:
    """.ci/run, with a stand-in for ./dev."""

    @pytest.fixture
    def ci(self, machine: Machine) -> Machine:
        (machine.clone.parent / "shared" / "data").mkdir(parents=True)
        self.dev(machine, 'echo "$1 $GATEWAY_TEST_DATA $CI"')
        return machine

    def dev(self, machine: Machine, script: str) -> None:
        (machine.clone / "dev").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")

    def test_runs_the_checks_then_the_tests(self, ci: Machine) -> None:
        said = ci.run(".ci/run")
        data = ci.clone.parent / "shared" / "data"
        assert said.stdout.splitlines() == [f"{part} {data} true" for part in ("check", "test", "hil")]
        assert said.returncode == 0

    def test_needs_the_test_data(self, ci: Machine) -> None:
        (ci.clone.parent / "shared" / "data").rmdir()
        said = ci.run(".ci/run")
        assert said.returncode == 1
        assert "test data is missing" in said.stderr

    def test_fails_if_a_part_fails(self, ci: Machine) -> None:
        self.dev(ci, 'echo "1 failed"; [ "$1" != test ]')
        assert ci.run(".ci/run").returncode == 1

    def test_fails_if_something_was_not_run(self, ci: Machine) -> None:
        self.dev(ci, 'echo "NOT RUN 1: no namespaces"')
        said = ci.run(".ci/run")
        assert said.returncode == 1
        assert "left tests out" in said.stderr
        assert "NOT RUN 1: no namespaces" in said.stdout


@pytest.mark.slow
def test_a_test_that_cannot_run_here_says_so_at_the_end(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text("def test_it(not_run): not_run('no radio')\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "\nNOT RUN 1: no radio (test_it.py::test_it)\n" in said.stdout
    assert said.returncode == 0
