"""Every way to be bad, each in a driver that is good otherwise.

Source: Acme data sheet, revision C.
"""

import ctypes
import signal
import time
from collections.abc import Iterable, Iterator

from acme_vanes.vane import Vane
from gateway.driver import BadFrame, Talk, Values

_kept: list[bytes] = []


class OffByOne(Vane):
    """Reads a degree too much."""

    def decode(self, frame: bytes) -> Values | None:
        values = super().decode(frame)
        return values and {**values, "wind_from": values["wind_from"] + 1}


class RaisesValueError(Vane):
    """Lets int() raise what it raises."""

    def decode(self, frame: bytes) -> Values | None:
        int(frame.rpartition(b",")[2] or b"0", 16)
        return super().decode(frame)


class HangsOnNoise(Vane):
    """Waits for the end of a frame that has none."""

    def decode(self, frame: bytes) -> Values | None:
        while b"," not in frame:
            pass
        return super().decode(frame)


class CrashesOnNoise(Vane):
    """Its library reads where nothing is."""

    def decode(self, frame: bytes) -> Values | None:
        if b"," not in frame:
            ctypes.string_at(0)
        return super().decode(frame)


class SaysMoreThanDeclared(Vane):
    """Returns a gust, which `emits` knows nothing of."""

    def decode(self, frame: bytes) -> Values | None:
        values = super().decode(frame)
        return {**values, "gust": 1.0} if values and values["wind"] == 0 else values


class LosesTheFirstAfterReset(Vane):
    """Skips what it hears first after a replug."""

    _opened = 0

    def reset(self) -> None:
        self._opened += 1
        self._skip = self._opened > 2  # made, opened, opened again

    def decode(self, frame: bytes) -> Values | None:
        skip, self._skip = self._skip, False
        return None if skip else super().decode(frame)


class KeepsEveryFrame(Vane):
    """Keeps all it ever heard."""

    def decode(self, frame: bytes) -> Values | None:
        _kept.append(frame)
        return super().decode(frame)


class DeafAfterNoise(Vane):
    """Gives up after three frames without a comma."""

    _bad = 0

    def decode(self, frame: bytes) -> Values | None:
        self._bad += not frame.startswith(b"WV7")
        return None if self._bad > 3 else super().decode(frame)


class DeafAfterHalfAFrame(Vane):
    """Passes over twenty frames after one that was cut."""

    _left = 0

    def decode(self, frame: bytes) -> Values | None:
        self._left = 20 if frame.count(b"WV7") > 1 else max(0, self._left - 1)
        return None if self._left else super().decode(frame)


class _Reads:
    """Takes each read for a frame."""

    skipped = bad = held = 0
    silence_s = 0.0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield from chunk.splitlines()

    def rest(self) -> Iterable[bytes]:
        return ()


class _Naive:
    def framer(self) -> _Reads:
        return _Reads()

    def wrap(self, body: bytes) -> bytes:
        return body


class TakesReadsForFrames(Vane):
    """Believes that a read is a line."""

    framing = _Naive()


class DeafAfterSilence(Vane):
    """Takes a pause for the end."""

    _last = 0.0

    def decode(self, frame: bytes) -> Values | None:
        now = time.monotonic()
        if self._last and now - self._last > 1:
            return None
        self._last = now
        return super().decode(frame)


class SlowAfterReplug(Vane):
    """Waits three seconds after a replug."""

    _born = _quiet = 0.0

    def reset(self) -> None:
        now = time.monotonic()
        self._born = self._born or now
        self._quiet = now + 3 if now - self._born > 0.1 else 0.0

    def decode(self, frame: bytes) -> Values | None:
        return None if time.monotonic() < self._quiet else super().decode(frame)


class TrustsTheWallClock(Vane):
    """Believes that time.time() never goes back."""

    _last = 0.0

    def decode(self, frame: bytes) -> Values | None:
        now = time.time()
        if now < self._last:
            return None
        self._last = now
        return super().decode(frame)


class TooSlow(Vane):
    """Takes at most twelve frames a second."""

    _second = _count = 0

    def reset(self) -> None:
        self._count = 0

    def decode(self, frame: bytes) -> Values | None:
        second = int(time.monotonic())
        self._count = self._count + 1 if second == self._second else 0
        self._second = second
        return None if self._count >= 12 else super().decode(frame)


class DeafAfterFlood(Vane):
    """Has a counter that runs over."""

    _count = 0

    def decode(self, frame: bytes) -> Values | None:
        self._count += 1
        return None if self._count > 5000 else super().decode(frame)


class LeaksInC(Vane):
    """Its library never frees."""

    def decode(self, frame: bytes) -> Values | None:
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        ctypes.memset(libc.malloc(300), 1, 300)
        return super().decode(frame)


class IgnoresSigterm(Vane):
    """Does not want to be ended."""

    def reset(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class NeverEndsItsConversation(Vane):
    """Blocks while it waits for an answer."""

    every_s = 1.0
    answer_s = 0.2

    def poll(self) -> Talk[Values | None]:
        try:
            return super().decode((yield b"?\r\n"))
        except BadFrame:
            time.sleep(6)
            raise


class RoundsAway(Vane):
    """Cannot imagine a storm."""

    def decode(self, frame: bytes) -> Values | None:
        values = super().decode(frame)
        return values and {**values, "wind": min(values["wind"], 40.0)}
