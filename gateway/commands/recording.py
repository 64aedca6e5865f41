"""A recording being made: entries from a port, or from a capture, go into a new capture."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from gateway.capture import CaptureWriter, Entry, Received, Recorded, Sent, read_capture
from gateway.commands.scrub import Scrubber
from gateway.driver import Advertisement, Edge, Notification
from gateway.errors import PortGone
from gateway.ports import Port


class Recording:
    """One capture being written; its file is made when the port is open.

    `received` counts entries that came from the device, `octets` the bytes in them of a serial line.
    """

    def __init__(self, path: Path, header: Mapping[str, str], scrubber: Scrubber | None) -> None:
        self._path = path
        self._header = dict(header)
        self._scrubber = scrubber
        self._file: TextIO | None = None
        self._writer: CaptureWriter | None = None
        self._begin_ns = 0
        self.received = 0
        self.entries = 0
        self.octets = 0

    def copy(self, source: Path) -> None:
        """Take over every entry of a capture. Raises ConfigError at a line that is none."""
        with source.open(encoding="utf-8", errors="replace") as lines:
            for entry in read_capture(lines, str(source)):
                self._add(entry.at_ns, entry.what)

    async def run(self, port: Port, seconds: float | None, opened: str) -> None:
        """Record until the time is over, SIGINT or SIGTERM comes, or the port goes (PortGone).

        Says `opened` on stderr once the port is.
        """
        self._begin_ns = time.monotonic_ns()
        is_tapped = hasattr(port, "tap")
        if is_tapped:  # a serial port shows its bytes as they pass; the others' frames are what came
            port.tap = self._tapped  # type: ignore[attr-defined]
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        try:
            await port.open()
            self._begin()
            print(opened, file=sys.stderr)
            reading = asyncio.create_task(self._read(port, is_tapped))
            stopping = asyncio.create_task(stop.wait())
            done, rest = await asyncio.wait(
                (reading, stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in rest:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            for task in done:
                task.result()
        except PortGone as error:
            raise PortGone(f"{error}; if `gateway run` holds the port, stop it first") from None
        finally:
            port.close()

    def close(self) -> None:
        """Write what was held back, and close the file; it goes if it is empty."""
        if self._scrubber is not None:
            for entry in self._scrubber.end():
                self._write(entry)
        if self._file is not None:
            self._file.close()
            if not self.entries:
                self._path.unlink()

    async def _read(self, port: Port, is_tapped: bool) -> None:
        async for t_ns, frame in port.frames():
            if not is_tapped and isinstance(frame, Advertisement | Notification | Edge):
                self._tapped(t_ns, frame)

    def _tapped(self, t_ns: int, what: Recorded) -> None:
        self._add(max(0, t_ns - self._begin_ns), what)

    def _add(self, at_ns: int, what: Recorded) -> None:
        self.entries += 1
        self.received += not isinstance(what, Sent)
        self.octets += len(what.octets) if isinstance(what, Received) else 0
        if self._scrubber is None:
            self._write(Entry(at_ns, what))
            return
        for entry in self._scrubber.add(at_ns, what):
            self._write(entry)

    def _begin(self) -> CaptureWriter:
        """Make the file, unless that was done, and its folder. Raises OSError."""
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Line-buffered: what was recorded so far survives a pulled plug.
            self._file = self._path.open("x", encoding="ascii", errors="backslashreplace", buffering=1)
            self._writer = CaptureWriter(self._file, self._header)
        return self._writer

    def _write(self, entry: Entry) -> None:
        self._begin().add(entry.at_ns, entry.what)
