"""vivid, the kernel's own virtual camera: its inputs, and the faults that its controls inject.

Source: https://docs.kernel.org/admin-guide/media/vivid.html; control numbers from vivid-ctrls.c. A control
file stays open meanwhile: a camera that was told to disconnect comes back when the last user has closed it.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

from gateway.ports import v4l2_abi as abi
from gateway.ports.cameras import DEV, SYSFS

_BASE: Final = 0x00F0_F000
STAMP_AT_START: Final = _BASE + 24  # else vivid stamps the end of a frame's time, which is yet to come
ADAPTS: Final = (_BASE + 31, _BASE + 32, _BASE + 33)  # can crop, compose, scale; a plain bridge cannot
SIGNAL_MODE: Final = _BASE + 62
TIMINGS: Final = _BASE + 63
PERCENT_DROPPED: Final = _BASE + 64
DISCONNECT: Final = _BASE + 65
FLAG_ERROR: Final = _BASE + 66

NO_SIGNAL: Final = 1  # values of SIGNAL_MODE
SELECTED_TIMINGS: Final = 4
TIMINGS_640X480: Final = 0  # values of TIMINGS: places in the kernel's list of presets
TIMINGS_720X480: Final = 2


class Vivid:
    """The first vivid camera of this kernel. Raises FileNotFoundError if there is none."""

    def __init__(self) -> None:
        self.device = _find()
        self.fd = os.open(self.device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.bus = abi.call(self.fd, abi.QUERYCAP, abi.Capability()).bus_info.decode()

    def control(self, number: int, value: int = 1) -> None:
        """Set a control, or press a button."""
        abi.call(self.fd, abi.S_CTRL, abi.Control(number, value))

    def select(self, *, hdmi: bool) -> None:
        """Choose the input: the first HDMI one, or the first that is a webcam. Nobody may be streaming."""
        for each in abi.listed(self.fd, abi.ENUMINPUT, abi.Input()):
            if bool(each.capabilities & abi.IN_CAP_DV_TIMINGS) == hdmi:
                abi.call(self.fd, abi.S_INPUT, ctypes.c_int(each.index))
                return
        raise FileNotFoundError(f"{self.device} has no such input; boot with vivid.input_types=0xe4")

    def close(self) -> None:
        """Let go of the camera; a disconnected one comes back when nobody else has it open."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def _find() -> Path:
    for folder in sorted(SYSFS.glob("video*")):
        if (folder / "name").read_text().startswith("vivid") and (folder / "name").read_text().count("cap"):
            return DEV / folder.name
    raise FileNotFoundError("this kernel has no vivid camera; boot with vivid.n_devs=1 vivid.node_types=1")
