"""Cameras: found by USB identity or by bus, read without a thread, watched for silence and for change.

The kernel fills four buffers and stamps each; a frame is copied out once, and its buffer goes back at
once. Nothing is lost without a count: neither what the kernel had no buffer for, nor what waited here for
too long (`gateway.ports.framebook`).
"""

import asyncio
import contextlib
import select
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from gateway.driver import Driver, Encoded
from gateway.errors import BadFrame, ConfigError, PortGone
from gateway.media import Image, Picture, VideoDriver
from gateway.ports.cameras import DEV, find_camera
from gateway.ports.framebook import FrameBook
from gateway.ports.replay_media import picture_size
from gateway.ports.v4l2_stream import CameraStream
from gateway.watch import Watch

WAITING_MAX: Final = 4  # pictures that wait for the consumer; a picture can have a megabyte
SILENT_S: Final = 3.0  # a camera without pictures for this long, or for ten of them, has stalled
SILENT_FRAMES: Final = 10
_SECOND: Final = 10**9


class V4l2Port:
    """One camera. See `gateway.ports.Port`. Frames are `gateway.media.Image`.

    Counters: those of `gateway.ports.framebook`, `given_up_frames` (the consumer was too slow, the
    oldest went), `format_changes` (the camera's picture changed under us; it was opened again), `stalls`.
    """

    patient = False

    def __init__(self, place: str, drivers: Sequence[Driver]) -> None:
        """Raises ConfigError if the drivers on one camera want different pictures."""
        self._place = place
        self._wanted = wanted_picture(f"v4l2:{place}", drivers)
        self._stream: CameraStream | None = None
        self._epoll: select.epoll | None = None
        self._watch: Watch | None = None
        self._plugged = asyncio.Event()
        self._book = FrameBook(Counter())
        self._images: deque[Image] = deque()
        self._wake = asyncio.Event()
        self._gone: str | None = None
        self._changed = False
        self._has_given = False  # a whole picture, since it was started
        self._heard_s = 0.0
        self._last_ns = 0  # stamp of the newest picture
        self._changed_ns = 0  # the same, when the format changed; until a picture of the new one came
        self._alarm: asyncio.TimerHandle | None = None
        self.counters: Counter[str] = Counter()

    async def open(self) -> None:
        """Find the camera, set size, rate and encoding, start it."""
        self._plugged.clear()
        self._watch_dev()  # before the look, so that `back` knows of what comes meanwhile
        self._begin(find_camera(self._place))
        self._unwatch_dev()
        self._plugged.clear()
        self._changed_ns = 0

    async def frames(self) -> AsyncGenerator[tuple[int, Image], None]:
        """(t_ns, image): the time is the kernel's stamp of the picture."""
        while True:
            while self._images:
                image = self._images.popleft()
                yield image.t_ns, image
            if self._changed:
                self.counters["format_changes"] += 1
                if not self._has_given:
                    raise PortGone(f"camera {self._place} sends pictures of another size than it says")
                self._end()
                self._begin(find_camera(self._place))
                self._changed_ns = self._last_ns
                continue
            if self._gone is not None or self._stream is None:
                raise PortGone(self._gone or "the port was closed")
            self._wake.clear()
            await self._wake.wait()

    async def send(self, driver: Driver, what: Encoded) -> None:
        """A camera takes nothing: raises PortGone."""
        raise PortGone(f"{self._place} is a camera; it takes no bytes")

    async def back(self, timeout_s: float) -> None:
        """Wait until a camera comes or goes, or its rights change; or the time is over."""
        self._watch_dev()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._plugged.wait()
        self._plugged.clear()

    def close(self) -> None:
        """Stop and close the camera; pictures that nobody fetched are counted as given up."""
        self._end()
        self._unwatch_dev()
        self.counters["given_up_frames"] += len(self._images)
        self._images.clear()

    @property
    def mode(self) -> str:
        """What the camera does now, in words; empty while it is closed."""
        return str(self._stream.mode) if self._stream is not None else ""

    def _begin(self, device: str) -> None:
        loop = asyncio.get_running_loop()
        self._gone, self._changed, self._has_given = None, False, False
        self._stream = CameraStream(device, self._wanted)
        self._book = FrameBook(self.counters)
        # asyncio waits for input only; events come as priority: an epoll of our own shows both as input.
        self._epoll = select.epoll()
        self._epoll.register(self._stream.fileno(), select.EPOLLIN | select.EPOLLPRI)
        loop.add_reader(self._epoll.fileno(), self._ready)
        self._wake.clear()
        self._heard_s = loop.time()
        self._listen()

    def _end(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _ready(self) -> None:
        """The loop's callback: an event, a picture, or the camera's end."""
        if self._epoll is None or self._stream is None:
            return
        try:
            for _, events in self._epoll.poll(0):
                if events & select.EPOLLPRI and self._stream.source_changed():
                    self._changed = True
                if not self._take() and events & (select.EPOLLERR | select.EPOLLHUP):
                    self._lose("it reports an error")
        except OSError as error:
            self._lose(error.strerror or "read error")
        if self._changed:
            self._silence()

    def _take(self) -> bool:
        """Take one frame, if there is one: the loop comes again for the next."""
        assert self._stream is not None
        taken = self._stream.take()
        if taken is None:
            return False
        now_ns = time.monotonic_ns()
        mode = self._stream.mode
        self._book.number(taken.sequence)
        if not self._book.is_whole(taken.flags, taken.octets, mode.encoding, self._stream.size):
            return True
        if mode.encoding == "jpeg":
            try:
                size = picture_size(taken.octets, "jpeg")
            except BadFrame:
                self.counters["corrupted_frames"] += 1
                return True
            if size != (mode.width, mode.height):
                self._changed = True
                return True
        t_ns = self._book.time_ns(taken.flags, taken.stamp_ns, now_ns)
        if self._changed_ns:  # numbers began anew: what was missed is known by the time that it took
            missed = round((t_ns - self._changed_ns) * mode.fps / _SECOND) - 1
            self.counters["dropped_frames"] += max(0, missed)
            self._changed_ns = 0
        self._last_ns = t_ns
        if len(self._images) == WAITING_MAX:
            self._images.popleft()
            self.counters["given_up_frames"] += 1
        self._images.append(Image(t_ns, mode.encoding, mode.width, mode.height, taken.octets))
        self._heard_s, self._has_given = asyncio.get_running_loop().time(), True
        self._wake.set()
        return True

    def _listen(self) -> None:
        """Look, when a picture is overdue, whether one came meanwhile."""
        assert self._stream is not None
        loop = asyncio.get_running_loop()
        limit_s = max(SILENT_S, SILENT_FRAMES / (self._stream.mode.fps or SILENT_FRAMES))
        if loop.time() >= self._heard_s + limit_s:
            self.counters["stalls"] += 1
            self._lose(f"no whole picture for {limit_s:.0f} s")
        else:
            self._alarm = loop.call_at(self._heard_s + limit_s, self._listen)

    def _lose(self, why: str) -> None:
        self._gone = f"camera {self._place} stopped ({why}); check its plug"
        self._silence()

    def _silence(self) -> None:
        """No more callbacks from this stream; whoever waits for pictures learns why."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        if self._alarm is not None:
            self._alarm.cancel()
        self._wake.set()

    def _watch_dev(self) -> None:
        """Be told of nodes that come, go or change their rights.

        Where inotify is exhausted, a camera is found again by trying.
        """
        if self._watch is not None:
            return
        try:
            self._watch = Watch()
            self._watch.add(DEV, closes=False)  # opening a camera to see what it is is no plug
        except OSError:
            self._unwatch_dev()
            return
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._look)

    def _look(self) -> None:
        if self._watch is not None and any(p.name.startswith("video") for p in self._watch.changes()):
            self._plugged.set()

    def _unwatch_dev(self) -> None:
        if self._watch is not None:
            self._look()
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None


def wanted_picture(url: str, drivers: Sequence[Driver]) -> Picture:
    """The picture that all sensors on a camera ask for. Raises ConfigError if they differ."""
    pictures: list[Picture] = []
    for driver in drivers:
        if not isinstance(driver, VideoDriver):
            raise ConfigError(f"port {url}: {type(driver).__name__} is no driver of a camera")
        pictures.append(driver.picture())
    if len(set(pictures)) > 1:
        raise ConfigError(f"port {url}: its sensors ask for different pictures; give them one size")
    return pictures[0]
