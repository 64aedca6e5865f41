"""What is seen of a guest from outside: its console, its end, its limit."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway_hil.engines import EngineError
from gateway_hil.engines.watch import watch

pytestmark = pytest.mark.slow  # each starts a process that starts another


def sh(script: str) -> list[str]:
    """A guest that is a shell script."""
    return ["sh", "-c", script]


def test_each_line_is_shown_as_it_comes_and_kept(tmp_path):
    heard: list[str] = []
    why, _ = watch(
        sh(r"printf 'one\r\ntwo\n'; echo three >&2; printf rest"), tmp_path / "c", heard.append, 10
    )
    assert why == ""
    assert heard == ["one", "two", "three", "rest"]
    assert (tmp_path / "c").read_bytes() == b"one\r\ntwo\nthree\nrest"


def test_a_bad_end_says_what_was_last_heard(tmp_path):
    why, _ = watch(sh("echo panic: no root; exit 7"), tmp_path / "c", None, 10)
    assert "ended with 7" in why
    assert "panic: no root" in why


def test_at_the_limit_the_whole_group_is_killed(tmp_path):
    """Also what the guest started, and what ignores polite signals."""
    script = f"trap '' TERM; sleep 60 & echo $! >{tmp_path}/pid; echo up; wait"
    why, seconds = watch(sh(script), tmp_path / "c", None, 1.0)
    assert "still running after 1 s" in why
    assert "up" in why
    assert 1.0 <= seconds < 5
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_a_guest_leaves_behind_is_ended_too(tmp_path):
    script = f"sleep 60 >/dev/null 2>&1 & echo $! >{tmp_path}/pid; echo up"
    why, _ = watch(sh(script), tmp_path / "c", None, 10)
    assert why == ""
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_guest_that_closes_its_console_and_stays_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway_hil.engines.watch._END_S", 0.2)
    why, _ = watch(sh(f"echo $$ >{tmp_path}/pid; exec sleep 60 >&- 2>&-"), tmp_path / "c", None, 10)
    assert "ended with -9" in why
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_an_interruption_ends_the_guest(tmp_path):
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(sh(f"echo $$ >{tmp_path}/pid; echo up; exec sleep 60"), tmp_path / "c", stop, 30)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_guest_does_not_outlive_a_run_that_was_killed(tmp_path):
    program = (
        "import sys; from pathlib import Path; from gateway_hil.engines.watch import watch; "
        f"watch(['sh', '-c', 'echo $$; exec sleep 60'], Path({str(tmp_path)!r}) / 'c', "
        "lambda line: print(line, flush=True), 30)"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    run.kill()
    run.wait()
    run.stdout.close()
    assert is_gone(pid)


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(EngineError, match="no-such-emulator"):
        watch(["no-such-emulator"], tmp_path / "c", None, 1)


def is_gone(pid: int) -> bool:
    """Whether a process ends within five seconds; a zombie has ended."""
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
