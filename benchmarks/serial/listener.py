"""A reader, or a whole box, at the end of a pty: what is written to it, and what it makes of that."""

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, Protocol, Self

from benchmarks.serial.lines import line
from benchmarks.serial.readers import Entry
from gateway_hil.box import Box
from gateway_hil.wires import PtyWire

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE_S: Final = 20.0
_SITE: Final = '[sensor.wind]\ndriver = "windsonic"\nport = "{port}"\n'


class Heard:
    """What came since the last question: how many things taken for lines, and numbers with their times."""

    def __init__(self, cpu_ns: int, frames: int, numbers: list[tuple[int, int]]) -> None:
        self.cpu_ns = cpu_ns  # of the process, all of its life
        self.frames = frames
        self.numbers = numbers


class Listener(Protocol):
    """The two sorts below."""

    title: str
    wire: PtyWire
    is_held_to_a_rate: bool  # it leaves readings out that come faster than a sensor may talk

    def heard(self) -> Heard:
        """What came since the last call."""
        ...


class Reader:
    """A child process with one reader (see child.py)."""

    is_held_to_a_rate = False

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.title = entry.title
        self.wire = PtyWire(folder / f"tty-{entry.name}")
        self.wire.plug()
        python = _ROOT / ".venv-peer" / "bin" / "python" if entry.peer else Path(sys.executable)
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.serial.child", entry.name, str(self.wire.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # one whose port goes away may say so at length
            text=True,
            cwd=_ROOT,
            env={"PYTHONPATH": f"{_ROOT}:{_ROOT}/drivers"} if entry.peer else None,
        )

    def heard(self) -> Heard:
        """What came since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.title}: its process ended ({self._process.wait()})")
        told: dict[str, Any] = json.loads(answer)
        return Heard(told["cpu_ns"], told["frames"], [(number, t_ns) for number, t_ns in told["numbers"]])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self.wire.remove()


class WholeBox:
    """The same line at a real worker under the real supervisor; heard is what core was handed."""

    title = "pole-gateway: a whole worker"
    is_held_to_a_rate = True

    def __init__(self, folder: Path) -> None:
        self.wire = PtyWire(folder / "tty-box")
        self.wire.plug()
        (folder / "box").mkdir()
        self._box = Box(folder / "box")
        self._told = 0

    def heard(self) -> Heard:
        """What core got since the last call; CPU is the worker's, the supervisor's is not counted."""
        records = self._box.records("wind", "reading")
        new, self._told = records[self._told :], len(records)
        numbers = [
            (round(r.values["wind"] * 100), r.came_ns) for r in new if r.values.get("wind") is not None
        ]
        schedstat = Path(f"/proc/{self._box.pids()[0]}/schedstat").read_text("ascii")
        return Heard(int(schedstat.split()[0]), len(new), numbers)

    def __enter__(self) -> Self:
        self._box.start(_SITE.format(port=self.wire.port))
        return self

    def __exit__(self, *error: object) -> None:
        self._box.close()
        self.wire.remove()


def write(listener: Listener, octets: bytes) -> None:
    """All of it, or as long as it is plugged in; waits for a reader that is slow."""
    deadline = time.monotonic() + _PATIENCE_S
    while octets and time.monotonic() < deadline:
        octets = octets[listener.wire.write(octets) :]
        if octets:
            select.select([], [listener.wire.fd], [], 0.1)


def wait_until_heard(listener: Listener, numbers: set[int], within_s: float = _PATIENCE_S) -> Heard:
    """What came until all these numbers did, or the time was over."""
    heard = listener.heard()
    deadline = time.monotonic() + within_s
    while not numbers <= {number for number, _ in heard.numbers} and time.monotonic() < deadline:
        time.sleep(0.02)
        more = listener.heard()
        heard = Heard(more.cpu_ns, heard.frames + more.frames, heard.numbers + more.numbers)
    return heard


def wake(listener: Listener) -> None:
    """Write a line now and then until one is heard: it has its port open, and is warm."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if not listener.wire.has_reader():
            continue
        write(listener, line(1))
        time.sleep(0.1)
        if listener.heard().numbers:
            time.sleep(0.2)
            listener.heard()
            return
    raise SystemExit(f"{listener.title}: it does not read its port")
