"""A capture played onto a pseudo-terminal as by the device: it speaks when it did, and answers when asked.

Bytes that were sent to the device are waited for: what it said after them comes as long after the question
as it did then. A question that is another than the recorded one is told, and answered all the same.
"""

import os
import select
import sys
import termios
import time
import tty
from pathlib import Path
from typing import Final

from gateway.capture import Entry, Received, Sent, read_capture
from gateway.errors import ConfigError

_SECOND: Final = 10**9
_LOOK_S: Final = 0.02  # how often to look for a reader: a pty tells nobody that it was opened
_ASKED_MAX: Final = 4096  # bytes of questions that nothing was recorded for


class PtyPlay:
    """One capture on one pty. A context manager; `link` is a symbolic link to it, or empty for none.

    Counters: `answered` questions, `other_questions` (not as recorded), `unread` bytes (nobody took them).
    """

    def __init__(self, capture: Path, link: Path | None, speed: float | None) -> None:
        self._capture = capture
        self._link = link
        self._speed = speed
        self._master = -1
        self._asked = bytearray()
        self.path = ""
        self.answered = 0
        self.other_questions = 0
        self.unread = 0

    def __enter__(self) -> "PtyPlay":
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave, termios.TCSANOW)
            self.path = os.ttyname(slave)
            os.set_blocking(self._master, False)
            if self._link is not None:
                self._link.symlink_to(self.path)
        except FileExistsError:
            os.close(self._master)
            raise ConfigError(f"{self._link} is already there; name another link") from None
        finally:
            os.close(slave)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._master)
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def play(self) -> None:
        """Once through, from when somebody opens the pty; then silent until they close it.

        Raises ConfigError at a line that is no entry.
        """
        self._wait_for_reader()
        began = time.monotonic()
        with self._capture.open(encoding="utf-8", errors="replace") as lines:
            for entry in read_capture(lines, str(self._capture)):
                at_s = 0.0 if self._speed is None else entry.at_ns / _SECOND / self._speed
                if isinstance(entry.what, Sent):
                    self._await(entry.what.octets)
                    began = time.monotonic() - at_s  # what follows is an answer to this
                elif isinstance(entry.what, Received):
                    self._sleep_until(began + at_s)
                    self._say(entry)
        while self._has_reader():  # what it has not read yet goes with the pty
            self._hear(_LOOK_S)

    def _wait_for_reader(self) -> None:
        while not self._has_reader():
            time.sleep(_LOOK_S)

    def _has_reader(self) -> bool:
        poll = select.poll()
        poll.register(self._master, select.POLLHUP)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def _await(self, question: bytes) -> None:
        """Wait until as many bytes came as the question has; then it was asked."""
        while len(self._asked) < len(question):
            self._hear(None)
        asked = bytes(self._asked[: len(question)])
        if asked == question:
            self.answered += 1
        else:
            self.other_questions += 1
            if self.other_questions == 1:
                print(f"asked {asked.hex()}, recorded was {question.hex()}", file=sys.stderr)
        del self._asked[: len(question)]

    def _sleep_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            self._hear(left)

    def _hear(self, timeout_s: float | None) -> None:
        """Wait for bytes from the reader; without one, for a reader."""
        ready, _, _ = select.select([self._master], [], [], timeout_s)
        if not ready:
            return
        try:
            self._asked += os.read(self._master, 4096)
        except OSError:  # nobody has it open
            time.sleep(_LOOK_S if timeout_s is None else min(_LOOK_S, timeout_s))
        del self._asked[:-_ASKED_MAX]

    def _say(self, entry: Entry) -> None:
        assert isinstance(entry.what, Received)
        octets = entry.what.octets
        try:
            self.unread += len(octets) - os.write(self._master, octets)
        except BlockingIOError:
            self.unread += len(octets)
