"""Drivers that do to their worker what a bad driver can do, once their device says `go`."""

import ctypes
import os
import sys
import threading
import time

from gateway.driver import Measure, SerialDriver, Values


class Good(SerialDriver):
    """A device that sends a number a line."""

    line = "115200 8n1"
    emits = (Measure("count", "1"),)

    def decode(self, frame: bytes) -> Values | None:
        if frame == b"go":
            self.go()
        return {"count": float(frame)}

    def go(self) -> None:
        """What is wrong with it."""


class Leaks(Good):
    def go(self) -> None:
        kept = []
        while True:
            kept.append(bytearray(1 << 20))


class Spins(Good):
    def go(self) -> None:
        while True:
            pass


class Waits(Good):
    def go(self) -> None:
        time.sleep(3600)


class Crashes(Good):
    def go(self) -> None:
        ctypes.string_at(0)


class Exits(Good):
    def go(self) -> None:
        sys.exit(0)


class Vanishes(Good):
    def go(self) -> None:
        os._exit(0)


class StartsThreads(Good):
    def go(self) -> None:
        while True:
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


class ClosesAll(Good):
    def go(self) -> None:
        os.closerange(0, 21)


class GreetsWrong(Good):
    def greet(self) -> None:
        raise LookupError("no such word")
