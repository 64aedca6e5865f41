"""As little as can be: one read of what is there, cut at line ends. What a port can at best cost."""

import asyncio
import os
import tty
from collections.abc import Iterator

from benchmarks.serial.readers import Heard


def blocking(path: str, heard: Heard) -> None:
    """A thread that sits in read(2): nothing else can be done meanwhile, and nobody can stop it."""
    fd = _opened(path, os.O_RDWR)
    rest = b""
    while True:
        rest, lines = _cut(rest + os.read(fd, 4096))
        for line in lines:
            heard(line)


def in_a_loop(path: str, heard: Heard) -> None:
    """The same, called by asyncio's loop when there is something to read."""
    fd = _opened(path, os.O_RDWR | os.O_NONBLOCK)
    rest = b""

    def ready() -> None:
        nonlocal rest
        rest, lines = _cut(rest + os.read(fd, 4096))
        for line in lines:
            heard(line)

    loop = asyncio.new_event_loop()
    loop.add_reader(fd, ready)
    loop.set_exception_handler(lambda loop, _: loop.stop())  # unplugged: what comes now is its caller's
    loop.run_forever()


def _opened(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NOCTTY)
    tty.setraw(fd)
    return fd


def _cut(octets: bytes) -> tuple[bytes, Iterator[bytes]]:
    if not octets:
        raise OSError("hung up")
    *lines, rest = octets.split(b"\n")
    return rest, (line.rstrip(b"\r") for line in lines)
