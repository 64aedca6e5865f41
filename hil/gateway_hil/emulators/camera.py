"""Cameras: vivid, which lives in the kernel, and a USB camera that looks at a drawn street.

Verbs of both: unplug, replug, stall, dropout, garbage. Both number their pictures, so that a test can tell
what was lost on the way from what the camera never sent.
"""

import secrets
import threading
from types import TracebackType
from typing import Final, Self

import numpy as np
import simplejpeg

from gateway_hil.emulators.streetscene import StreetScene, yuyv
from gateway_hil.guest import vivid
from gateway_hil.guest.gadget import Gadget
from gateway_hil.guest.uvc import Feeder, camera_function, gadget_nodes, until_seen

_QUALITY: Final = 80
_SEEN_WITHIN_S: Final = 20.0


class VividCamera:
    """The kernel's virtual camera, with its test picture. `hdmi`: as a bridge with a signal that may change.

    Needs the capability "v4l2". There is one of it in a kernel.
    """

    def __init__(self, *, hdmi: bool = False, seed: int = 0) -> None:
        del seed  # what vivid drops, it draws itself
        self._hdmi = hdmi
        self._vivid: vivid.Vivid | None = None
        self.port = ""

    @property
    def kernel(self) -> vivid.Vivid:
        """Its controls. Raises RuntimeError while it is not plugged in."""
        if self._vivid is None:
            raise RuntimeError("the camera is unplugged; replug() it first")
        return self._vivid

    def unplug(self) -> None:
        """Take it away: whoever has it open gets ENODEV."""
        if self._vivid is not None:
            self.kernel.control(vivid.DISCONNECT)

    def replug(self) -> None:
        """Let it come back, as soon as its last user has closed it: vivid cannot do it earlier."""
        if self._vivid is not None:
            self._vivid.close()
        self._vivid = None
        self._take()

    def stall(self, stalled: bool = True) -> None:
        """Send no pictures, until `stall(False)`."""
        self.dropout(1.0 if stalled else 0.0)

    def dropout(self, share: float) -> None:
        """Lose this share of the pictures, at random: their numbers are skipped."""
        self.kernel.control(vivid.PERCENT_DROPPED, round(100 * share))

    def garbage(self, count: int = 1) -> None:
        """Mark the next picture as damaged; for more than one, call it again when that has come."""
        for _ in range(count):
            self.kernel.control(vivid.FLAG_ERROR)

    def change_signal(self, *, wide: bool) -> None:
        """Another picture size on the cable (HDMI only): 720x480 if `wide`, else 640x480."""
        self.kernel.control(vivid.TIMINGS, vivid.TIMINGS_720X480 if wide else vivid.TIMINGS_640X480)

    def lose_signal(self, lost: bool = True) -> None:
        """Pull the cable from the camera's HDMI input (HDMI only), or put it back."""
        self.kernel.control(vivid.SIGNAL_MODE, vivid.NO_SIGNAL if lost else vivid.SELECTED_TIMINGS)

    def __enter__(self) -> Self:
        self._take()
        self.port = f"v4l2:bus/{self.kernel.bus}"
        self.kernel.select(hdmi=self._hdmi)
        self.kernel.control(vivid.STAMP_AT_START)
        if self._hdmi:
            self._adapt(False)
            self.change_signal(wide=False)
            self.lose_signal(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vivid is not None:
            self.dropout(0)
            if self._hdmi:
                self._adapt(True)
            self._vivid.close()
            self._vivid = None

    def _adapt(self, can: bool) -> None:
        """Whether it makes any size of what the cable brings, or passes it on as it is."""
        for control in vivid.ADAPTS:
            self.kernel.control(control, int(can))

    def _take(self) -> None:
        self._vivid = vivid.Vivid()


class UsbCamera:
    """A USB camera (UVC 1.1) of one size and rate, MJPEG and YUYV. Needs the capability "usb-v4l2".

    `sent` counts the pictures that it gave to the kernel since it was made; each carries its number.
    `scene` may be changed while it runs: its light, or a cover over the lens.
    """

    vendor, product = 0x0C45, 0x6366

    def __init__(
        self, width: int = 320, height: int = 240, fps: int = 10, *, serial: str = "", seed: int = 0
    ) -> None:
        self.serial = serial or f"CAM{secrets.token_hex(3)}"
        self.port = f"v4l2:usb-{self.vendor:04x}:{self.product:04x}-{self.serial}"
        self.scene = StreetScene(width, height, seed=seed)
        self.sent = 0
        self._chance = np.random.default_rng(seed)
        self._lock = threading.Lock()  # guards all below
        self._number = 0
        self._stalled, self._lost_share, self._garbage = False, 0.0, 0
        self._odd_scene: StreetScene | None = None
        function = camera_function(width, height, fps)
        self._gadget = Gadget(self.vendor, self.product, self.serial, [function], model="street camera")
        self._feeder = Feeder(width, height, fps, self._next)

    @property
    def streaming(self) -> str:
        """In which encoding somebody takes its pictures now; empty if nobody does."""
        return self._feeder.streaming

    def unplug(self) -> None:
        """Pull it out."""
        self._gadget.unplug()
        self._feeder.join()

    def replug(self) -> None:
        """Plug it in again. It comes back as another /dev/videoN if somebody still holds the old one."""
        if not self._gadget.is_plugged:
            self._plug()

    def stall(self, stalled: bool = True) -> None:
        """Send no pictures while staying plugged in, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled

    def dropout(self, share: float) -> None:
        """Leave out this share of the pictures, at random: their numbers are skipped."""
        with self._lock:
            self._lost_share = share

    def garbage(self, count: int = 1) -> None:
        """Send random bytes in place of the next `count` pictures."""
        with self._lock:
            self._garbage += count

    def odd_size(self, width: int, height: int) -> None:
        """Send JPEGs of another size than agreed, as some firmware does; its own size ends it."""
        same = (width, height) == (self.scene.width, self.scene.height)
        with self._lock:
            self._odd_scene = None if same else StreetScene(width, height)

    def __enter__(self) -> Self:
        try:
            self._gadget.make()
            self._plug()
        except OSError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gadget.remove()
        self._feeder.join()
        self._feeder.close()

    def _plug(self) -> None:
        """Plug it in; it is enumerated only once the feeder answers for it."""
        self._feeder.start(gadget_nodes())
        self._gadget.plug()
        until_seen(self.serial, _SEEN_WITHIN_S)

    def _next(self, encoding: str) -> bytes | None:
        """The next picture's bytes; None for one that is left out. Called by the feeder's thread."""
        with self._lock:
            if self._stalled:
                return None
            self._number += 1
            if self._chance.random() < self._lost_share:
                return None
            if self._garbage:
                self._garbage -= 1
                return self._chance.bytes(4000)
            scene = self._odd_scene or self.scene
            self.sent += 1
            number = self._number
        picture = scene.picture(number)
        if encoding == "yuyv":
            return yuyv(picture)
        jpeg: bytes = simplejpeg.encode_jpeg(picture, quality=_QUALITY, colorsubsampling="422")
        return jpeg
