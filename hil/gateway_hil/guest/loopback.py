"""The kernel's loopback sound card (snd-aloop): what is played on device 0 is captured on device 1.

Its clock is the kernel's tick. How fast it runs is a control of the card, so that a crystal that is off
can be had by writing a number. Source: https://docs.kernel.org/sound/cards/, sound/drivers/aloop.c.
"""

from ctypes import byref, c_char_p, c_int, c_long, c_uint, c_void_p
from typing import Any, Final

from gateway.ports import asound

CARD: Final = "Loopback"
PLAYED_ON: Final = f"hw:{CARD},0,0"
PLACE: Final = f"card/{CARD},1"  # what the gateway captures from
_NAME: Final = b"PCM Rate Shift 100000"
_UNSHIFTED: Final = 100_000
_INTERFACE_PCM: Final = 3  # snd_ctl_elem_iface_t


def set_skew(ppm: float) -> float:
    """Have the card take more samples a second than it says, by so many ppm; in steps of 10, as given back.

    Only while nothing is played or captured. Raises OSError.
    """
    shift = _UNSHIFTED - round(ppm / 10)  # the control scales how long a sample takes
    lib = asound.library()
    control, value = c_void_p(), c_void_p()
    lib.snd_ctl_elem_value_set_interface.argtypes = (c_void_p, c_int)
    lib.snd_ctl_elem_value_set_device.argtypes = (c_void_p, c_uint)
    lib.snd_ctl_elem_value_set_name.argtypes = (c_void_p, c_char_p)
    lib.snd_ctl_elem_value_set_integer.argtypes = (c_void_p, c_uint, c_long)
    lib.snd_ctl_elem_value_free.argtypes = (c_void_p,)
    lib.snd_ctl_elem_write.argtypes = (c_void_p, c_void_p)
    lib.snd_ctl_close.argtypes = (c_void_p,)
    asound.call("snd_ctl_open", byref(control), f"hw:{CARD}".encode(), c_int(0))
    try:
        asound.call("snd_ctl_elem_value_malloc", byref(value))
        _fill(lib, value, shift)
        asound.call("snd_ctl_elem_write", control, value)
    finally:
        lib.snd_ctl_elem_value_free(value)
        lib.snd_ctl_close(control)
    return (_UNSHIFTED - shift) * 10.0


def _fill(lib: Any, value: c_void_p, shift: int) -> None:
    """Which control: that of what is captured on device 1."""
    lib.snd_ctl_elem_value_set_interface(value, _INTERFACE_PCM)
    lib.snd_ctl_elem_value_set_device(value, 1)
    lib.snd_ctl_elem_value_set_name(value, _NAME)
    lib.snd_ctl_elem_value_set_integer(value, 0, shift)
