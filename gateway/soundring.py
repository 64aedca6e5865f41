"""The last sound of one microphone, in memory only, for as long as somebody still looks at it."""

from collections import deque
from typing import Final

import numpy as np

from gateway.features import Samples, as_sound
from gateway.media import Block

RING_MAX_S: Final = 10.0  # sound is never held for longer


class SoundRing:
    """Blocks that follow each other without a gap. Samples go by their index in the stream."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()

    @property
    def first(self) -> int:
        """Index of the oldest sample; 0 while it is empty."""
        return self._blocks[0].first if self._blocks else 0

    @property
    def end(self) -> int:
        """Index behind the newest sample; 0 while it is empty."""
        return self._blocks[-1].first + len(self._blocks[-1].pcm) if self._blocks else 0

    @property
    def rate_hz(self) -> int:
        """Of the sound in it. Raises IndexError while it is empty."""
        return self._blocks[-1].rate_hz

    def follows(self, block: Block) -> bool:
        """Whether the block goes on where the ring ends."""
        return not self._blocks or (self.end == block.first and self.rate_hz == block.rate_hz)

    def push(self, block: Block) -> None:
        """Add a block that follows."""
        self._blocks.append(block)

    def forget(self, before: int) -> None:
        """Let go of blocks that end before that sample, and of what is older than RING_MAX_S."""
        before = max(before, self.end - int(RING_MAX_S * self.rate_hz))
        while self._blocks and self._blocks[0].first + len(self._blocks[0].pcm) <= before:
            self._blocks.popleft()

    def clear(self) -> None:
        """Let go of everything."""
        self._blocks.clear()

    def sound(self, first: int, end: int) -> Samples:
        """Samples first <= n < end of the first channel, full scale 1. What lies before the ring, because the
        stream began there, is mirrored sound.
        """
        held = [
            as_sound(block.pcm[max(0, first - block.first) : max(0, end - block.first)])
            for block in self._blocks
            if block.first < end and block.first + len(block.pcm) > first
        ]
        if not held:
            return np.zeros(0, np.float32)
        sound = np.concatenate(held)
        missing = min(end, self.first) - first
        return np.pad(sound, (missing, 0), "symmetric") if missing > 0 else sound

    def time_of(self, index: int) -> tuple[int, int]:
        """Time of a sample, and how far that may be off. Raises IndexError if the ring does not hold it."""
        for block in self._blocks:
            if block.first <= index < block.first + len(block.pcm):
                since = (index - block.first) * 1_000_000_000 // block.rate_hz
                return block.t_ns + since, block.t_error_ns
        raise IndexError(f"sample {index} is not in the ring")
