"""Bytes in, frames out: where one frame of a serial stream ends and the next begins.

A framer keeps what is incomplete, resynchronises after noise, and counts what it threw away.
It does no I/O and knows no time. `Lines`, `Fixed` and `Counted` describe a framing; `framer()`
makes the object that holds the state of one open port.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


class Framer(Protocol):
    """State of one byte stream. `skipped` counts bytes that were no part of any frame."""

    skipped: int
    bad: int  # frames whose check failed

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete yet."""
        ...

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes, yield every frame they complete."""
        ...


class Framing(Protocol):
    """A description of where frames begin and end; immutable, part of a driver's declaration."""

    def framer(self) -> Framer:
        """A fresh framer for a port that was just opened."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """Text lines ending in LF (a CR before it is dropped). Lines over `limit` bytes are skipped whole."""

    limit: int = 1024

    def framer(self) -> "LineFramer":
        """A fresh framer for a port that was just opened."""
        return LineFramer(self.limit)


class LineFramer:
    """Splits at LF; a line cut in half by a slow sender stays whole, however long the pause."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._overlong = False
        self.skipped = 0
        self.bad = 0

    @property
    def held(self) -> int:
        """Bytes of a line that has not ended yet."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes, yield every line they complete, without its ending."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._rest += part
            line = bytes(self._rest).rstrip(b"\r")
            self._rest.clear()
            if self._overlong or len(line) > self._limit:
                self.skipped += len(line) + 1
                self._overlong = False
            elif line:
                yield line
        self._rest += rest
        if len(self._rest) > self._limit:
            self.skipped += len(self._rest)
            self._rest.clear()
            self._overlong = True


@dataclass(frozen=True, slots=True)
class Fixed:
    """Packets of `size` bytes that start with `head`, end with `tail` and pass `check`."""

    size: int
    head: bytes
    tail: bytes = b""
    check: Callable[[bytes], bool] | None = None

    def framer(self) -> "PacketFramer":
        """A fresh framer for a port that was just opened."""
        return PacketFramer(self.head, lambda _: self.size, self.tail, self.check)


@dataclass(frozen=True, slots=True)
class Counted:
    """Packets that start with `head` and carry the length of their body in the byte at `length_at`.

    The whole packet is `length + overhead` bytes; `overhead` counts head, type, length and checksum.
    """

    head: bytes
    length_at: int
    overhead: int
    check: Callable[[bytes], bool] | None = None
    limit: int = 255

    def framer(self) -> "PacketFramer":
        """A fresh framer for a port that was just opened."""
        return PacketFramer(self.head, self._size, b"", self.check)

    def _size(self, start: bytes) -> int | None:
        if len(start) <= self.length_at:
            return None
        size = start[self.length_at] + self.overhead
        return size if size <= self.limit else 0


class PacketFramer:
    """Finds packets by their head; after a failed check it looks for the next head one byte on."""

    def __init__(
        self,
        head: bytes,
        size_of: Callable[[bytes], int | None],
        tail: bytes,
        check: Callable[[bytes], bool] | None,
    ) -> None:
        if not head:
            raise ValueError("a packet framing needs a head to find packets by")
        self._head = head
        self._size_of = size_of  # None: needs more bytes; 0: impossible length
        self._tail = tail
        self._check = check
        self._rest = bytearray()
        self.skipped = 0
        self.bad = 0

    @property
    def held(self) -> int:
        """Bytes of a packet that is not complete yet."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes, yield every packet they complete, head and tail included."""
        self._rest += chunk
        while self._align():
            size = self._size_of(bytes(self._rest[:16]))
            if size is None or len(self._rest) < size:
                return
            packet = bytes(self._rest[:size])
            if size and packet.endswith(self._tail) and (self._check is None or self._check(packet)):
                del self._rest[:size]
                yield packet
            else:
                self.bad += 1
                self.skipped += 1
                del self._rest[:1]

    def _align(self) -> bool:
        """Drop bytes up to the next head (or a possible beginning of one); True if a head is there."""
        at = self._rest.find(self._head)
        if at < 0:
            keep = 0
            for n in range(min(len(self._head) - 1, len(self._rest)), 0, -1):
                if self._rest.endswith(self._head[:n]):
                    keep = n
                    break
            at = len(self._rest) - keep
            self.skipped += at
            del self._rest[:at]
            return False
        self.skipped += at
        del self._rest[:at]
        return True
