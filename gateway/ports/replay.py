"""Replay: a file plays the part of a bus. Every kind of frame, at recorded speed, faster, or live.

    a capture (gateway.capture)     bytes, advertisements and edges, by their own times
    any other file, serial ports    bytes, cut into frames by the driver's framing, `rate` frames a second
    WAV or FLAC, alsa ports         blocks of PCM as long as the driver asks for
    a folder of .jpg or .bmp, v4l2  images in order of their names, `fps` a second

Frames carry the time at which they would have come: the replay's start plus their place in the
recording, at any speed. So a recording gives the same readings however fast it is played; played
faster than recorded, its time runs ahead of the clock. A live replay (`start=`) misses what lies
before now, as a real bus would.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.capture import Received, Recorded, Sent, is_capture, read_capture
from gateway.driver import Advertisement, Driver, Edge, Encoded, Lines, Notification, SerialDriver
from gateway.errors import ConfigError, PortGone
from gateway.ports.url import PortUrl, ReplayOptions, replay_options

if TYPE_CHECKING:
    from gateway.ports.retold import Retelling

_KINDS: Final[dict[str, tuple[type[Recorded], ...]]] = {
    "serial": (Received,),
    "ble": (Advertisement, Notification),
    "gpio": (Edge,),
}
_SECOND: Final = 10**9


class Source(Protocol):
    """A recording: its frames in order of time, once through."""

    def frames(self, from_ns: int, lap: int) -> Iterator[tuple[int, int, Any]]:
        """(t_ns of the frame, when all of it has passed, frame), for frames at `from_ns` or later.

        Times count from the recording's beginning. `lap` is how often it was played before.
        """
        ...

    def length_ns(self) -> int:
        """After which time the recording may begin again."""
        ...


class ReplayPort:
    """A recording as a port. See `gateway.ports.Port`. At its end it is silent, unless it loops.

    Counter: `other_entries`, lines of a capture that are of another kind of port.
    """

    def __init__(self, url: PortUrl, kind: str, *drivers: Driver) -> None:
        self._path = Path(url.place)
        self._kind = kind
        self._drivers = drivers
        self._options: ReplayOptions = replay_options(url)
        self._source: Source | None = None
        self._start_ns = 0
        self.patient = self._options.speed is None
        self.counters: Counter[str] = Counter()

    async def open(self) -> None:
        """Find the file. Raises PortGone if it is not there, ConfigError if it does not fit the port."""
        try:
            self._source = source_of(self._path, self._kind, self._drivers, self._options, self.counters)
        except OSError as error:
            raise PortGone(
                f"cannot read {self._path} ({error.strerror}); check the port's file name"
            ) from error
        begins = self._options.start_ns
        self._start_ns = time.monotonic_ns() if begins is None else begins

    async def frames(self) -> AsyncGenerator[tuple[int, Any], None]:
        """(t_ns, frame) as the recording has them; after its end nothing more, for ever."""
        if self._source is None:
            raise PortGone("the port is not open")
        lap, from_ns = self._position()
        while lap == 0 or self._options.loop:
            offset_ns = self._start_ns + (lap * self._source.length_ns() if lap else 0)
            for at_ns, passed_ns, frame in self._source.frames(from_ns, lap):
                await self._wait_until(offset_ns - self._start_ns + passed_ns)
                t_ns = offset_ns + at_ns
                # Blocks and images carry their time themselves.
                yield t_ns, replace(frame, t_ns=t_ns) if hasattr(frame, "t_ns") else frame
            lap, from_ns = lap + 1, 0
        await asyncio.Event().wait()

    async def send(self, driver: Driver, what: Encoded) -> None:
        """Nobody is there to take anything: raises PortGone."""
        raise PortGone(f"{self._path} is a recording; it takes no bytes")

    async def back(self, timeout_s: float) -> None:
        """Wait the time: files come back when a person puts them there."""
        await asyncio.sleep(timeout_s)

    def close(self) -> None:
        """Forget the recording."""
        self._source = None

    def _position(self) -> tuple[int, int]:
        """Lap and place in the recording where this replay takes it up."""
        assert self._source is not None
        if self._options.start_ns is None or self._options.speed is None:
            return 0, 0
        place_ns = int((time.monotonic_ns() - self._start_ns) * self._options.speed)
        if place_ns <= 0 or not self._options.loop:
            return 0, max(0, place_ns)
        return divmod(place_ns, self._source.length_ns())

    async def _wait_until(self, place_ns: int) -> None:
        """Sleep until the recording has come to this place; let others run even if it is late."""
        delay_s = 0.0
        if self._options.speed is not None:
            due_ns = self._start_ns + int(place_ns / self._options.speed)
            delay_s = max(0.0, (due_ns - time.monotonic_ns()) / _SECOND)
        await asyncio.sleep(delay_s)


class CaptureSource:
    """The entries of a capture that fit the port's kind; bytes go through the drivers' framing.

    Of drivers that converse it gives Answers, as far as the capture has their questions.
    """

    def __init__(self, path: Path, kind: str, drivers: Sequence[Driver], counters: Counter[str]) -> None:
        self._path = path
        self._kind = _KINDS[kind]
        self._drivers = [driver for driver in drivers if isinstance(driver, SerialDriver)]
        self._counters = counters
        self._length_ns: int | None = None

    def frames(self, from_ns: int, lap: int) -> Iterator[tuple[int, int, Any]]:
        """Frames at the times of the entries that completed them."""
        del lap
        if self._drivers:
            yield from self._serial_frames(from_ns)
            return
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for entry in read_capture(file, str(self._path)):
                if entry.at_ns < from_ns:
                    continue
                if not isinstance(entry.what, self._kind):
                    self._counters["other_entries"] += not isinstance(entry.what, Sent)
                else:
                    yield entry.at_ns, entry.at_ns, entry.what

    def _serial_frames(self, from_ns: int) -> Iterator[tuple[int, int, Any]]:
        first = self._drivers[0]
        framer = first.framing.framer()
        retelling: Retelling | None = None
        if len(self._drivers) > 1 or first.polls() or first.writes("greet"):
            retelling = _retelling(self._drivers, self._counters)
        silence_ns, heard_ns = int(framer.silence_s * _SECOND), 0

        def given(at_ns: int, frames: Iterable[bytes]) -> Iterator[tuple[int, int, Any]]:
            for frame in frames:
                for each in (frame,) if retelling is None else retelling.heard(frame):
                    yield at_ns, at_ns, each

        with self._path.open(encoding="utf-8", errors="replace") as file:
            for entry in read_capture(file, str(self._path)):
                at_ns, what = entry.at_ns, entry.what
                if at_ns < from_ns:
                    continue
                if silence_ns and (isinstance(what, Sent) or at_ns - heard_ns >= silence_ns):
                    yield from given(heard_ns, framer.rest())
                if isinstance(what, Received):
                    heard_ns = at_ns
                    yield from given(at_ns, framer.feed(what.octets))
                elif not isinstance(what, Sent):
                    self._counters["other_entries"] += 1
                elif retelling is not None:
                    for answer in retelling.sent(what.octets):
                        yield at_ns, at_ns, answer
        yield from given(heard_ns, framer.rest())

    def length_ns(self) -> int:
        """To the last entry and the mean pause between entries beyond it; at least a millisecond."""
        if self._length_ns is None:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                times = [entry.at_ns for entry in read_capture(file, str(self._path))]
            last_ns = times[-1] if times else 0
            self._length_ns = max(
                10**6, last_ns + (last_ns // (len(times) - 1) if len(times) > 1 else _SECOND)
            )
        return self._length_ns


def _retelling(drivers: Sequence[SerialDriver], counters: Counter[str]) -> "Retelling":
    from gateway.ports.retold import Retelling  # most captures need none

    return Retelling(drivers, counters)


class ByteSource:
    """A file of raw bytes, such as an NMEA log: no times, so its frames come at an even rate."""

    def __init__(self, path: Path, driver: SerialDriver, rate: float) -> None:
        with path.open("rb"):  # an absent file is found here, not in the middle
            self._path = path
        self._driver = driver
        self._pause_ns = int(_SECOND / rate)
        self._length_ns: int | None = None

    def frames(self, from_ns: int, lap: int) -> Iterator[tuple[int, int, bytes]]:
        """Frame number n at n / rate seconds."""
        del lap
        for number, frame in enumerate(self._cut()):
            at_ns = number * self._pause_ns
            if at_ns >= from_ns:
                yield at_ns, at_ns, frame

    def length_ns(self) -> int:
        """One pause for every frame; at least one pause."""
        if self._length_ns is None:
            self._length_ns = max(1, sum(1 for _ in self._cut())) * self._pause_ns
        return self._length_ns

    def _cut(self) -> Iterator[bytes]:
        framer = self._driver.framing.framer()
        with self._path.open("rb") as file:
            while chunk := file.read(4096):
                yield from framer.feed(chunk)
            if framer.held and isinstance(self._driver.framing, Lines):
                yield from framer.feed(b"\n")  # a last line without its end


def source_of(
    path: Path, kind: str, drivers: Sequence[Driver], options: ReplayOptions, counters: Counter[str]
) -> Source:
    """What can play this file to the drivers of a port of this kind. Raises OSError or ConfigError."""
    driver = drivers[0]
    if kind == "alsa":
        from gateway.ports.replay_media import SoundSource  # numpy, for microphones only

        return SoundSource(path, driver)
    if kind == "v4l2":
        from gateway.ports.replay_media import ImageSource

        return ImageSource(path, options.fps)
    if kind in _KINDS and is_capture(path):
        return CaptureSource(path, kind, drivers, counters)
    if isinstance(driver, SerialDriver):
        return ByteSource(path, driver, options.rate)
    raise ConfigError(f"{path} is no capture; {kind} ports replay captures, `gateway record` makes one")
