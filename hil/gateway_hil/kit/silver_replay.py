"""Silver where no serial line is: a real worker reads a capture that has in it what goes wrong on such a bus.

Advertisements, notifications and edges come whole or not at all, so some rules have nothing to ask here; what
a plug does, the kernel's own drivers are asked for on the ladder (gold).
"""

import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from gateway.capture import CaptureWriter
from gateway.driver import Advertisement, Edge, Notification
from gateway_hil.kit.lasting import frames_of
from gateway_hil.kit.rules import Failure
from gateway_hil.kit.stand import Place
from gateway_hil.kit.subject import Subject

PACE_NS: Final = 100_000_000
_LONG: Final = 600  # frames; at the usual pace a minute, longer than any check
_FLOOD: Final = 5000
_SEED: Final = 5

Timed = Iterator[tuple[int, Any]]


class Recording:
    """A capture as long as the check, in a file of its own. `rounds` is not known here: it just plays."""

    def __init__(self, subject: Subject, entries: Callable[[Iterator[Any]], Timed]) -> None:
        self._subject = subject
        self._entries = entries
        self._path = Path(tempfile.gettempdir()) / f"kit-{secrets.token_hex(6)}.txt"
        self.port = f"replay:{self._path}"

    def __enter__(self) -> Self:
        with self._path.open("w", encoding="ascii") as out:
            writer = CaptureWriter(out, {"driver": self._subject.name, "device": "what the kit makes of it"})
            for at_ns, frame in self._entries(frames_of(self._subject)):
                writer.add(at_ns, frame)
        return self

    def __exit__(self, *error: object) -> None:
        self._path.unlink(missing_ok=True)


def recording(entries: Callable[[Iterator[Any]], Timed]) -> Callable[[Subject], Recording]:
    """What hangs on the port of a rule."""
    return lambda subject: Recording(subject, entries)


def steady(frames: Iterator[Any]) -> Timed:
    """One frame after the other at the usual pace."""
    return ((n * PACE_NS, frame) for n, frame in enumerate(islice(frames, _LONG)))


def noisy(frames: Iterator[Any]) -> Timed:
    """Behind every good frame one that makes no sense, or a contact that bounces."""
    chance = random.Random(_SEED)
    for at_ns, frame in steady(frames):
        yield at_ns, frame
        for n, wrong in enumerate(_spoilt(frame, chance), 1):
            yield at_ns + n * PACE_NS // 100, wrong


def cut(frames: Iterator[Any]) -> Timed:
    """Behind every good frame its first half."""
    for at_ns, frame in steady(frames):
        yield at_ns, frame
        yield at_ns + PACE_NS // 2, _with_payload(frame, lambda octets: octets[: len(octets) // 2])


def paused(frames: Iterator[Any]) -> Timed:
    """A second and a half of silence after each second."""
    return ((at_ns + at_ns // 10**9 * 1_500_000_000, frame) for at_ns, frame in steady(frames))


def quick(frames: Iterator[Any]) -> Timed:
    """Ten times the pace."""
    return ((n * PACE_NS // 10, frame) for n, frame in enumerate(islice(frames, 10 * _LONG)))


def flooded(frames: Iterator[Any]) -> Timed:
    """Thousands of frames in half a second, then the usual pace."""
    step_ns = 500_000_000 // _FLOOD
    yield from ((n * step_ns, frame) for n, frame in enumerate(islice(frames, _FLOOD)))
    yield from ((at_ns + 600_000_000, frame) for at_ns, frame in steady(frames))


def lives(place: Place) -> str:
    """It reads on for two seconds, and its worker is the one of the beginning."""
    time.sleep(2)
    place.alive("of what came")
    place.reading(4, "after frames that make no sense")
    return f"{len(place.readings())} readings"


def keeps_up(place: Place) -> str:
    """Readings come as fast as frames do."""
    before, begin_s = len(place.readings()), time.monotonic()
    time.sleep(2)
    seconds = time.monotonic() - begin_s
    got = (len(place.readings()) - before) / seconds
    wanted = place.usual * 10e9 / PACE_NS
    place.alive("at ten times the usual pace")
    if got < 0.8 * wanted:
        raise Failure(f"{got:.0f} readings a second at ten times the usual pace; they should be {wanted:.0f}")
    return f"{got:.0f} readings a second"


def clock(place: Place) -> str:
    """The wall clock jumps by an hour: readings come on, at their own pace."""
    before, begin_s = len(place.readings()), time.monotonic()
    time.sleep(2.5)
    got = (len(place.readings()) - before) / (time.monotonic() - begin_s)
    wanted = place.usual * 1e9 / PACE_NS
    place.alive("of a clock that jumps")
    if got < 0.8 * wanted:
        raise Failure(f"{got:.1f} readings a second while the wall clock jumps; they should be {wanted:.1f}")
    return f"{got:.1f} readings a second"


def flood(place: Place) -> str:
    """After the flood it reads on at the usual pace."""
    place.alive("of a flood")
    place.reading(5, "after a flood")
    place.alive("of a flood")
    return f"{_FLOOD} frames; {len(place.readings())} readings"


def stop(place: Place) -> str:
    """Asked to end, its worker ends."""
    return f"{place.terminate():.2f} s"


def _spoilt(frame: Any, chance: random.Random) -> list[Any]:
    if isinstance(frame, Edge):
        level, edges = frame.rising, []
        for _ in range(6):  # an even number: the contact comes to rest where it was
            level = not level
            edges.append(Edge(frame.line, level, lost=chance.choice((0, 0, 3))))
        return edges

    def flip(octets: bytes) -> bytes:
        spoilt = bytearray(octets or b"\0")
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        return bytes(spoilt)

    return [_with_payload(frame, flip), _with_payload(frame, lambda octets: chance.randbytes(len(octets)))]


def _with_payload(frame: Any, change: Callable[[bytes], bytes]) -> Any:
    if isinstance(frame, Notification):
        return replace(frame, payload=change(frame.payload))
    assert isinstance(frame, Advertisement)
    services = {uuid: change(octets) for uuid, octets in frame.service_data.items()}
    makers = {maker: change(octets) for maker, octets in frame.manufacturer_data.items()}
    return replace(frame, service_data=services, manufacturer_data=makers)
