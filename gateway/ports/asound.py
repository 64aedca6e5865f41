"""As much of libasound as capturing needs, over ctypes: every call lets other threads run.

ALSA's own library and not PortAudio, because only it hands out the kernel's pairs of position and time
(`snd_pcm_htimestamp`). The documents: alsa-project.org/alsa-doc/alsa-lib, "PCM (digital audio) interface".
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import ConfigError

LIBRARY: Final = "libasound.so.2"
CAPTURE: Final = 1  # snd_pcm_stream_t
PLAYBACK: Final = 0
_NONBLOCK: Final = 1
_INTERLEAVED: Final = 3  # SND_PCM_ACCESS_RW_INTERLEAVED
_TSTAMP_ENABLE: Final = 1
_TSTAMP_MONOTONIC: Final = 1
_RATES: Final = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)
_NEVER: Final = 1 << 30  # more frames than any buffer holds: only `start` starts
_HELD_S: Final = 4  # what the kernel holds for a box that is busy; cards may have less

_Pcm = c_void_p
_PARAMETERS: Final[dict[str, tuple[Any, ...]]] = {  # all return an int, negative for an error
    "snd_pcm_open": (POINTER(_Pcm), c_char_p, c_int, c_int),
    "snd_pcm_close": (_Pcm,),
    "snd_pcm_start": (_Pcm,),
    "snd_pcm_drop": (_Pcm,),
    "snd_pcm_prepare": (_Pcm,),
    "snd_pcm_wait": (_Pcm, c_int),
    "snd_pcm_hw_params_malloc": (POINTER(c_void_p),),
    "snd_pcm_hw_params_any": (_Pcm, c_void_p),
    "snd_pcm_hw_params_set_access": (_Pcm, c_void_p, c_int),
    "snd_pcm_hw_params_test_format": (_Pcm, c_void_p, c_int),
    "snd_pcm_hw_params_set_format": (_Pcm, c_void_p, c_int),
    "snd_pcm_hw_params_test_channels": (_Pcm, c_void_p, c_uint),
    "snd_pcm_hw_params_set_channels": (_Pcm, c_void_p, c_uint),
    "snd_pcm_hw_params_get_channels_max": (c_void_p, POINTER(c_uint)),
    "snd_pcm_hw_params_test_rate": (_Pcm, c_void_p, c_uint, c_int),
    "snd_pcm_hw_params_set_rate": (_Pcm, c_void_p, c_uint, c_int),
    "snd_pcm_hw_params_set_period_size_near": (_Pcm, c_void_p, POINTER(c_ulong), POINTER(c_int)),
    "snd_pcm_hw_params_set_buffer_size_near": (_Pcm, c_void_p, POINTER(c_ulong)),
    "snd_pcm_hw_params": (_Pcm, c_void_p),
    "snd_pcm_sw_params_malloc": (POINTER(c_void_p),),
    "snd_pcm_sw_params_current": (_Pcm, c_void_p),
    "snd_pcm_sw_params_set_tstamp_mode": (_Pcm, c_void_p, c_int),
    "snd_pcm_sw_params_set_tstamp_type": (_Pcm, c_void_p, c_int),
    "snd_pcm_sw_params_set_start_threshold": (_Pcm, c_void_p, c_ulong),
    "snd_pcm_sw_params_set_avail_min": (_Pcm, c_void_p, c_ulong),
    "snd_pcm_sw_params": (_Pcm, c_void_p),
    "snd_pcm_status_malloc": (POINTER(c_void_p),),
    "snd_pcm_status": (_Pcm, c_void_p),
}


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", c_long), ("nanoseconds", c_long))

    @property
    def ns(self) -> int:
        return int(self.seconds) * 1_000_000_000 + int(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class Format:
    """How a card packs a sample: signed, little endian, `octets` long, the upper 16 bits before `top`."""

    code: int  # snd_pcm_format_t
    octets: int
    top: int


# In order of preference. S24 is three bytes of four; 24 bits in three is what most USB microphones have.
FORMATS: Final = (Format(2, 2, 2), Format(10, 4, 4), Format(6, 4, 3), Format(32, 3, 3))


@cache
def library() -> Any:
    """libasound with its calls declared. Raises ConfigError if it is not installed."""
    try:
        asound = ctypes.CDLL(LIBRARY)
    except OSError:
        raise ConfigError(f"sound cards need {LIBRARY}; as root: apt-get install libasound2") from None
    for name, parameters in _PARAMETERS.items():
        getattr(asound, name).argtypes = parameters
    asound.snd_strerror.restype = c_char_p
    for name in ("snd_pcm_readi", "snd_pcm_writei"):
        getattr(asound, name).argtypes = (_Pcm, c_void_p, c_ulong)
        getattr(asound, name).restype = c_long
    asound.snd_pcm_htimestamp.argtypes = (_Pcm, POINTER(c_ulong), POINTER(_TimeSpec))
    asound.snd_pcm_status_get_trigger_htstamp.argtypes = (c_void_p, POINTER(_TimeSpec))
    asound.snd_pcm_status_get_trigger_htstamp.restype = None
    for kind in ("hw_params", "sw_params", "status"):
        free = getattr(asound, f"snd_pcm_{kind}_free")
        free.argtypes, free.restype = (c_void_p,), None
    # It would print each error on stderr, between the lines of our log; we raise them.
    asound.snd_lib_error_set_handler(_SILENT)
    return asound


_SILENT: Final = ctypes.CFUNCTYPE(None, c_char_p, c_int, c_char_p, c_int, c_char_p)(lambda *_: None)


def call(name: str, *arguments: Any) -> int:
    """Call it. Raises OSError with ALSA's words for a negative answer."""
    answer = int(getattr(library(), name)(*arguments))
    if answer < 0:
        raise OSError(-answer, library().snd_strerror(answer).decode())
    return answer


class Pcm:
    """One open PCM of a card, configured, not started. Use it as a context manager.

    `pcm` is a name of ALSA's such as "hw:1,0". It runs at exactly `rate_hz`; a capture has `channels` or
    more of them, see `channels`. `wait` returns when `block` frames can be read or written. Raises OSError if
    it cannot be opened, ConfigError saying what the card can do if it cannot do this.
    """

    def __init__(self, pcm: str, stream: int, rate_hz: int, channels: int, block: int) -> None:
        self.rate_hz = rate_hz
        self._handle = _Pcm()
        call("snd_pcm_open", byref(self._handle), pcm.encode(), stream, _NONBLOCK)
        try:
            self._configure(pcm, channels, block)
            self._stamped(block)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Begin to take samples, or to play what was written."""
        call("snd_pcm_start", self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Whether there is a block to read, or room to write one, within this time."""
        return call("snd_pcm_wait", self._handle, round(timeout_s * 1000)) > 0

    def read(self, frames: int) -> bytes:
        """At most so many frames; what is there. Raises OSError (EPIPE: the kernel's buffer ran over)."""
        buffer = ctypes.create_string_buffer(frames * self.frame_octets)
        try:
            got = call("snd_pcm_readi", self._handle, buffer, frames)
        except BlockingIOError:
            got = 0
        return buffer.raw[: got * self.frame_octets]

    def write(self, octets: bytes) -> int:
        """How many frames of these it took. Raises OSError (EPIPE: it had nothing left to play)."""
        try:
            return call("snd_pcm_writei", self._handle, octets, len(octets) // self.frame_octets)
        except BlockingIOError:
            return 0

    def stamp(self) -> tuple[int, int]:
        """(frames that could be read, when that was so): the kernel's latest pair, CLOCK_MONOTONIC in ns."""
        frames, at = c_ulong(), _TimeSpec()
        call("snd_pcm_htimestamp", self._handle, byref(frames), byref(at))
        return frames.value, at.ns

    def started_ns(self) -> int:
        """When the kernel started it, CLOCK_MONOTONIC."""
        status, at = c_void_p(), _TimeSpec()
        call("snd_pcm_status_malloc", byref(status))
        try:
            call("snd_pcm_status", self._handle, status)
            library().snd_pcm_status_get_trigger_htstamp(status, byref(at))
        finally:
            library().snd_pcm_status_free(status)
        return at.ns

    def again(self) -> None:
        """Start afresh after the buffer ran over; what it held is lost."""
        call("snd_pcm_prepare", self._handle)
        self.start()

    def drop(self) -> None:
        """Stop at once; who waits in another thread wakes up. Does nothing on one that is gone."""
        library().snd_pcm_drop(self._handle)

    def close(self) -> None:
        """Close it. Nothing else may be called any more."""
        if self._handle:
            library().snd_pcm_close(self._handle)
            self._handle = _Pcm()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _configure(self, pcm: str, channels: int, block: int) -> None:
        parameters = c_void_p()
        call("snd_pcm_hw_params_malloc", byref(parameters))
        try:
            call("snd_pcm_hw_params_any", self._handle, parameters)
            call("snd_pcm_hw_params_set_access", self._handle, parameters, _INTERLEAVED)
            self.format = self._choose_format(pcm, parameters)
            call("snd_pcm_hw_params_set_format", self._handle, parameters, self.format.code)
            self.channels = self._choose_channels(pcm, parameters, channels)
            call("snd_pcm_hw_params_set_channels", self._handle, parameters, self.channels)
            self._check_rate(pcm, parameters)
            call("snd_pcm_hw_params_set_rate", self._handle, parameters, self.rate_hz, 0)
            period, buffer = c_ulong(block), c_ulong(self.rate_hz * _HELD_S)
            call("snd_pcm_hw_params_set_period_size_near", self._handle, parameters, byref(period), None)
            call("snd_pcm_hw_params_set_buffer_size_near", self._handle, parameters, byref(buffer))
            call("snd_pcm_hw_params", self._handle, parameters)
        finally:
            library().snd_pcm_hw_params_free(parameters)
        self.frame_octets = self.format.octets * self.channels
        self.held = buffer.value

    def _stamped(self, block: int) -> None:
        """Have each update of the position stamped with CLOCK_MONOTONIC, and `wait` wake for whole blocks."""
        parameters = c_void_p()
        call("snd_pcm_sw_params_malloc", byref(parameters))
        try:
            call("snd_pcm_sw_params_current", self._handle, parameters)
            call("snd_pcm_sw_params_set_tstamp_mode", self._handle, parameters, _TSTAMP_ENABLE)
            call("snd_pcm_sw_params_set_tstamp_type", self._handle, parameters, _TSTAMP_MONOTONIC)
            call("snd_pcm_sw_params_set_start_threshold", self._handle, parameters, _NEVER)
            call("snd_pcm_sw_params_set_avail_min", self._handle, parameters, min(block, self.held))
            call("snd_pcm_sw_params", self._handle, parameters)
        finally:
            library().snd_pcm_sw_params_free(parameters)

    def _can(self, what: str, parameters: c_void_p, *value: int) -> bool:
        test = getattr(library(), f"snd_pcm_hw_params_test_{what}")
        return int(test(self._handle, parameters, *value)) == 0

    def _choose_format(self, pcm: str, parameters: c_void_p) -> Format:
        for one in FORMATS:
            if self._can("format", parameters, one.code):
                return one
        raise ConfigError(f"{pcm} has no samples of 16, 24 or 32 bits; such a card cannot be used")

    def _choose_channels(self, pcm: str, parameters: c_void_p, wanted: int) -> int:
        most = c_uint()
        call("snd_pcm_hw_params_get_channels_max", parameters, byref(most))
        for channels in range(wanted, min(most.value, 64) + 1):
            if self._can("channels", parameters, channels):
                return channels
        raise ConfigError(f"{pcm} has {most.value} channels, its driver wants {wanted}; use another card")

    def _check_rate(self, pcm: str, parameters: c_void_p) -> None:
        if not self._can("rate", parameters, self.rate_hz, 0):
            can = [str(rate) for rate in _RATES if self._can("rate", parameters, rate, 0)]
            raise ConfigError(
                f"{pcm} cannot sample at {self.rate_hz} Hz, only at {', '.join(can) or 'odd rates'}; "
                "set rate_hz of its sensors, or use another card"
            )
