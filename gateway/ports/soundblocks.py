"""Blocks of what a sound card gave: each sample numbered and timed; numbers jump over what was lost."""

from collections import Counter

import numpy as np

from gateway.media import Block, Pcm
from gateway.ports.asound import Format
from gateway.ports.sampleclock import SampleClock
from gateway.ports.soundreader import Chunk


class Blocks:
    """Makes blocks of chunks, from the opening of a card to its closing.

    `channels` is what the card gives, of which the first `keep` are kept. `counters` gets `overruns`,
    `lost_samples` and `slips`.
    """

    def __init__(
        self, clock: SampleClock, form: Format, channels: int, keep: int, counters: Counter[str]
    ) -> None:
        self._clock = clock
        self._format = form
        self._channels = channels
        self._keep = keep
        self._counters = counters
        self._base = 0  # of the card's frame numbers, which begin at 0 after an overrun
        self._next = 0  # number of the frame that should come next

    def block(self, chunk: Chunk) -> Block:
        """Give a chunk its number and its time; the number jumps by what was lost before it."""
        clock = self._clock
        if chunk.restarted:
            self._counters["overruns"] += 1
            self._base = self._next
            lost = clock.index_at(chunk.stamp_ns) - self._base - chunk.taken if clock.is_set else 0
            self._skip(max(0, lost))
        slips = clock.slips
        if lost := clock.stamp(self._base + chunk.taken, chunk.stamp_ns):
            self._skip(lost)
            clock.stamp(self._base + chunk.taken, chunk.stamp_ns)
        self._counters["slips"] += clock.slips - slips
        first = self._base + chunk.first
        pcm = as_pcm(chunk.octets, self._format, self._channels)[:, : self._keep]
        self._next = first + len(pcm)
        t_ns, error_ns = clock.time_of(first)
        return Block(t_ns, error_ns, clock.rate_hz, first, pcm)

    def _skip(self, samples: int) -> None:
        self._base += samples
        self._counters["lost_samples"] += samples
        self._clock.restart()


def as_pcm(octets: bytes, form: Format, channels: int) -> Pcm:
    """The upper 16 bits of each sample, as [frames, channels]."""
    if form.octets == 2:
        pcm: Pcm = np.frombuffer(octets, "<i2").reshape(-1, channels)
        return pcm
    samples = np.frombuffer(octets, np.uint8).reshape(-1, channels, form.octets)
    upper: Pcm = np.ascontiguousarray(samples[:, :, form.top - 2 : form.top]).view("<i2")[:, :, 0]
    return upper
