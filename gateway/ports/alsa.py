"""Sound cards: found by what they are, read by a thread, every sample timed, every lost one counted.

A block's time is no clock reading of ours: it comes from the line that `sampleclock` lays through the
kernel's stamps, with its error. What the card needs before its first sample reaches the kernel (1 to 5 ms
on USB) is the same for all boxes of a kind, and not in it.
"""

import asyncio
import errno
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

from gateway.driver import Driver, Encoded
from gateway.errors import ConfigError, PortGone
from gateway.media import AudioDriver, Block
from gateway.ports.devwatch import DevWatch
from gateway.ports.sampleclock import SampleClock
from gateway.ports.soundblocks import Blocks
from gateway.ports.soundcards import NODES, SoundCard, cards, find_card, look, user_of
from gateway.ports.soundreader import SoundReader, Wish

__all__ = ["AlsaPort", "cards"]

_CLOCK_MONOTONIC_COARSE: Final = 6  # linux/time.h; its resolution is the kernel's tick
_TICKING: Final = frozenset({"snd_aloop", "snd_dummy"})  # drivers whose card is a timer of the kernel
_USB_LATE_NS: Final = 1_000_000  # positions move with whole USB frames
_LATE_NS: Final = 300_000  # and elsewhere with bursts of DMA
_ADVICE: Final = {
    errno.ENOENT: "it is not there; check the plug, or run `gateway scan`",
    errno.ENODEV: "it was unplugged",
    errno.EBADFD: "it was unplugged",
    errno.EACCES: "this user may not open it; `gateway doctor` says how to mend that",
    errno.ESTRPIPE: "it was suspended",
}


class AlsaPort:
    """One sound card. See `gateway.ports.Port`; frames are Blocks, their t_ns that of the first sample.

    Counters: `overruns` (this box was too slow), `lost_samples` (in those, estimated by the clock), `slips`
    (times the card itself lost samples, or took some twice), `silences` (no samples for 3 s).
    """

    patient = False

    def __init__(self, place: str, drivers: Sequence[Driver]) -> None:
        self._place = place
        self._wish = _wish(drivers)
        self._reader: SoundReader | None = None
        self._last: SoundReader | None = None  # may still be closing the card
        self._wake = asyncio.Event()
        self._clock = SampleClock(self._wish.rate_hz)
        self._seen: object = None
        self._card = place
        self.counters: Counter[str] = Counter()

    async def open(self) -> None:
        """Find the card and start it. Raises PortGone, or ConfigError if it cannot do what is asked."""
        self._seen = look()
        self._wake.clear()
        while self._last is not None and not self._last.is_over:
            await self._news()
        card, capture = find_card(self._place, cards())
        self._card = f"sound card {card.id}"
        self._clock = SampleClock(self._wish.rate_hz, late_ns(card))
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed; nobody waits any more
                loop.call_soon_threadsafe(self._wake.set)

        self._reader = self._last = SoundReader(f"hw:{card.number},{capture}", self._wish, wake)
        try:
            while not (self._reader.is_open or self._reader.is_over):
                await self._news()
            if not self._reader.is_open:
                self._reader.take()
        except OSError as error:
            if error.errno == errno.EBUSY:
                user = await asyncio.to_thread(user_of, card.node(capture))
                raise PortGone(f"{self._card} is in use by {user or 'another program'}; stop that") from None
            raise self._gone("cannot open", error) from error

    async def frames(self) -> AsyncGenerator[tuple[int, Block], None]:
        """(t_ns, block). A jump in `first` is a gap: so many samples were lost."""
        reader = self._reader
        if reader is None:
            raise PortGone("the port is not open")
        blocks = Blocks(self._clock, reader.format, reader.channels, self._wish.channels, self.counters)
        while True:
            try:
                chunk = reader.take()
            except OSError as error:
                raise self._gone("lost", error) from error
            except PortGone:
                self.counters["silences"] += 1
                raise
            if chunk is None:
                await self._news()
                continue
            block = blocks.block(chunk)
            yield block.t_ns, block
            await asyncio.sleep(0)  # who never catches up must not keep the rest of the worker from its turn

    async def send(self, driver: Driver, what: Encoded) -> None:
        """A microphone takes nothing: raises PortGone."""
        raise PortGone(f"{self._card} is a microphone; it takes no commands")

    async def back(self, timeout_s: float) -> None:
        """Wait until a sound card comes, goes or changes its rights, or the time is over."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        with DevWatch([f"{NODES}/"]) as watch:
            while look() == self._seen and (left_s := until_s - loop.time()) > 0:
                await watch.changed(left_s)

    def close(self) -> None:
        """Have the card closed; the thread does it, and the next `open` waits for that."""
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    async def _news(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def _gone(self, what: str, error: OSError) -> PortGone:
        return PortGone(f"{what} {self._card}: {_ADVICE.get(error.errno or 0) or error.strerror}")


def late_ns(card: SoundCard) -> int:
    """How late all stamps of such a card may be, unseen: the grain of its position."""
    if card.driver in _TICKING:
        return round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)
    return _LATE_NS if card.usb is None else _USB_LATE_NS


def _wish(drivers: Sequence[Driver]) -> Wish:
    """What all drivers on the card can live with. Raises ConfigError if there is no such thing."""
    audio = [driver for driver in drivers if isinstance(driver, AudioDriver)]
    rates = {driver.rate_for() for driver in audio}
    channels = {driver.channels_for() for driver in audio}
    if len(audio) < len(drivers) or len(rates) > 1 or len(channels) > 1:
        raise ConfigError(
            "sensors on one sound card must be microphones with the same rate and channels; "
            "give each kind a card of its own"
        )
    rate = rates.pop()
    return Wish(rate, channels.pop(), rate * min(driver.block_ms for driver in audio) // 1000)
