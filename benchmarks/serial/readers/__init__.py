"""Ways to read a serial port: each reads until its process ends, and hands over what it takes for a line."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Heard = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One reader: a function of a module here. `peer`: it runs in .venv-peer."""

    name: str
    title: str
    module: str
    function: str = "read"
    peer: bool = False

    def read(self, path: str, heard: Heard) -> None:
        """Read for ever."""
        reading: Any = getattr(importlib.import_module(f"{__name__}.{self.module}"), self.function)
        reading(path, heard)


READERS: Final = {
    entry.name: entry
    for entry in (
        Entry("ours", "pole-gateway: port and framing", "ours"),
        Entry("loop", "os.read + split, in an event loop", "bare", "in_a_loop"),
        Entry("blocking", "os.read + split, blocking", "bare", "blocking"),
        Entry("pyserial", "pyserial readline, in a thread", "pyserial"),
        Entry("serialx", "serialx readline, asyncio", "serialx"),
        Entry("thingsboard", "ThingsBoard Gateway's serial class", "thingsboard", peer=True),
    )
}
