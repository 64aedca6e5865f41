"""Playing samples into a sound card of the guest, from a moment that is known."""

import errno
import threading
import time
from types import TracebackType
from typing import Final, Self

import numpy as np

from gateway.media import Pcm
from gateway.ports import asound

_BLOCK_S: Final = 0.02
_START_WITHIN_S: Final = 5.0


class Playing:
    """Plays int16 samples [frames, channels], once; a context manager. `t_ns` is when frame 0 was played.

    The kernel's buffer is filled before it starts, so that the start is one moment, which the kernel
    stamps: CLOCK_MONOTONIC, to the grain of the card. `starved` counts how often it had nothing to play
    before the end: what was heard then is not what was given.
    """

    def __init__(self, card: str, samples: Pcm, rate_hz: int) -> None:
        frames, channels = samples.shape
        self.t_ns = 0
        self.starved = 0
        self.seconds = frames / rate_hz
        self._octets = np.ascontiguousarray(samples, "<i2").tobytes()
        self._pcm = _opened(card, rate_hz, channels)
        silence = bytes(self._pcm.held * self._pcm.frame_octets)
        self._octets += silence  # what follows the end is silence, not an underrun's noise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name=f"playing on {card}", daemon=True)

    def __enter__(self) -> Self:
        self._written = self._pcm.write(self._octets)
        self._pcm.start()
        self.t_ns = self._pcm.started_ns()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pcm.drop()
        self._thread.join()
        self._pcm.close()

    def finish(self) -> None:
        """Wait until all of it was played."""
        end_s = self.t_ns / 1e9 + self.seconds
        self._stop.wait(max(0.0, end_s - time.monotonic()))

    def _feed(self) -> None:
        """Keep the kernel's buffer full until the end."""
        at = self._written * self._pcm.frame_octets
        try:
            while at < len(self._octets) and not self._stop.is_set():
                if self._pcm.wait(1.0):
                    at += self._pcm.write(self._octets[at:]) * self._pcm.frame_octets
        except OSError as error:
            self.starved += error.errno == errno.EPIPE and not self._stop.is_set()


def _opened(card: str, rate_hz: int, channels: int) -> asound.Pcm:
    """A gadget's card takes no samples before its host listens (EIO), and the last one may hold it yet."""
    end_s = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            return asound.Pcm(card, asound.PLAYBACK, rate_hz, channels, int(rate_hz * _BLOCK_S))
        except OSError as error:
            if error.errno not in {errno.EIO, errno.EBUSY} or time.monotonic() > end_s:
                raise
            time.sleep(_BLOCK_S)
