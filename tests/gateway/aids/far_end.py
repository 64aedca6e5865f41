"""Devices at the far end of a pty that answer lines, in the loop of the test."""

import asyncio
import os
from collections.abc import Callable

from plug import Plug


class FarEnd:
    """Hears questions, one a line, and answers each with what `answer` gives."""

    def __init__(self, plug: Plug, answer: Callable[[bytes], bytes]) -> None:
        self._plug = plug
        self._answer = answer
        self._rest = b""
        self.heard: list[bytes] = []
        asyncio.get_running_loop().add_reader(plug.fd, self._read)

    def _read(self) -> None:
        *questions, self._rest = (self._rest + os.read(self._plug.fd, 4096)).split(b"\n")
        for question in questions:
            self.heard.append(question)
            if answer := self._answer(question):
                self._plug.says(answer)

    def stop(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._plug.fd)
