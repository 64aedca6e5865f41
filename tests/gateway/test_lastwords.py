"""What a death leaves, what the supervisor makes of it, and what doctor says; how fast a sensor may talk."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from line_drivers import Beacon, Number
from stand_in import sensor_plan

from gateway.doctor.workers import workers
from gateway.flood import BURST, RATE, Flood
from gateway.lastwords import Obituary, crash_path, last_path, leave_words, read_last
from gateway.plan import Plan, PortPlan, StagePlan
from gateway.reading import HealthCode
from gateway.telling import KEPT_EVERY_NS, Telling, read_told, told_path

FATAL = """Fatal Python error: Segmentation fault

Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait

Current thread 0x00007f02 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/opt/x/line_drivers.py", line 23 in decode
  File "/opt/gateway/sensor.py", line 44 in take

Extension modules: numpy
"""


@pytest.fixture
def port(tmp_path: Path) -> PortPlan:
    (tmp_path / "run").mkdir()
    sensors = (sensor_plan(1, "river", Number), sensor_plan(2, "beacon", Beacon))
    return PortPlan(3, "serial:x", "serial", sensors)


def died(port: PortPlan, folder: Path, left: str, status: int, *, was_silent: bool = False) -> str:
    crash_path(folder / "run", 3).write_text(left)
    return Obituary(folder / "run", port).write(status, was_silent=was_silent)


@pytest.mark.parametrize(
    ("left", "status", "what"),
    [
        (FATAL, -11, "crashed: Segmentation fault at /opt/x/line_drivers.py:23 in decode; 'number' "),
        (FATAL.partition("\n")[2], -14, "did not come back for too long: it spins, or waits at /opt/x/line"),
        ("", -9, "was killed from outside, most likely by the kernel for want of memory; "),
        ("", 0, "ended by itself, which nobody had asked it to; "),
        ("", 3, "ended (exit status 3); "),
        ("", -35, "ended (signal 35); "),
        ("{", 1, "ended (exit status 1); "),
        ("[]", -signal.SIGTERM, "ended (signal SIGTERM); "),
    ],
)
def test_what_is_left_is_read(tmp_path: Path, port: PortPlan, left: str, status: int, what: str) -> None:
    assert died(port, tmp_path, left, status).startswith(what)


def test_silence_is_said_even_if_nothing_is_left(tmp_path: Path, port: PortPlan) -> None:
    assert died(port, tmp_path, "", -9, was_silent=True).startswith("gave no sign of life and was killed")


def test_the_innermost_frame_of_a_driver_is_to_blame_and_else_nobody_for_sure(
    tmp_path: Path, port: PortPlan
) -> None:
    died(port, tmp_path, FATAL, -11)
    last = read_last(tmp_path / "run", 3)
    assert last is not None
    assert (last["is_sure"], last["sensors"]) == (True, ["river"])
    died(port, tmp_path, FATAL.replace("line_drivers", "other"), -11)
    last = read_last(tmp_path / "run", 3)
    assert last is not None
    assert (last["is_sure"], last["sensors"]) == (False, ["river", "beacon"])
    assert last["where"] == "/usr/lib/python3.11/ctypes/__init__.py:519 in string_at"


def test_an_exceptions_own_words(tmp_path: Path, port: PortPlan) -> None:
    for error, what in ((ValueError("no"), "broke with ValueError: no"), (MemoryError(), "took more memory")):
        try:
            raise ExceptionGroup("around", [error])
        except ExceptionGroup as group:
            leave_words(crash_path(tmp_path / "run", 3), group)
        assert Obituary(tmp_path / "run", port).write(1, was_silent=False).startswith(what)
    leave_words(tmp_path / "nowhere" / "file", ValueError())  # a disk that refuses


def test_doctor_says_who_how_often_and_until_when_and_forgives(tmp_path: Path, port: PortPlan) -> None:
    plan = Plan("elm", tmp_path, (port,))
    assert list(workers(plan)) == []
    crash_path(tmp_path / "run", 3).write_text(FATAL)
    obituary = Obituary(tmp_path / "run", port)
    obituary.well()  # nothing was wrong yet
    assert read_last(tmp_path / "run", 3) is None
    obituary.write(-11, was_silent=False)
    obituary.write(-11, was_silent=False)
    obituary.parked(600)
    [finding] = workers(plan)
    assert (finding.state, finding.check) == ("wrong", "port 3")
    begin = "sensor river: driver 'number' (line_drivers:Number) crashed: Segmentation fault at "
    assert finding.text.startswith(f"{begin}/opt/x/line_drivers.py:23 in decode, at 20")
    assert "; 2 times since 20" in finding.text
    assert "; left stopped until 20" in finding.text
    assert "left stopped" not in next(iter(workers(plan, time.time() + 700))).text
    obituary.well()
    [finding] = workers(plan)
    assert finding.state == "note"
    assert finding.text.endswith("; it has run since")
    obituary.write(-11, was_silent=False)
    [finding] = workers(plan)
    assert "times since" not in finding.text  # what was before it was well is over
    assert list(workers(plan, time.time() + 8 * 86400)) == []
    last_path(tmp_path / "run", 3).write_text("{")
    assert list(workers(plan)) == []


def test_a_sensor_may_say_so_much_at_once_and_then_so_much_a_second() -> None:
    flood = Flood()
    start_ns = 10**15
    assert sum(flood.allows(1, start_ns) for _ in range(2 * BURST)) == BURST
    assert flood.allows(2, start_ns)  # everybody has a burst of their own
    passed = sum(flood.allows(1, start_ns + n * 1_000_000) for n in range(1, 10_001))
    assert abs(passed - 10 * RATE) <= 1
    later_ns = start_ns + 3600 * 10**9
    assert sum(flood.allows(1, later_ns) for _ in range(2 * BURST)) == BURST


def test_what_was_told_is_kept_for_doctor_but_seldom_written(tmp_path: Path) -> None:
    path = told_path(tmp_path, 3)
    assert read_told(path) is None
    telling = Telling("serial:x", lambda *_: None, path)
    for n, now_ns in enumerate((0, KEPT_EVERY_NS // 2, KEPT_EVERY_NS), start=1):
        telling.count(HealthCode.SUPPRESSED, "river", 5)
        telling.tell(now_ns)
        told = read_told(path)
        assert told is not None
        assert told["counts"] == {"SUPPRESSED": {"river": 5 if n < 3 else 15}}


def test_doctor_tells_bangs_left_out_from_a_device_that_babbles(tmp_path: Path, port: PortPlan) -> None:
    onset = StagePlan("gateway.acoustic:Onset", {"over": "9 dB"})
    microphone = dataclasses.replace(sensor_plan(3, "mic", Number), stages=(onset,))
    port = dataclasses.replace(port, sensors=(*port.sensors, microphone))
    telling = Telling("serial:x", lambda *_: None, told_path(tmp_path / "run", 3))
    telling.count(HealthCode.SUPPRESSED, "river", 5)
    telling.count(HealthCode.SUPPRESSED, "mic", 7)
    telling.tell(0)
    river, mic = workers(Plan("elm", tmp_path, (port,)))
    assert (river.state, mic.state) == ("wrong", "note")
    assert "babbles" in river.mend
    assert "7 were left out" in mic.text
    assert "readings" not in mic.text


def run_guarded(folder: Path, code: str) -> tuple[int, str]:
    """Run code in a guarded process of its own: its status, and what it left."""
    crash = folder / "crash"
    head = "import asyncio, resource, time, gateway.guard as g; from pathlib import Path; "
    guard = f"g.write_stacks_to(Path({str(crash)!r})); "
    done = subprocess.run(
        [sys.executable, "-c", head + guard + code], timeout=30, check=False, capture_output=True
    )
    return done.returncode, crash.read_text() + done.stderr.decode()


@pytest.mark.slow
def test_a_loop_that_does_not_come_round_ends_its_process_and_one_that_waits_does_not(tmp_path: Path) -> None:
    run = "asyncio.Runner(loop_factory=lambda: g.watched_loop(0.2)).run(f())"
    well = f"\nasync def f():\n  for _ in range(3): await asyncio.sleep(0.3)\n  time.sleep(0.1)\n{run}"
    assert run_guarded(tmp_path, well) == (0, "")
    status, left = run_guarded(tmp_path, f"\nasync def f():\n  time.sleep(30)\n{run}")
    assert status == -signal.SIGALRM
    assert 'File "<string>", line 3 in f' in left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "url", "fits"), [("serial", "", 60), ("alsa", "", 300), ("v4l2", "rtsp:x", 600)]
)
def test_memory_is_limited_by_kind(tmp_path: Path, kind: str, url: str, fits: int) -> None:
    limit = f"g.limit_memory({kind!r}, {url!r}); "
    assert run_guarded(tmp_path, f"{limit}b = bytearray({fits} << 20)") == (0, "")
    status, left = run_guarded(tmp_path, f"{limit}b = bytearray({fits * 2} << 20)")
    assert status == 1
    assert "MemoryError" in left
