"""`gateway decode` on pipes, on drivers with bugs, and on logs with lines that are no frames."""

import os
import subprocess
import sys

import acme
import pytest

from gateway.cli import main
from gateway.driverbug import blame, bugs_in
from gateway.plan import SensorPlan
from gateway.plugins import DRIVERS

GOOD = b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n"
DRIVER = """
from gateway.driver import Measure, SerialDriver

class Vane(SerialDriver):
    emits = (Measure("wind", "m/s"),)
    def decode(self, frame):
        if frame == b"crash":
            return 1 / 0
        return {"wind": 1, "gust": 2}
"""


@pytest.mark.slow
@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_a_pipe_is_read_to_its_end_once(file):
    capture = b'# capture: 1\n0.5 < "' + GOOD.strip() + b'\\r\\n"\n'
    for piped in (GOOD * 3000, capture):  # the first is more than a pipe holds
        words = [sys.executable, "-P", "-m", "gateway", "decode", "gps-nmea", file]
        done = subprocess.run(words, input=piped, capture_output=True, timeout=60, check=True)
        frames = piped.count(b"$")
        assert f"{frames} frames: {frames} with values".encode() in done.stderr
        assert done.stdout.count(b"lat 53.3613367 deg") == frames


@pytest.fixture
def vane(tmp_path, monkeypatch):
    """Somebody's driver with two bugs."""
    acme.install(tmp_path, "acme", {DRIVERS: {"vane": "acme_vane:Vane"}}, acme_vane=DRIVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("acme_vane", None)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("crash", "ZeroDivisionError: division by zero ({folder}/acme_vane.py:8)"),
        ("well", "decode gave gust, which its `emits` does not declare"),
    ],
)
def test_what_would_kill_a_worker_is_an_error(vane, capsys, frame, error):
    (vane / "log").write_text(f"{frame}\n")
    assert main(["decode", "vane", str(vane / "log")]) == 1
    text = f"'vane' of acme 1.0 broke on frame 1: {error.format(folder=vane)}\n"
    assert capsys.readouterr().err == text


def test_a_workers_log_names_the_driver_as_decode_does(vane):
    from acme_vane import Vane

    plan = SensorPlan(1, "roof", "vane", "acme_vane:Vane", {}, Vane.emits, (), (), ())
    with pytest.raises(ZeroDivisionError) as caught:
        Vane().decode(b"crash")
    blame(caught.value, plan, "frame 7")
    ((text, bug),) = bugs_in(ExceptionGroup("unhandled", [ExceptionGroup("again", [caught.value])]))
    place = f"({vane}{os.sep}acme_vane.py:8)"
    assert text == f"'vane' of acme 1.0 broke on frame 7: ZeroDivisionError: division by zero {place}"
    assert bug is caught.value


def test_comments_in_a_log_are_no_bad_frames_and_a_reason_is_said_once(tmp_path, capsys):
    log = tmp_path / "walk.nmea"
    log.write_bytes(b"# recorded on a roof\r\n" + GOOD + b"hello\r\n" * 3 + b"$GPGGA,\x80*00\r\n" * 2)
    assert main(["decode", "gps-nmea", str(log)]) == 0
    first, second, counts = capsys.readouterr().err.splitlines()
    assert first.startswith("frame 3 is bad: a line that is no NMEA 0183 sentence")
    assert second.startswith("frame 6 is bad: a line with bytes that no NMEA 0183 sentence has")
    assert counts.startswith("7 frames: 1 with values, 1 without, 5 bad")
