"""One open camera: its mode set, its buffers mapped, its pictures taken one by one. Nothing here waits."""

import contextlib
import ctypes
import errno
import mmap
import os
from dataclasses import dataclass
from typing import Any, Final, Self

from gateway.errors import ConfigError, PortGone
from gateway.media import Picture
from gateway.ports import v4l2_abi as abi
from gateway.ports.picturemode import FOURCC, Mode, choose, fps_of, is_exact, modes

BUFFERS: Final = 4  # frames the kernel can fill while we are busy
_ADVICE: Final = {
    errno.ENOENT: "it is not there; check the plug",
    errno.ENODEV: "it went away; check the plug",
    errno.EACCES: "this user may not open it; `gateway doctor` says how to mend that",
    errno.EBUSY: "another program is using it",
    errno.ENOSPC: "its USB bus has no bandwidth left; plug it into another, or ask for smaller pictures",
}
_SETTLES: Final = 5  # times the signal may change while we take it up
_NO_SIGNAL: Final = {errno.ENOLINK, errno.ENOLCK, errno.ERANGE}


@dataclass(frozen=True, slots=True)
class Taken:
    """One buffer's content, copied out of it."""

    sequence: int
    flags: int
    stamp_ns: int
    octets: bytes


class CameraStream:
    """A streaming camera. `mode` is what it really does. Use `take` when `fileno` is readable."""

    def __init__(self, device: str, wanted: Picture) -> None:
        """Open, set the mode, start. Raises PortGone if that cannot be now, ConfigError if it never can."""
        self._device = device
        self._maps: list[mmap.mmap] = []
        try:
            self._fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PortGone(f"cannot open {device}: {_advice(error)}") from error
        try:
            self._watch_source()
            self.mode = self._set_mode(wanted)
            self._start()
        except OSError as error:
            self.close()
            raise PortGone(f"cannot use {device}: {_advice(error)}") from error
        except (PortGone, ConfigError):
            self.close()
            raise

    def fileno(self) -> int:
        """Readable when a frame is there, with priority when an event is."""
        return self._fd

    def take(self) -> Taken | None:
        """The oldest frame in the kernel's hands, copied; its buffer goes back at once. None: there is none.

        Raises OSError when the camera is gone.
        """
        buffer = abi.Buffer(type=abi.CAPTURE, memory=abi.MMAP)
        try:
            abi.call(self._fd, abi.DQBUF, buffer)
        except BlockingIOError:
            return None
        octets = self._octets(self._maps[buffer.index], buffer.bytesused)
        taken = Taken(buffer.sequence, buffer.flags, buffer.stamp_ns, octets)
        abi.call(self._fd, abi.QBUF, buffer)
        return taken

    def source_changed(self) -> bool:
        """Take all waiting events; whether one said that size or rate changed. Raises OSError."""
        changed = False
        event = abi.Event()
        while True:
            try:
                abi.call(self._fd, abi.DQEVENT, event)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EAGAIN, errno.EINVAL}:  # no more, or no events at all
                    return changed
                raise
            changed = changed or event.type == abi.EVENT_SOURCE_CHANGE

    @property
    def size(self) -> int:
        """Bytes of one YUYV picture."""
        return self.mode.width * self.mode.height * 2

    def close(self) -> None:
        """Stop and close. A camera that was pulled out answers everything with ENODEV; that is no error."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            abi.call(self._fd, abi.STREAMOFF, ctypes.c_int(abi.CAPTURE))
        for mapped in self._maps:
            mapped.close()
        self._maps.clear()
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _octets(self, mapped: mmap.mmap, used: int) -> bytes:
        """The picture in a buffer; rows of YUYV that the camera pads are closed up."""
        row = self.mode.width * 2
        if self.mode.encoding != "yuyv" or self._stride == row:
            return mapped[:used]
        return b"".join(mapped[at : at + row] for at in range(0, used - row + 1, self._stride))

    def _watch_source(self) -> None:
        """Ask to be told when the picture's size changes under us; and follow the signal of an HDMI input."""
        number = abi.call(self._fd, abi.G_INPUT, ctypes.c_int()).value
        wish = abi.EventSubscription(type=abi.EVENT_SOURCE_CHANGE, id=number)
        with contextlib.suppress(OSError):  # most cameras cannot change by themselves
            abi.call(self._fd, abi.SUBSCRIBE_EVENT, wish)
        chosen = abi.call(self._fd, abi.ENUMINPUT, abi.Input(index=number))
        if not chosen.capabilities & abi.IN_CAP_DV_TIMINGS:
            return
        try:
            self._follow_signal()
        except OSError as error:
            if error.errno not in _NO_SIGNAL:
                raise
            name = chosen.name.decode("utf-8", "replace")
            raise PortGone(
                f"{self._device} has no signal it can use on its input {name}; check the cable"
            ) from None

    def _follow_signal(self) -> None:
        """Set the timings of the signal that is there. Doing so is an event itself, which is not for us."""
        found = abi.call(self._fd, abi.QUERY_DV_TIMINGS, abi.DvTimings())
        for _ in range(_SETTLES):
            abi.call(self._fd, abi.S_DV_TIMINGS, found)
            self.source_changed()
            before, found = found, abi.call(self._fd, abi.QUERY_DV_TIMINGS, abi.DvTimings())
            if bytes(found) == bytes(before):
                return
        raise PortGone(f"the signal at {self._device} does not settle; check what sends it")

    def _set_mode(self, wanted: Picture) -> Mode:
        """Set the nearest mode, and read back what the camera made of it."""
        best = choose(wanted, modes(self._fd, wanted))
        form = abi.Format(type=abi.CAPTURE)
        form.pix.width, form.pix.height, form.pix.pixelformat = best.width, best.height, best.fourcc
        abi.call(self._fd, abi.S_FMT, form)
        pix = form.pix
        if pix.pixelformat not in FOURCC[best.encoding]:
            raise ConfigError(f"{self._device} names {best.encoding} but gives none; use another camera")
        self._stride = pix.bytesperline or pix.width * 2
        mode = Mode(
            best.encoding, pix.pixelformat, pix.width, pix.height, self._set_rate(best.fps or wanted.fps)
        )
        if wanted.exact and not is_exact(mode, wanted):
            raise ConfigError(
                f"{self._device} gives {mode}, not the {wanted.width}x{wanted.height} asked for"
            )
        return mode

    def _set_rate(self, fps: float) -> float:
        """Ask for a rate; the one that the camera will keep to, 0 if it has no say in that."""
        parameters = abi.StreamParameters(type=abi.CAPTURE)
        parameters.timeperframe.numerator = 1000
        parameters.timeperframe.denominator = max(1, round(fps * 1000))
        try:
            abi.call(self._fd, abi.S_PARM, parameters)
        except OSError as error:
            if error.errno not in {errno.ENOTTY, errno.EINVAL}:
                raise
            return 0.0
        return fps_of(parameters.timeperframe)

    def _start(self) -> None:
        wish = abi.RequestBuffers(count=BUFFERS, type=abi.CAPTURE, memory=abi.MMAP)
        abi.call(self._fd, abi.REQBUFS, wish)
        for index in range(wish.count):
            buffer: Any = abi.Buffer(index=index, type=abi.CAPTURE, memory=abi.MMAP)
            abi.call(self._fd, abi.QUERYBUF, buffer)
            # Read only: nobody may write into what the camera fills.
            self._maps.append(
                mmap.mmap(self._fd, buffer.length, mmap.MAP_SHARED, mmap.PROT_READ, offset=buffer.offset)
            )
            abi.call(self._fd, abi.QBUF, buffer)
        abi.call(self._fd, abi.STREAMON, ctypes.c_int(abi.CAPTURE))


def _advice(error: OSError) -> str:
    return _ADVICE.get(error.errno or 0) or error.strerror or str(error)
