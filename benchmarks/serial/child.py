"""One reader in a process of its own: asked by a line on stdin, it says what it heard and what that cost.

Runs in the environment of its reader, so it imports nothing but that.
"""

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any

from benchmarks.serial.lines import number_in
from benchmarks.serial.readers import READERS


class Ear:
    """What a reader took for lines: how many, and the numbers in those that are, with the time."""

    def __init__(self) -> None:
        self.frames = 0
        self.numbers: list[tuple[int, int]] = []

    def heard(self, frame: bytes) -> None:
        """Take one."""
        self.frames += 1
        number = number_in(frame)
        if number is not None:
            self.numbers.append((number, time.monotonic_ns()))

    def told(self) -> dict[str, Any]:
        """All since the last time."""
        frames, self.frames = self.frames, 0
        numbers, self.numbers = self.numbers, []
        return {"frames": frames, "numbers": numbers}


def main(name: str, path: str) -> None:
    """Read in a thread until stdin ends."""
    ear = Ear()

    def read() -> None:
        with contextlib.suppress(OSError):  # unplugged, and no try to open it again: the thread is over
            READERS[name].read(path, ear.heard)

    threading.Thread(target=read, daemon=True).start()
    for _ in sys.stdin:
        cpu_ns = time.process_time_ns()  # user and system, all threads
        print(json.dumps({"cpu_ns": cpu_ns} | ear.told()), flush=True)
    os._exit(0)  # whatever still reads


if __name__ == "__main__":
    main(*sys.argv[1:])
