"""Why a worker died, and by whose fault: kept in `run/port-N.last` for `gateway doctor`.

A worker leaves `run/port-N.crash`: its own words on an exception, as one line of JSON, or the stacks that
faulthandler wrote. Whoever wrote the code that stood there is blamed, as far as a frame shows it.
"""

import json
import logging
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

from gateway.driverbug import bugs_in, make_room, named, said
from gateway.plan import PortPlan, SensorPlan

_log = logging.getLogger("worker")
_CRASH_MAX: Final = 65536  # bytes of it that are read
_FATAL: Final = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_FRAME: Final = re.compile(r'^  File "(.+)", line (\d+) in (.+)$')
_STUCK: Final = "did not come back for too long: it spins, or waits"

_Frame = tuple[str, int, str]  # file, line, function


def crash_path(run: Path, port: int) -> Path:
    """Where the worker of a port leaves its last words."""
    return run / f"port-{port}.crash"


def last_path(run: Path, port: int) -> Path:
    """Where the supervisor keeps what is known of the last death on a port."""
    return run / f"port-{port}.last"


def die_of(error: BaseException, crash: Path) -> None:
    """In the dying worker: log what ended it, each with its own trace, and leave it as last words."""
    make_room()
    for text, bug in bugs_in(error):
        _log.critical("%s", text, exc_info=bug)
    leave_words(crash, error)


def leave_words(path: Path, error: BaseException) -> None:
    """In the dying worker: write down what ended it. A disk that refuses costs only the words."""
    for _, bug in bugs_in(error):
        frames = [[spot.filename, spot.lineno, spot.name] for spot in extract_tb(bug.__traceback__)]
        words = {"text": f"broke with {said(bug)}", "type": type(bug).__name__, "frames": frames[::-1]}
        with suppress(OSError):
            path.write_text(json.dumps(words) + "\n", encoding="utf-8")
        return


class Obituary:
    """What the supervisor writes of the deaths on one port, for `gateway doctor`: always the last one."""

    def __init__(self, run: Path, port: PortPlan) -> None:
        self._run = run
        self._port = port
        self._last: dict[str, Any] = {}

    def write(self, status: int, *, was_silent: bool, model: str = "") -> str:
        """Write down a death, and what is known of it; it comes back in one line.

        If it was a model that worked at that moment, that is to blame, and no driver.
        """
        text = _read(crash_path(self._run, self._port.number))
        sensor, spot = _culprit(list(_frames(text)), self._port.sensors)
        blamed = sensor or self._port.sensors[0]
        what = _what(text, status, was_silent=was_silent)
        factories = {sensor.factory} if sensor else {each.factory for each in self._port.sensors}
        now = round(time.time())
        is_again = self._last.get("well") is False
        self._last = {
            "what": what,
            "where": f"{spot[0]}:{spot[1]} in {spot[2]}" if spot else "",
            "driver": named(blamed),
            "is_sure": sensor is not None,  # its code was seen on the stack
            "model": model,
            "sensors": [each.name for each in self._port.sensors if each.factory in factories],
            "status": status,
            "when": now,
            "since": self._last["since"] if is_again else now,
            "deaths": self._last["deaths"] + 1 if is_again else 1,
            "parked_until": None,
            "well": False,
        }
        self._keep()
        who = f"model {model}" if model else self._last["driver"]
        return f"{what}{' at ' + self._last['where'] if spot else ''}; {who}"

    def parked(self, parked_s: float) -> None:
        """It is not started again for so long."""
        self._last["parked_until"] = round(time.time() + parked_s)
        self._keep()

    def well(self) -> None:
        """The worker has lived long enough: what killed it before is over."""
        if self._last.get("well") is False:
            self._last |= {"well": True, "parked_until": None}
            self._keep()

    def _keep(self) -> None:
        path = last_path(self._run, self._port.number)
        beside = path.with_suffix(".new")
        with suppress(OSError):  # a disk that refuses is no reason to stop
            beside.write_text(json.dumps(self._last) + "\n", encoding="utf-8")
            os.replace(beside, path)


def read_last(run: Path, port: int) -> dict[str, Any] | None:
    """What was kept; None if that port's worker never died, or the file is damaged."""
    try:
        last = json.loads(last_path(run, port).read_bytes())
    except (OSError, ValueError):
        return None
    return last if isinstance(last, dict) else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_CRASH_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _words(text: str) -> dict[str, Any]:
    """What an exception left, if it was one."""
    with suppress(ValueError):
        words = json.loads(text)
        if isinstance(words, dict):
            return words
    return {}


def _frames(text: str) -> Iterator[_Frame]:
    """The stack that counts, innermost frame first: the exception's, or the running thread's."""
    if words := _words(text):
        yield from (tuple(frame) for frame in words.get("frames", ()))
        return
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Current thread ")]
    for line in lines[starts[0] + 1 :] if starts else ():
        match = _FRAME.match(line)
        if match is None:
            return
        yield match[1], int(match[2]), match[3]


def _culprit(
    frames: Sequence[_Frame], sensors: Sequence[SensorPlan]
) -> tuple[SensorPlan | None, _Frame | None]:
    """Whose driver stands innermost on the stack, and where; else nobody's, and the innermost frame."""
    for frame in frames:
        for sensor in sensors:
            module = sensor.factory.partition(":")[0].replace(".", "/")
            if frame[0].endswith((f"/{module}.py", f"/{module}/__init__.py")):
                return sensor, frame
    return None, frames[0] if frames else None


def _what(text: str, status: int, *, was_silent: bool) -> str:
    """What happened, in words."""
    words = _words(text)
    if words.get("type") == "MemoryError":
        return "took more memory than a worker of this kind may have"
    if words:
        return str(words.get("text", "ended with an error"))
    if was_silent:
        return "gave no sign of life and was killed"
    if status in {-signal.SIGALRM, -signal.SIGPROF}:
        return _STUCK
    if fatal := _FATAL.search(text):
        return f"crashed: {fatal[1]}"
    if status == -signal.SIGKILL:
        return "was killed from outside, most likely by the kernel for want of memory"
    if status == 0:
        return "ended by itself, which nobody had asked it to"
    return f"ended ({reason(status)})"


def reason(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
