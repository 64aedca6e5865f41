"""One gateway a state folder: a second one is refused before it touches anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.unitlock import hold_units

HOLDER = (
    "import sys; from pathlib import Path; from gateway.unitlock import hold_units;"
    "hold_units(Path(sys.argv[1]), sys.argv[2:]); print(flush=True); sys.stdin.read()"
)


def holder(state: Path, *units: str) -> subprocess.Popen[str]:
    """A process that holds units until its stdin ends."""
    words = [sys.executable, "-P", "-c", HOLDER, str(state), *units]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_unit_that_runs_is_refused_until_its_process_ends(tmp_path: Path) -> None:
    with holder(tmp_path, "core") as first:
        hold_units(tmp_path, ["sensors"])  # the other unit, as under systemd
        with pytest.raises(ConfigError, match=rf"already runs with .*\(pid {first.pid}\); stop it first"):
            hold_units(tmp_path, ["core"])
        first.kill()
    hold_units(tmp_path, ["core"])
    assert (tmp_path / "run" / "core.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_outlives_exec_and_no_child_inherits_it(tmp_path: Path) -> None:
    said_then = "['sh', '-c', 'echo; exec sleep 60']"
    execs, spawns = f"os.execv('/bin/sh', {said_then})", f"subprocess.Popen({said_then})"
    for then, is_held in ((execs, True), (spawns, False)):
        code = f"{HOLDER.partition('print')[0]} import os, subprocess; {then}"
        words = [sys.executable, "-P", "-c", code, str(tmp_path), "core"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                if is_held:
                    with pytest.raises(ConfigError):
                        hold_units(tmp_path, ["core"])
                else:
                    process.wait(10)
                    hold_units(tmp_path, ["core"])
            finally:
                os.killpg(process.pid, 9)
