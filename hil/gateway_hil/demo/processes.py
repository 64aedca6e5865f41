"""The demo's processes: started as a person would start them, watched from outside, killed on purpose."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.plan import load_plan
from gateway.process import child_environment
from gateway_hil.boxprocesses import processes_of

GATEWAY: Final = (sys.executable, "-P", "-m", "gateway")
_LINE_MAX: Final = 1 << 20
_LAST_WORDS_S: Final = 1.0  # a dead process's last lines may still be in the pipe


class DemoError(GatewayError):
    """A step of the demo did not work; the text says which and what its process said."""


async def gateway(*arguments: str) -> str:
    """Run one `gateway` command to its end; what it printed. Raises DemoError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *GATEWAY,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise DemoError(f"gateway {' '.join(arguments[:3])} failed: {(err or out).decode().strip()}")
    return out.decode()


class Running:
    """A process whose output lines go to a listener, and to a file that can be read afterwards."""

    def __init__(self, name: str, listener: Callable[[dict[str, Any]], None], log: Path) -> None:
        self.name = name
        self._listener = listener
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stopping = False
        self._said = ""

    async def start(self, *arguments: str, from_stdout: bool = False) -> None:
        """Start `gateway ARGUMENTS`; its JSON lines on stderr (or stdout) are listened to."""
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *GATEWAY,
            *arguments,
            stdin=none,
            stdout=pipe if from_stdout else none,
            stderr=none if from_stdout else pipe,
            limit=_LINE_MAX,
            env=child_environment(),  # what can die with its parent does, even if that is killed
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the others in order
        )
        stream = process.stdout if from_stdout else process.stderr
        assert stream is not None
        # All at once: until the new process is there, the one before is still one that was stopped.
        self._process, self._stopping = process, False
        self._reader = asyncio.create_task(self._listen(stream))

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        with self._log.open("ab") as log:
            while line := await stream.readline():
                log.write(line)
                log.flush()
                try:
                    said = json.loads(line)
                except ValueError:  # not a log line: what a process writes before its log is set up
                    self._said = line.decode(errors="replace").strip()
                    continue
                self._said = str(said.get("text", self._said))
                self._listener(said)

    @property
    def pid(self) -> int:
        """The process id, 0 if it does not run."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else 0

    async def check(self) -> None:
        """Raises DemoError if the process was started and ended although nobody stopped it."""
        if self._process is None or self._reader is None or self.pid or self._stopping:
            return
        await asyncio.wait({self._reader}, timeout=_LAST_WORDS_S)
        status = _in_words(self._process.returncode or 0)
        raise DemoError(f"the {self.name} ended by itself ({status}); {self.last_words}")

    @property
    def last_words(self) -> str:
        """The last line of its log, and which log that is, to end an error's text."""
        return f"{self._log.name} ends with: {self._said}" if self._said else f"{self._log.name} is empty"

    async def stop(self, signum: int = signal.SIGTERM, within_s: float = 20.0) -> None:
        """Send a signal and wait for the end; kills if it takes too long."""
        self._stopping = True
        if self._process is None:
            return
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader


def _in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


@dataclass
class Census:
    """Which processes of the box run, found by their command lines; counts who came back with another pid."""

    plan: Path
    pids: dict[str, int] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)
    memory_mib: dict[str, float] = field(default_factory=dict)

    def take(self, others: dict[str, int]) -> None:
        """Look again. `others` are processes known by pid, such as the hub."""
        found = {name: pid for name, pid in others.items() if pid} | self._of_plan()
        for name, pid in found.items():
            if name in self.pids and self.pids[name] != pid:
                self.restarts[name] += 1
            self.pids[name] = pid
            with contextlib.suppress(OSError, ValueError):
                self.memory_mib[name] = _pss_mib(pid)

    def _of_plan(self) -> dict[str, int]:
        names: dict[str, str] = {}
        with contextlib.suppress(GatewayError):
            for port in load_plan(self.plan).ports:
                names[str(port.number)] = "worker " + "+".join(s.name for s in port.sensors)
        found: dict[str, int] = {}
        for pid, module, number in processes_of(self.plan):
            name = {"gateway.core": "core", "gateway.supervisor": "supervisor"}.get(module)
            if module == "gateway.worker":
                name = names.get(number)
            if name is not None:
                found[name] = pid
        return found

    def kill(self, name: str) -> None:
        """SIGKILL one of them. Raises DemoError if it is not there."""
        try:
            os.kill(self._of_plan()[name], signal.SIGKILL)
        except (KeyError, ProcessLookupError):
            raise DemoError(f"there is no process {name!r} to kill; see box.log") from None


def _pss_mib(pid: int) -> float:
    """Proportional set size: memory a process would free, shared pages counted in part (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ValueError("no Pss line")
