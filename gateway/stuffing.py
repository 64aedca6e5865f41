"""Framings that stuff bytes, so that the byte which ends a frame stands nowhere in it: COBS and SLIP."""

from typing import Final

from gateway.framing import DelimitedFramer

END: Final = 0xC0
ESC: Final = 0xDB
ESC_END: Final = 0xDC
ESC_ESC: Final = 0xDD
_RUN_MAX: Final = 254  # bytes after one code of COBS


class StuffedFramer(DelimitedFramer):
    """Splits at `end` and takes the stuffing out. What is stuffed wrongly is counted as bad."""

    def __init__(self, end: bytes, longest: int, limit: int) -> None:
        super().__init__(end, longest)
        self._limit = limit

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes: every body that they complete."""
        bodies = []
        for part in self._split(chunk):
            if not part:
                continue
            body = self.plain(part)
            if body is None or len(body) > self._limit:
                self.bad += 1
                self.skipped += len(part) + 1
            elif body:
                bodies.append(body)
        return bodies

    def plain(self, part: bytes) -> bytes | None:
        """The body in what stood between two ends; None if it is stuffed wrongly."""
        raise NotImplementedError


class CobsFramer(StuffedFramer):
    """Consistent Overhead Byte Stuffing; see `gateway.framing.Cobs`."""

    def __init__(self, limit: int) -> None:
        super().__init__(b"\0", limit + limit // _RUN_MAX + 1, limit)

    def plain(self, part: bytes) -> bytes | None:
        """Each code says where the next zero of the body stood; 255 says that none did so far."""
        body = bytearray()
        at = 0
        while at < len(part):
            code = part[at]
            if at + code > len(part):
                return None
            body += part[at + 1 : at + code]
            at += code
            if code <= _RUN_MAX and at < len(part):
                body.append(0)
        return bytes(body)


class SlipFramer(StuffedFramer):
    """Serial Line IP; see `gateway.framing.Slip`."""

    def __init__(self, limit: int) -> None:
        super().__init__(bytes((END,)), 2 * limit, limit)

    def plain(self, part: bytes) -> bytes | None:
        """Two-byte codes stand for END and ESC; ESC before anything else is wrong."""
        first, *others = part.split(bytes((ESC,)))
        body = bytearray(first)
        for other in others:
            if not other or other[0] not in (ESC_END, ESC_ESC):
                return None
            body.append(END if other[0] == ESC_END else ESC)
            body += other[1:]
        return bytes(body)


def cobs(body: bytes) -> bytes:
    """A body stuffed, with the zero that ends it."""
    out = bytearray()
    for run in body.split(b"\0"):
        whole, rest = divmod(len(run), _RUN_MAX)
        for n in range(whole):
            out.append(_RUN_MAX + 1)
            out += run[n * _RUN_MAX : (n + 1) * _RUN_MAX]
        out.append(rest + 1)
        out += run[whole * _RUN_MAX :]
    out.append(0)
    return bytes(out)


def slip(body: bytes) -> bytes:
    """A body stuffed, between two ENDs."""
    stuffed = body.replace(bytes((ESC,)), bytes((ESC, ESC_ESC))).replace(bytes((END,)), bytes((ESC, ESC_END)))
    return bytes((END, *stuffed, END))
