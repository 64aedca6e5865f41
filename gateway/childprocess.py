"""One child process with a heartbeat: started, watched through a pidfd and a pipe, and stopped."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from gateway.process import child_environment

STACKS_S: Final = 1.0  # to write down where its threads stand
_READ_SIZE: Final = 4096

# The command of a child, given the number of the file descriptor that it sends its heartbeat to.
Command = Callable[[int], Sequence[str]]


class ChildProcess:
    """A running child. It sends any bytes to its heartbeat pipe; `heard_s` is the loop time of the last."""

    def __init__(self, command: Command) -> None:
        """Start it. Raises OSError if it cannot be started or watched; nothing of it runs then."""
        self._loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            self._heartbeat, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, self._heartbeat)
            try:
                self._process = subprocess.Popen(
                    command(theirs), stdin=subprocess.DEVNULL, pass_fds=(theirs,), env=child_environment()
                )
            finally:
                os.close(theirs)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self.pid = self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
            undo.pop_all()
        self._ended = asyncio.Event()
        self.started_s = self.heard_s = self._loop.time()
        self._loop.add_reader(self._pidfd, self._end)
        self._loop.add_reader(self._heartbeat, self._hear)

    async def wait(self, silent_s: float) -> tuple[int, bool]:
        """Wait for its end: the exit status (negative: a signal), and whether it was killed for silence.

        A silent child gets SIGALRM first, at which a worker writes down where it stands (`gateway.guard`).
        """
        was_silent = False
        while not self._ended.is_set():
            left_s = self.heard_s + silent_s - self._loop.time()
            if left_s <= 0 and not was_silent:
                was_silent = True
                await self._end_with((signal.SIGALRM, signal.SIGKILL), STACKS_S)
                continue
            try:
                async with asyncio.timeout(left_s if left_s > 0 else None):
                    await self._ended.wait()
            except TimeoutError:
                continue
        return self._process.wait(), was_silent

    async def stop(self, within_s: float) -> None:
        """Ask it to end with SIGTERM; kill it if it does not within the time."""
        await self._end_with((signal.SIGTERM, signal.SIGKILL), within_s)

    async def _end_with(self, signals: Sequence[signal.Signals], within_s: float) -> None:
        """Send one signal after the other until it has ended, with so long between them."""
        for signum in signals:
            self._process.send_signal(signum)
            try:
                async with asyncio.timeout(within_s):
                    await self._ended.wait()
                    break
            except TimeoutError:
                continue

    def close(self) -> None:
        """Kill it if it still runs, and close the descriptors it was watched with."""
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._heartbeat)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._pidfd)
        os.close(self._heartbeat)

    def _end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._ended.set()

    def _hear(self) -> None:
        if os.read(self._heartbeat, _READ_SIZE):
            self.heard_s = self._loop.time()
        else:  # it closed its end; its death will be seen, or its silence
            self._loop.remove_reader(self._heartbeat)
