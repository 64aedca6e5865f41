"""A process that does what it is told by JSON lines: `Remote` tells it, `serve` is what it runs."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway.process import child_environment
from gateway_hil.netns import Namespace


class Remote:
    """Runs `python -m MODULE WORDS` in a network. It ends with this process.

    Calling it calls the method of that name there; the answer is a dict. Raises RuntimeError with its log if
    it has ended.
    """

    def __init__(self, module: str, *words: str, log: Path, network: Namespace) -> None:
        command = [sys.executable, "-P", "-m", module, *words]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                network.command(*command),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=child_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        self._log = log

    def __call__(self, what: str, **arguments: Any) -> dict[str, Any]:
        self.ask(what, **arguments)
        return self.answer()

    def ask(self, what: str, **arguments: Any) -> None:
        """Call, but do not wait for the answer."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([what, arguments]), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest call that has none yet."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended: {self._log.read_text(encoding='utf-8')[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Tell it to close, and wait for its end."""
        if self._process.poll() is None:
            with contextlib.suppress(RuntimeError):
                self("close")
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(target: Any) -> None:
    """Call methods of `target` as stdin says, until `close` or the end of stdin."""
    for line in sys.stdin:
        what, arguments = json.loads(line)
        print(json.dumps(getattr(target, what)(**arguments)), flush=True)
        if what == "close":
            return
