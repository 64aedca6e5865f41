"""Cameras on a network: RTSP over TCP through PyAV (FFmpeg), in a thread of its own, as FFmpeg knows no loop.

FFmpeg waits in C, without the GIL. A camera's clock is not ours: a picture's time is the camera's stamp,
laid onto our clock by the quickest of the last arrivals, so that a delay on the way does not move it much.
Motion JPEG is handed over as it came; other encodings (H.264, H.265) are decoded to YUYV, no more
pictures a second than are asked for. User and password come from the sensor's settings, never from the URL,
and no error of FFmpeg is passed on as it stands, because it repeats the URL.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from urllib.parse import quote

from gateway.driver import Driver, Encoded
from gateway.errors import BadFrame, ConfigError, PortGone
from gateway.media import Image, Login, VideoDriver
from gateway.ports.replay_media import picture_size
from gateway.ports.v4l2 import wanted_picture

WAITING_MAX: Final = 4  # pictures that wait for the consumer
OPEN_WITHIN_S: Final = 5.0
SILENT_S: Final = 3.0  # without a packet for this long, the camera has stalled
# Over UDP, losses would be invisible. FFmpeg looks at the stream for this many microseconds before it begins.
_OPTIONS: Final = {"rtsp_transport": "tcp", "analyzeduration": "500000"}
_ARRIVALS: Final = 64
_LATE_NS: Final = 2 * 10**9  # a picture is not older: the camera has set its clock
_EARLY: Final = 0.9  # of a picture's time: one that comes sooner than that is one too many


class RtspPort:
    """One camera on a network. See `gateway.ports.Port`. Frames are `gateway.media.Image`.

    Counters: `given_up_frames` (the consumer was too slow, the oldest went), `corrupted_frames` (no whole
    picture), `unkeyed_frames` (came before the first picture that stands by itself), `unasked_frames` (more
    came than the drivers want; not used).
    """

    patient = False

    def __init__(self, place: str, drivers: Sequence[Driver]) -> None:
        """`place` is the URL without its scheme. Raises ConfigError if the drivers do not agree."""
        self._url = f"rtsp:{place}"
        self._fps = wanted_picture(self._url, drivers).fps
        logins = {driver.login() for driver in drivers if isinstance(driver, VideoDriver)} - {None}
        if len(logins) > 1:
            raise ConfigError(f"port {self._url}: its sensors have different users; a camera has one")
        self._login: Login | None = next(iter(logins), None)
        self._reader: _Reader | None = None
        self.counters: Counter[str] = Counter()

    async def open(self) -> None:
        """Connect and start the stream; at most five seconds. Raises ConfigError if PyAV is not installed."""
        self._reader = _Reader(_library(), self._url, self._login, self._fps, self.counters)
        await self._reader.opened

    async def frames(self) -> AsyncGenerator[tuple[int, Image], None]:
        """(t_ns, image): the camera's stamp on our clock, never later than the arrival."""
        reader = self._reader
        if reader is None:
            raise PortGone("the port is not open")
        while True:
            while reader.images:
                image = reader.images.popleft()
                yield image.t_ns, image
            if reader.bug is not None:
                raise reader.bug
            if reader.gone:
                raise PortGone(reader.gone)
            reader.wake.clear()
            await reader.wake.wait()

    async def send(self, driver: Driver, what: Encoded) -> None:
        """A camera takes nothing: raises PortGone."""
        raise PortGone(f"{self._url} is a camera; it takes no bytes")

    async def back(self, timeout_s: float) -> None:
        """Wait the time: nothing tells that a host is back but trying."""
        await asyncio.sleep(timeout_s)

    def close(self) -> None:
        """Let go of the stream; its thread ends at the next packet, or when none came for three seconds."""
        if self._reader is not None:
            self._reader.stop()
            self.counters["given_up_frames"] += len(self._reader.images)
            self._reader = None


class _Reader:
    """One connection and its thread. What the thread finds is put into the loop, never touched by both."""

    def __init__(
        self, library: Any, url: str, login: Login | None, fps: float, counters: Counter[str]
    ) -> None:
        self._library, self._url, self._login = library, url, login
        self._pause_ns = int(_EARLY * 1e9 / fps)
        self._last_ns = self._asked_ns = 0
        self._has_key = False
        self._delays: deque[int] = deque(maxlen=_ARRIVALS)
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.images: deque[Image] = deque()
        self.wake = asyncio.Event()
        self.gone = ""
        self.bug: Exception | None = None
        # A daemon: a camera that hangs must not hold up the worker's end.
        threading.Thread(target=self._run, name="rtsp", daemon=True).start()

    def stop(self) -> None:
        """Nothing of this connection is wanted any more."""
        self._stopped.set()
        self.opened.cancel()

    def _run(self) -> None:
        try:
            with self._library.open(
                _with_login(self._url, self._login), options=_OPTIONS, timeout=(OPEN_WITHIN_S, SILENT_S)
            ) as container:
                if not container.streams.video:
                    self._tell(self._lose, f"{self._url} has no pictures; check the path in the URL")
                    return
                stream = container.streams.video[0]
                self._tell(self._open)
                self._read(container, stream)
            self._tell(self._lose, f"{self._url} ended the stream")
        except self._library.error.HTTPUnauthorizedError:
            self._tell(self._lose, f"{self._url} refuses user and password; check the sensor's settings")
        except self._library.error.FFmpegError as error:
            # Not the error's own text: it holds the URL with the password.
            self._tell(
                self._lose, f"{self._url} does not answer ({error.strerror}); check camera and network"
            )
        except Exception as error:  # noqa: BLE001  (raised in the loop, where a bug ends the worker)
            # Where it happened, but not its text, which may hold the URL, too.
            bug = RuntimeError(f"{type(error).__name__} while reading {self._url}")
            self._tell(self._fail, bug.with_traceback(error.__traceback__))

    def _read(self, container: Any, stream: Any) -> None:
        as_jpeg = stream.codec_context.name == "mjpeg"
        for packet in container.demux(stream):
            if self._stopped.is_set():
                return
            t_ns = self._time_ns(packet)
            if not as_jpeg:
                self._decode(t_ns, packet)
            elif packet.size and not self._too_soon(t_ns):
                self._take_jpeg(t_ns, bytes(packet), packet.is_corrupt)

    def _time_ns(self, packet: Any) -> int:
        """The time of a packet, later than that of the one before."""
        t_ns = now_ns = time.monotonic_ns()
        if packet.pts is not None:
            stamp_ns = int(packet.pts * packet.time_base * 10**9)
            self._delays.append(now_ns - stamp_ns)
            t_ns = stamp_ns + min(self._delays)
            if t_ns < now_ns - _LATE_NS:
                self._delays.clear()
                t_ns = now_ns
        self._last_ns = max(t_ns, self._last_ns + 1)
        return self._last_ns

    def _take_jpeg(self, t_ns: int, octets: bytes, corrupt: bool) -> None:
        try:
            width, height = (0, 0) if corrupt else picture_size(octets, "jpeg")
        except BadFrame:
            width = height = 0
        if width and height:
            self._tell(self._put, Image(t_ns, "jpeg", width, height, octets))
        else:
            self._tell(self._count, "corrupted_frames")

    def _decode(self, t_ns: int, packet: Any) -> None:
        """All are decoded, because each picture builds on the one before; not all are converted.

        Before the first whole picture there is nothing to build on: the decoder would give grey.
        """
        self._has_key = self._has_key or packet.is_keyframe
        if not self._has_key:
            self._tell(self._count, "unkeyed_frames")
            return
        try:
            frames = packet.decode()
        except self._library.error.InvalidDataError:
            self._tell(self._count, "corrupted_frames")
            return
        for frame in frames:
            if frame.is_corrupt:
                self._tell(self._count, "corrupted_frames")
            elif not self._too_soon(t_ns):
                shown = frame.reformat(width=frame.width // 2 * 2, format="yuyv422")
                self._tell(self._put, Image(t_ns, "yuyv", shown.width, shown.height, _rows(shown)))

    def _too_soon(self, t_ns: int) -> bool:
        if self._asked_ns and t_ns - self._asked_ns < self._pause_ns:
            self._tell(self._count, "unasked_frames")
            return True
        self._asked_ns = t_ns
        return False

    # in the loop

    def _tell(self, what: Any, *arguments: Any) -> None:
        """Have something done in the loop; nothing if the port was closed, or the loop with it."""
        if not self._stopped.is_set():
            try:
                self._loop.call_soon_threadsafe(what, *arguments)
            except RuntimeError:  # the loop is closed: the worker ends
                self._stopped.set()

    def _open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _put(self, image: Image) -> None:
        if len(self.images) == WAITING_MAX:
            self.images.popleft()
            self._counters["given_up_frames"] += 1
        self.images.append(image)
        self.wake.set()

    def _count(self, name: str) -> None:
        self._counters[name] += 1

    def _lose(self, why: str) -> None:
        self.gone = why
        self.wake.set()
        if not self.opened.done():
            self.opened.set_exception(PortGone(why))

    def _fail(self, bug: Exception) -> None:
        self.bug = bug
        self.wake.set()
        if not self.opened.done():
            self.opened.set_exception(bug)


def _rows(frame: Any) -> bytes:
    """The rows of a YUYV frame without their padding."""
    plane, row = frame.planes[0], frame.width * 2
    octets = bytes(plane)
    if plane.line_size == row:
        return octets[: row * frame.height]
    return b"".join(octets[at : at + row] for at in range(0, plane.line_size * frame.height, plane.line_size))


def _with_login(url: str, login: Login | None) -> str:
    """The URL as FFmpeg wants it; only ever handed to FFmpeg."""
    if login is None:
        return url
    user, password = (quote(each, safe="") for each in (login.user, login.password))
    return url.replace("rtsp://", f"rtsp://{user}:{password}@", 1)


def _library() -> Any:
    try:
        import av
    except ImportError as error:
        raise ConfigError("a camera on a network needs PyAV: pip install 'pole-gateway[rtsp]'") from error
    return av
