"""The thread that reads a sound card: it waits in ALSA, where other threads run, and hands chunks over.

All that may block, for instance opening or closing a USB card that does not answer, happens in here. When
the port takes nothing for some seconds, this thread stops reading; then the kernel's buffer runs over, which
is counted and leaves a gap whose length is known.
"""

import errno
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.errors import PortGone
from gateway.ports import asound

SILENCE_S: Final = 3.0  # a card that gives no samples for so long is broken, whatever it says
WAITING_MAX: Final = 50  # chunks that the port has not taken yet: 5 s of 100 ms


@dataclass(frozen=True, slots=True)
class Wish:
    """What the drivers on a port ask of its card; `block` in frames."""

    rate_hz: int
    channels: int
    block: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames as the card gave them, number `first` since it (re)started, and the kernel's latest stamp.

    At `stamp_ns` the card had taken `taken` frames since it started. `restarted`: frames were lost before.
    """

    octets: bytes
    first: int
    taken: int
    stamp_ns: int
    restarted: bool


class SoundReader:
    """Reads one card until it is stopped or fails. `wake` is called, in the thread, when there is news.

    `take` gives chunks in order; it raises what ended the reading, once all chunks are taken: OSError in
    ALSA's words, ConfigError for a card that cannot do what is asked, PortGone for one that is silent.
    """

    def __init__(self, pcm: str, wish: Wish, wake: Callable[[], None]) -> None:
        self._pcm_name = pcm
        self._wish = wish
        self._wake = wake
        self._chunks: deque[Chunk] = deque()
        self._room = threading.Semaphore(WAITING_MAX)
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards what another thread may drop
        self._running: asound.Pcm | None = None
        self._error: Exception | None = None
        self.format = asound.FORMATS[0]
        self.channels = wish.channels
        self.is_open = False
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name=f"reader of {pcm}", daemon=True)
        self._thread.start()

    def take(self) -> Chunk | None:
        """The next chunk; None if there is none now. Raises what ended the reading."""
        if self._chunks:
            chunk = self._chunks.popleft()
            self._room.release()
            return chunk
        if self._error is not None:
            raise self._error
        return None

    def stop(self) -> None:
        """Have it end soon; does not wait for it. `wake` is called when the card is closed."""
        self._stop.set()
        self._room.release()
        # Whoever holds the lock is about to wait (and will look at _stop first), or closes the card.
        with self._lock:
            if self._running is not None:
                self._running.drop()

    def _run(self) -> None:
        wish = self._wish
        try:
            with asound.Pcm(self._pcm_name, asound.CAPTURE, wish.rate_hz, wish.channels, wish.block) as pcm:
                self.format, self.channels = pcm.format, pcm.channels
                with self._lock:
                    self._running = pcm
                try:
                    pcm.start()
                    self.is_open = True
                    self._wake()
                    self._read(pcm)
                finally:
                    with self._lock:
                        self._running = None
        except Exception as error:  # noqa: BLE001  (`take` raises it in the loop, where a bug ends the worker)
            self._error = error
        finally:
            self.is_over = True
            self._wake()

    def _read(self, pcm: asound.Pcm) -> None:
        """Chunk after chunk. A chunk whose stamp the overrun took away is lost with what followed it."""
        first, restarted = 0, False
        while not self._stop.is_set():
            try:
                if not pcm.wait(SILENCE_S):
                    raise PortGone(
                        f"the card gave no samples for {SILENCE_S:g} s; check its plug, or take another card"
                    )
                octets = pcm.read(self._wish.block)
                unread, stamp_ns = pcm.stamp()
            except OSError as error:
                if error.errno != errno.EPIPE or self._stop.is_set():
                    raise
                pcm.again()
                first, restarted = 0, True
                continue
            if not octets:
                continue
            behind = first + len(octets) // pcm.frame_octets
            self._room.acquire()
            self._chunks.append(Chunk(octets, first, behind + unread, stamp_ns, restarted))
            self._wake()
            first, restarted = behind, False
