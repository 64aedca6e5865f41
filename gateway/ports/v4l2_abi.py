"""Video4Linux2 as the kernel declares it: structures, numbers and requests that a capture needs.

Source: include/uapi/linux/videodev2.h, for 64-bit kernels. Each request number holds the size of its
structure, so that a wrong layout is refused by the kernel (ENOTTY) and never misread. Why no library is
used: docs/decisions/008-v4l2-without-a-library.md.
"""

import ctypes
import fcntl
from collections.abc import Iterator
from typing import Any, Final, TypeVar

CAPTURE: Final = 1  # enum v4l2_buf_type
OUTPUT: Final = 2
MMAP: Final = 1  # enum v4l2_memory
DISCRETE: Final = 1  # enum v4l2_frmsizetypes, v4l2_frmivaltypes

CAP_CAPTURE: Final = 0x0000_0001
CAP_OUTPUT: Final = 0x0000_0002
CAP_STREAMING: Final = 0x0400_0000
IN_CAP_DV_TIMINGS: Final = 0x0000_0002

FLAG_ERROR: Final = 0x0040
FLAG_TIMESTAMP: Final = 0xE000
TIMESTAMP_MONOTONIC: Final = 0x2000

EVENT_SOURCE_CHANGE: Final = 5
EVENT_PRIVATE: Final = 0x0800_0000

_U32 = ctypes.c_uint32


class Capability(ctypes.Structure):
    """struct v4l2_capability."""

    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", _U32),
        ("capabilities", _U32),
        ("device_caps", _U32),
        ("reserved", _U32 * 3),
    )


class FormatDescription(ctypes.Structure):
    """struct v4l2_fmtdesc."""

    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("flags", _U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", _U32),
        ("reserved", _U32 * 4),
    )


class PixelFormat(ctypes.Structure):
    """struct v4l2_pix_format."""

    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("pixelformat", _U32),
        ("field", _U32),
        ("bytesperline", _U32),
        ("sizeimage", _U32),
        ("colorspace", _U32),
        ("rest", _U32 * 5),
    )


class _FormatUnion(ctypes.Union):
    # The pointer stands for the one in struct v4l2_window: it aligns the union.
    _fields_ = (("pix", PixelFormat), ("raw", ctypes.c_uint8 * 200), ("pointer", ctypes.c_void_p))


class Format(ctypes.Structure):
    """struct v4l2_format; its `pix` is what a capture uses."""

    _anonymous_ = ("fmt",)
    _fields_ = (("type", _U32), ("fmt", _FormatUnion))


class Fraction(ctypes.Structure):
    """struct v4l2_fract."""

    _fields_ = (("numerator", _U32), ("denominator", _U32))


class StreamParameters(ctypes.Structure):
    """struct v4l2_streamparm with its capture part."""

    _fields_ = (
        ("type", _U32),
        ("capability", _U32),
        ("capturemode", _U32),
        ("timeperframe", Fraction),
        ("rest", ctypes.c_uint8 * 184),
    )


class RequestBuffers(ctypes.Structure):
    """struct v4l2_requestbuffers."""

    _fields_ = (
        ("count", _U32),
        ("type", _U32),
        ("memory", _U32),
        ("capabilities", _U32),
        ("flags", _U32),
    )


class Buffer(ctypes.Structure):
    """struct v4l2_buffer."""

    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("bytesused", _U32),
        ("flags", _U32),
        ("field", _U32),
        ("seconds", ctypes.c_int64),
        ("microseconds", ctypes.c_int64),
        ("timecode", _U32 * 4),
        ("sequence", _U32),
        ("memory", _U32),
        ("offset", ctypes.c_uint64),
        ("length", _U32),
        ("reserved", _U32 * 2),
    )

    @property
    def stamp_ns(self) -> int:
        """Its time, in nanoseconds."""
        return int(self.seconds) * 10**9 + int(self.microseconds) * 1000


class FrameSize(ctypes.Structure):
    """struct v4l2_frmsizeenum: `size` is width, height or min, max, step of the width, then the height."""

    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("type", _U32),
        ("size", _U32 * 6),
        ("reserved", _U32 * 2),
    )


class FrameInterval(ctypes.Structure):
    """struct v4l2_frmivalenum: `interval` holds one fraction, or three: min, max, step."""

    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("width", _U32),
        ("height", _U32),
        ("type", _U32),
        ("interval", Fraction * 3),
        ("reserved", _U32 * 2),
    )


class Input(ctypes.Structure):
    """struct v4l2_input."""

    _fields_ = (
        ("index", _U32),
        ("name", ctypes.c_char * 32),
        ("type", _U32),
        ("audioset", _U32),
        ("tuner", _U32),
        ("std", ctypes.c_uint64),
        ("status", _U32),
        ("capabilities", _U32),
        ("reserved", _U32 * 3),
    )


class DvTimings(ctypes.Structure):
    """struct v4l2_dv_timings, as a block that is only handed on."""

    _fields_ = (("type", _U32), ("rest", _U32 * 32))


class Control(ctypes.Structure):
    """struct v4l2_control."""

    _fields_ = (("id", _U32), ("value", ctypes.c_int32))


class EventSubscription(ctypes.Structure):
    """struct v4l2_event_subscription."""

    _fields_ = (("type", _U32), ("id", _U32), ("flags", _U32), ("reserved", _U32 * 5))


class Event(ctypes.Structure):
    """struct v4l2_event; `payload` is its union."""

    _fields_ = (
        ("type", _U32),
        ("aligned", _U32),
        ("payload", ctypes.c_uint8 * 64),
        ("pending", _U32),
        ("sequence", _U32),
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_int64),
        ("id", _U32),
        ("reserved", _U32 * 8),
    )


def request(direction: str, group: str, number: int, size: int) -> int:
    """An ioctl number: `direction` is "r", "w" or "rw" as the program sees it (asm-generic/ioctl.h)."""
    bits = {"w": 1, "r": 2, "rw": 3}[direction]
    return bits << 30 | size << 16 | ord(group) << 8 | number


def _video(direction: str, number: int, kind: type[Any]) -> int:
    return request(direction, "V", number, ctypes.sizeof(kind))


QUERYCAP: Final = _video("r", 0, Capability)
ENUM_FMT: Final = _video("rw", 2, FormatDescription)
G_FMT: Final = _video("rw", 4, Format)
S_FMT: Final = _video("rw", 5, Format)
REQBUFS: Final = _video("rw", 8, RequestBuffers)
QUERYBUF: Final = _video("rw", 9, Buffer)
QBUF: Final = _video("rw", 15, Buffer)
DQBUF: Final = _video("rw", 17, Buffer)
STREAMON: Final = _video("w", 18, ctypes.c_int)
STREAMOFF: Final = _video("w", 19, ctypes.c_int)
G_PARM: Final = _video("rw", 21, StreamParameters)
S_PARM: Final = _video("rw", 22, StreamParameters)
ENUMINPUT: Final = _video("rw", 26, Input)
G_CTRL: Final = _video("rw", 27, Control)
S_CTRL: Final = _video("rw", 28, Control)
G_INPUT: Final = _video("r", 38, ctypes.c_int)
S_INPUT: Final = _video("rw", 39, ctypes.c_int)
TRY_FMT: Final = _video("rw", 64, Format)
ENUM_FRAMESIZES: Final = _video("rw", 74, FrameSize)
ENUM_FRAMEINTERVALS: Final = _video("rw", 75, FrameInterval)
S_DV_TIMINGS: Final = _video("rw", 87, DvTimings)
DQEVENT: Final = _video("r", 89, Event)
SUBSCRIBE_EVENT: Final = _video("w", 90, EventSubscription)
QUERY_DV_TIMINGS: Final = _video("r", 99, DvTimings)

T = TypeVar("T", bound=Any)


def call(fd: int, number: int, structure: T) -> T:
    """One ioctl; the structure as the kernel left it. Raises OSError."""
    fcntl.ioctl(fd, number, structure, True)
    return structure


def listed(fd: int, number: int, structure: T, most: int = 128) -> Iterator[T]:
    """An enumeration: the same structure, filled anew for each index, until the kernel has no more."""
    for index in range(most):
        structure.index = index
        try:
            call(fd, number, structure)
        except OSError:  # EINVAL at the end; ENOTTY or ENODATA where there is nothing to list
            return
        yield structure


def fourcc(letters: str) -> int:
    """A pixel format's number from its four letters."""
    return int.from_bytes(letters.encode("ascii"), "little")
