"""Bytes in, frames out: where one frame of a serial stream ends and the next begins.

A framer keeps what is incomplete, resynchronises after noise, and counts what it threw away.
It does no I/O and reads no clock. `Lines`, `Fixed`, `Counted`, `Cobs`, `Slip` and `ModbusRtu` describe a
framing; `framer()` makes the object that holds the state of one open port, `wrap()` puts a body into a
frame as it goes over the line.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol


class Framer(Protocol):
    """State of one byte stream. `skipped` counts bytes that were no part of any frame.

    `silence_s` is for how long the line must be silent to mean that a frame has ended; 0: it means nothing.
    """

    skipped: int
    bad: int  # frames whose check failed
    silence_s: float

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete yet."""
        ...

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Take the next bytes: every frame that they complete."""
        ...

    def rest(self) -> Iterable[bytes]:
        """The line was silent for `silence_s`: the frames that are whole now. The rest is skipped."""
        ...


class Framing(Protocol):
    """A description of where frames begin and end; immutable, part of a driver's declaration."""

    def framer(self) -> Framer:
        """A fresh framer for a port that was just opened."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """Text lines. Those over `limit` bytes are skipped whole, empty ones are nothing.

    They end in `end`; a CR before it is dropped. Where every line begins with `begin` (as "$" in NMEA
    0183), what stands before the last one of a line is noise, and a line without it is skipped.
    """

    limit: int = 1024
    end: bytes = b"\n"
    begin: bytes = b""

    def __post_init__(self) -> None:
        if not self.end:
            raise ValueError("lines need an end to be cut at")

    def framer(self) -> "LineFramer":
        """A fresh framer for a port that was just opened."""
        return LineFramer(self)

    def wrap(self, body: bytes) -> bytes:
        """A line as it goes out."""
        return body + self.end


class DelimitedFramer:
    """Splits at `end`; what a slow sender cut in half stays whole, however long the pause."""

    silence_s = 0.0

    def __init__(self, end: bytes, longest: int) -> None:
        self._end = end
        self._longest = longest  # between two ends
        self._held_max = longest + len(end) - 1  # the last of them may begin an end
        self._rest = b""
        self._overlong = False
        self.skipped = 0
        self.bad = 0

    @property
    def held(self) -> int:
        """Bytes after the last end."""
        return len(self._rest)

    def rest(self) -> Iterable[bytes]:
        """Nothing: silence means nothing."""
        return ()

    def _split(self, chunk: bytes) -> list[bytes]:
        """Whatever `chunk` ends, and is not too long."""
        parts = (self._rest + chunk if self._rest else chunk).split(self._end)
        rest = parts.pop()
        if parts and (self._overlong or any(len(part) > self._longest for part in parts)):
            parts = self._short_enough(parts)
        if len(rest) > self._held_max:
            kept = len(self._end) - 1
            self.skipped += len(rest) - kept
            self._overlong = True
            rest = rest[len(rest) - kept :]
        self._rest = rest
        return parts

    def _short_enough(self, parts: list[bytes]) -> list[bytes]:
        kept = []
        for part in parts:
            if self._overlong or len(part) > self._longest:
                self.skipped += len(part) + len(self._end)
                self._overlong = False
            else:
                kept.append(part)
        return kept


class LineFramer(DelimitedFramer):
    """Cuts text into lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines.end, lines.limit + 1)  # and a CR
        self._limit = lines.limit
        self._begin = lines.begin

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes: every line that they complete, without its ending."""
        lines = []
        for part in self._split(chunk):
            line = part.rstrip(b"\r")
            if self._begin and line:
                at = line.rfind(self._begin)
                self.skipped += len(line) if at < 0 else at
                line = line[at:] if at >= 0 else b""
            if len(line) > self._limit:
                self.skipped += len(part) + len(self._end)
            elif line:
                lines.append(line)
        return lines


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
    """Packets that start with `head` and carry the length of their body, in `length_bytes` at `length_at`.

    The whole packet is `length + overhead` bytes; `overhead` counts head, type, length and checksum. A packet
    that says to be longer than `limit` is none.
    """

    head: bytes
    length_at: int
    overhead: int
    check: Callable[[bytes], bool] | None = None
    limit: int = 255
    length_bytes: int = 1
    order: Literal["big", "little"] = "big"

    def __post_init__(self) -> None:
        if self.overhead < max(len(self.head), self.length_at + self.length_bytes):
            raise ValueError("the overhead of a packet holds at least its head and its length")

    def framer(self) -> "PacketFramer":
        """A fresh framer for a port that was just opened."""
        return PacketFramer(self.head, self._size, b"", self.check)

    def _size(self, start: bytearray) -> int | None:
        end = self.length_at + self.length_bytes
        if len(start) < end:
            return None
        size = int.from_bytes(start[self.length_at : end], self.order) + self.overhead
        return size if size <= self.limit else 0


class PacketFramer:
    """Finds packets by their head; after a failed check it looks for the next head one byte on."""

    silence_s = 0.0

    def __init__(
        self,
        head: bytes,
        size_of: Callable[[bytearray], int | None],
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

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes: every packet that they complete, head and tail included."""
        self._rest += chunk
        packets = []
        while self._align():
            size = self._size_of(self._rest)
            if size is None or len(self._rest) < size:
                break
            packet = bytes(self._rest[:size])
            if size and packet.endswith(self._tail) and (self._check is None or self._check(packet)):
                del self._rest[:size]
                packets.append(packet)
            else:
                self.bad += 1
                self.skipped += 1
                del self._rest[:1]
        return packets

    def rest(self) -> Iterable[bytes]:
        """Nothing: silence means nothing."""
        return ()

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


@dataclass(frozen=True, slots=True)
class Cobs:
    """Bodies of 1 to `limit` bytes, Consistent Overhead Byte Stuffing, a zero behind each.

    Source: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7
    (1999).
    """

    limit: int = 1024

    def framer(self) -> Framer:
        """A fresh framer for a port that was just opened."""
        from gateway.stuffing import CobsFramer  # few ports need it

        return CobsFramer(self.limit)

    def wrap(self, body: bytes) -> bytes:
        """A body as it goes out: stuffed, a zero behind it."""
        from gateway.stuffing import cobs

        return cobs(body)


@dataclass(frozen=True, slots=True)
class Slip:
    """Bodies of 1 to `limit` bytes, END (0xC0) behind each. Source: RFC 1055."""

    limit: int = 1024

    def framer(self) -> Framer:
        """A fresh framer for a port that was just opened."""
        from gateway.stuffing import SlipFramer

        return SlipFramer(self.limit)

    def wrap(self, body: bytes) -> bytes:
        """A body as it goes out: an END before it, as the RFC advises, and one behind."""
        from gateway.stuffing import slip

        return slip(body)


@dataclass(frozen=True, slots=True)
class ModbusRtu:
    """Requests and answers of Modbus RTU, address and CRC included.

    The standard ends a frame by a silence of 3.5 characters. A USB adapter hands bytes over every 1 to 16
    ms, so here a frame is whole once its length fits its function and its CRC is right; silence only tells
    that what is left over was noise. `silence_s` is therefore longer than the standard's.
    """

    silence_s: float = 0.05

    def framer(self) -> Framer:
        """A fresh framer for a port that was just opened."""
        from gateway.rtu import RtuFramer

        return RtuFramer(self.silence_s)

    def wrap(self, body: bytes) -> bytes:
        """Address and PDU as they go out, the CRC behind them."""
        from gateway.rtu import crc16

        return body + crc16(body).to_bytes(2, "little")
