"""A USB camera made by configfs: the gadget's folders, and the program that each needs behind it.

The kernel carries pictures; what a host asks a camera (which size, which rate: UVC's probe and commit) is
answered here, on the gadget's own /dev/videoN. Sources: USB Device Class Definition for Video Devices 1.1
(probe and commit: 4.3.1.1), include/uapi/linux/usb/g_uvc.h, https://docs.kernel.org/usb/gadget_uvc.html.
"""

import ctypes
import errno
import mmap
import os
import select
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.ports import v4l2_abi as abi
from gateway.ports.cameras import DEV, SYSFS
from gateway.ports.usb import usb_identity
from gateway.watch import Watch
from gateway_hil.guest.gadget import Function

STREAM_ON: Final = abi.EVENT_PRIVATE + 2
STREAM_OFF: Final = abi.EVENT_PRIVATE + 3
SETUP: Final = abi.EVENT_PRIVATE + 4
REQUEST_SENT: Final = abi.EVENT_PRIVATE + 5  # UVC_EVENT_DATA: what the host sent after a SETUP
_SEND_RESPONSE: Final = abi.request("w", "U", 1, 64)
_SETUP_PACKET: Final = struct.Struct("<BBHHH")  # USB 2.0, 9.3
_PROBE: Final = struct.Struct("<HBBIHHHHHIIIBBBB")  # 34 bytes: UVC 1.1, table 4-47
_SET_CUR, _GET_LEN, _GET_INFO = 0x01, 0x85, 0x86
_STREAMING: Final = 1  # the interface after the control interface
_SELECTORS: Final = (1, 2)  # probe, commit
_BUFFERS: Final = 4
_TICKS: Final = 10_000_000  # frame intervals are in units of 100 ns
ENCODINGS: Final = ("jpeg", "yuyv")  # in the order of their format indexes, from 1
_FOURCC: Final = {"jpeg": abi.fourcc("MJPG"), "yuyv": abi.fourcc("YUYV")}


def camera_function(width: int, height: int, fps: int) -> Function:
    """The gadget function: one size and one rate, as MJPEG and as YUYV."""

    def shape(folder: Path) -> None:
        for part, name in (("mjpeg", "m"), ("uncompressed", "u")):
            frame = folder / "streaming" / part / name / "one"
            frame.mkdir(parents=True)
            octets = width * height * 2
            for key, value in (
                ("wWidth", width),
                ("wHeight", height),
                ("dwMaxVideoFrameBufferSize", octets),
                ("dwMinBitRate", octets * 8),
                ("dwMaxBitRate", octets * 8 * fps),
                ("dwDefaultFrameInterval", _TICKS // fps),
                ("dwFrameInterval", _TICKS // fps),
            ):
                (frame / key).write_text(f"{value}\n")
        for side, links in (("control", ("fs", "ss")), ("streaming", ("fs", "hs", "ss"))):
            header = folder / side / "header" / "h"
            header.mkdir(parents=True)
            if side == "streaming":
                (header / "m").symlink_to(folder / "streaming/mjpeg/m")
                (header / "u").symlink_to(folder / "streaming/uncompressed/u")
            for speed in links:
                (folder / side / "class" / speed / "h").symlink_to(header)

    return Function("uvc.cam", {"streaming_interval": 1, "streaming_maxpacket": 1024}, shape)


class Feeder:
    """Answers the host and feeds it pictures, in a thread, for as long as the gadget is plugged in.

    `picture(encoding)` gives the next picture's bytes, or None to leave it out. `streaming` says in
    which encoding the host takes pictures now; empty if it takes none.
    """

    def __init__(self, width: int, height: int, fps: int, picture: Callable[[str], bytes | None]) -> None:
        self._size = (width, height, fps)
        self._picture = picture
        self.streaming = ""
        self.failed: BaseException | None = None
        self._controller = ""
        self._chosen = _PROBE.pack(*self._probe(1))
        self._asked = 0  # selector of the request whose content is still to come
        self._fd = -1
        self._maps: list[mmap.mmap] = []
        self._free: list[int] = []
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None

    def start(self, others: set[str]) -> None:
        """Wait, in a thread, for a gadget's node that is none of `others`; then serve it until it goes."""
        self._thread = threading.Thread(target=self._run, args=(others,), name="uvc", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has let go of a gadget that was pulled out. Raises what ended it early."""
        if self._thread is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            os.eventfd_read(self._stop)
            self._thread = None
        if self.failed is not None:
            raise self.failed

    def close(self) -> None:
        """The end; call `join` first."""
        os.close(self._stop)

    def _run(self, others: set[str]) -> None:
        try:
            device = self._appeared(others)
            if device is None:
                return
            self._fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                for kind in (STREAM_ON, STREAM_OFF, REQUEST_SENT, SETUP):  # the last one connects it
                    abi.call(self._fd, abi.SUBSCRIBE_EVENT, abi.EventSubscription(type=kind))
                self._serve()
            finally:
                self._end_stream()
                os.close(self._fd)
        except OSError as error:
            if error.errno not in {errno.ENODEV, errno.ESHUTDOWN}:  # pulled out
                self.failed = error

    def _appeared(self, others: set[str]) -> Path | None:
        """The new gadget's node; None if we are to stop first."""
        with Watch() as watch:
            watch.add(DEV)
            while True:
                new = gadget_nodes() - others
                if new and (DEV / min(new)).exists():
                    return DEV / min(new)
                ready, _, _ = select.select([watch.fileno(), self._stop], [], [])
                if self._stop in ready:
                    return None
                watch.changes()

    def _serve(self) -> None:
        poll = select.epoll()
        poll.register(self._stop, select.EPOLLIN)
        poll.register(self._fd, select.EPOLLPRI)
        next_s = 0.0
        try:
            while True:
                pause_s = None
                if self.streaming:
                    now_s = time.monotonic()
                    if now_s >= next_s:
                        self._feed()
                        next_s = max(next_s + 1 / self._size[2], now_s)
                    pause_s = max(0.0, next_s - now_s)
                for fd, events in poll.poll(pause_s):
                    if fd == self._stop:
                        return
                    if events & select.EPOLLPRI:
                        self._hear()
                    elif events & (select.EPOLLERR | select.EPOLLHUP) and not gadget_nodes():
                        return
        finally:
            poll.close()

    def _hear(self) -> None:
        """One event: a question of the host, or the start or end of the stream."""
        event = abi.call(self._fd, abi.DQEVENT, abi.Event())
        payload = bytes(event.payload)
        if event.type == SETUP:
            self._answer(*_SETUP_PACKET.unpack_from(payload))
        elif event.type == REQUEST_SENT:
            length = struct.unpack_from("<i", payload)[0]
            if self._asked in _SELECTORS and length >= 4:
                self._chosen = _PROBE.pack(*self._probe(payload[4 + 2]))
        elif event.type == STREAM_ON:
            self._begin_stream()
        elif event.type == STREAM_OFF:
            self._end_stream()

    def _answer(self, kind: int, code: int, value: int, index: int, length: int) -> None:
        """Probe and commit on the streaming interface; camera controls do not exist: stall."""
        del kind
        self._asked = value >> 8
        if index & 0xFF != _STREAMING or self._asked not in _SELECTORS:
            self._respond(b"", -1)
        elif code == _SET_CUR:
            self._respond(bytes(length), length)
        elif code == _GET_LEN:
            self._respond(struct.pack("<H", _PROBE.size))
        elif code == _GET_INFO:
            self._respond(b"\x03")  # can be read and written
        else:
            self._respond(self._chosen[:length])

    def _respond(self, octets: bytes, length: int | None = None) -> None:
        """Send an answer; a length below zero stalls the request."""
        response = struct.pack("<i60s", len(octets) if length is None else length, octets)
        abi.call(self._fd, _SEND_RESPONSE, ctypes.create_string_buffer(response, 64))

    def _probe(self, format_index: int) -> tuple[int, ...]:
        width, height, fps = self._size
        index = format_index if 1 <= format_index <= len(ENCODINGS) else 1
        return (1, index, 1, _TICKS // fps, 0, 0, 0, 0, 0, width * height * 2, 1024, 0, 3, 1, 1, 1)

    def _begin_stream(self) -> None:
        encoding = ENCODINGS[self._chosen[2] - 1]
        width, height, _ = self._size
        form = abi.Format(type=abi.OUTPUT)
        form.pix.width, form.pix.height, form.pix.pixelformat = width, height, _FOURCC[encoding]
        form.pix.sizeimage = width * height * 2
        form.pix.field = 1  # none
        abi.call(self._fd, abi.S_FMT, form)
        wish = abi.RequestBuffers(count=_BUFFERS, type=abi.OUTPUT, memory=abi.MMAP)
        abi.call(self._fd, abi.REQBUFS, wish)
        for index in range(wish.count):
            buffer = abi.Buffer(index=index, type=abi.OUTPUT, memory=abi.MMAP)
            abi.call(self._fd, abi.QUERYBUF, buffer)
            self._maps.append(mmap.mmap(self._fd, buffer.length, offset=buffer.offset))
        self._free = list(range(wish.count))
        self._put(self._picture(encoding) or b"")
        abi.call(self._fd, abi.STREAMON, ctypes.c_int(abi.OUTPUT))
        self.streaming = encoding

    def _end_stream(self) -> None:
        self.streaming = ""
        for mapped in self._maps:
            mapped.close()
        self._maps.clear()
        self._free.clear()
        try:
            abi.call(self._fd, abi.STREAMOFF, ctypes.c_int(abi.OUTPUT))
            none = abi.RequestBuffers(count=0, type=abi.OUTPUT, memory=abi.MMAP)
            abi.call(self._fd, abi.REQBUFS, none)
        except OSError as error:
            if error.errno not in {errno.ENODEV, errno.EINVAL}:
                raise

    def _feed(self) -> None:
        """Take back what was sent, and give the next picture."""
        while True:
            buffer = abi.Buffer(type=abi.OUTPUT, memory=abi.MMAP)
            try:
                self._free.append(abi.call(self._fd, abi.DQBUF, buffer).index)
            except BlockingIOError:
                break
        octets = self._picture(self.streaming)
        if octets is not None and self._free:
            self._put(octets)

    def _put(self, octets: bytes) -> None:
        index = self._free.pop(0)
        room = self._maps[index]
        octets = octets[: len(room)]
        room[: len(octets)] = octets
        buffer = abi.Buffer(index=index, type=abi.OUTPUT, memory=abi.MMAP, bytesused=len(octets), field=1)
        abi.call(self._fd, abi.QBUF, buffer)


def gadget_nodes() -> set[str]:
    """Names of the nodes behind camera gadgets, such as "video2": they hang on a controller's gadget."""
    return {
        folder.name
        for folder in SYSFS.glob("video*")
        if any(part.startswith("gadget.") for part in folder.resolve().parts)
    }


def until_seen(serial: str, timeout_s: float) -> None:
    """Wait until the host side has a camera with this serial number. Raises TimeoutError."""
    end_s = time.monotonic() + timeout_s
    with Watch() as watch:
        watch.add(DEV)
        while not _is_seen(serial):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(errno.ETIMEDOUT, f"no camera with serial number {serial} came", str(DEV))
            select.select([watch.fileno()], [], [], left_s)
            watch.changes()


def _is_seen(serial: str) -> bool:
    identities = (usb_identity(folder / "device") for folder in SYSFS.glob("video*"))
    return any(identity is not None and identity.serial == serial for identity in identities)
