"""Silver on a serial line: a real worker on a real pty, with the emulator, or a capture, as the device."""

import re
import time
from pathlib import Path
from typing import Any, Final

from gateway.driver import SerialDriver
from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.kit.exchange import Played, best_case
from gateway_hil.kit.quick import EVERY_S
from gateway_hil.kit.rules import Failure, NotAsked
from gateway_hil.kit.stand import Place
from gateway_hil.kit.subject import Case, Subject

PACE_S: Final = 0.1  # between two packets of a device that talks by itself
BACK_S: Final = 2.0  # promised: the first reading after a replug
ROUNDS: Final = 10
_BYTE_S: Final = 0.001  # of a drip
_FLOOD_S: Final = 2.0
_GROWTH_MAX_KB: Final = 60.0  # per 1,000 rounds of a flood; a page is 4, and a frame kept is 33 or more
_SHARE: Final = 0.9


class Player(SerialEmulator):
    """A capture on a wire, for a driver without an emulator."""

    def __init__(self, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._played = Played(case)
        if self._played.every_s is None:
            self.every_s = None
        self.wanted = case.settings

    def packet(self) -> bytes:
        """The next packet of the capture."""
        return self._played.packet()

    def heard(self, chunk: bytes) -> bytes:
        """What the device once answered."""
        return self._played.heard(chunk) if self.every_s is None else b""


def device(subject: Subject, pace_s: float = PACE_S) -> Any:
    """The emulator, or the best capture, at this pace unless it only answers."""
    if subject.emulator is None:
        case = best_case(subject)
        asked = subject.is_asked and Played(case).every_s is not None
        made: Any = Player(case, every_s=pace_s)
        if asked:  # a capture that holds only answers
            made.every_s = None
        return made
    emulator = subject.emulated()
    if emulator.every_s is not None:
        emulator.every_s = pace_s
    return emulator


def dripping(subject: Subject) -> Any:
    """At a pace that leaves time for each of a packet's bytes by itself."""
    length = max(len(device(subject).packet()), 1)
    return device(subject, max(PACE_S, 3 * length * _BYTE_S))


def noise(place: Place) -> str:
    """Five bursts of noise between the packets: the worker lives, and reads on."""
    for _ in range(5):
        place.device.garbage(64)
        time.sleep(0.15)
    place.alive("of noise")
    seen = place.reading(BACK_S + _late_s(place), "after noise between its frames")
    place.alive("of noise")
    return f"read on after {_since(seen.came_ns, place):.2f} s"


def truncation(place: Place) -> str:
    """Some packets cut in half: no more than the frames that they touch are lost."""
    count = 2 if place.subject.is_asked else 3  # a third answer missed in a row would make it away
    place.device.truncate(count)
    place.wait_rounds(count, 10)
    return _most_of(place, ROUNDS, f"after {'two' if count == 2 else 'three'} packets that were cut in half")


def drip(place: Place) -> str:
    """Byte by byte: each packet is still as many readings as in one piece."""
    place.device.drip(_BYTE_S)
    place.wait_rounds(2, 10)
    try:
        text = _most_of(place, 6, "where its packets come byte by byte", within_s=15)
    finally:
        place.device.drip(0)
    codes = [record.body["code"] for record in place.box.records(place.sensor, "health")]
    if place.subject.emulator is not None and "bad_frames" in codes:  # a capture may hold some of its own
        raise Failure("packets that come byte by byte are counted as bad frames; let the framing cut them")
    return text


def stall(place: Place) -> str:
    """Silence for a second and a half: nothing ends, and the first word after it counts."""
    place.device.stall()
    time.sleep(1.5)
    place.alive("of silence")
    place.device.stall(False)
    spoke_ns = time.monotonic_ns()
    seen = place.reading(BACK_S + _late_s(place), "after a silence", since_ns=spoke_ns)
    return f"first reading {(seen.came_ns - spoke_ns) / 1e9:.2f} s after it"


def unplug(place: Place) -> str:
    """Out, and in again: a reading within two seconds, and at least nine of ten packets are read."""
    place.wait_rounds(3, 10)  # a driver may know from the first ones what the others are
    place.device.unplug()
    try:
        place.box.health(place.sensor, "port_gone", 5)
    except AssertionError:
        raise Failure(f"nobody noticed that it was unplugged{place.why()}") from None
    replugged_ns = time.monotonic_ns()
    place.device.replug()
    seen = place.reading(BACK_S, "after it was plugged in again", since_ns=replugged_ns)
    text = _most_of(place, ROUNDS, "after it was plugged in again")
    place.alive("of an unplug")
    return f"first reading after {(seen.came_ns - replugged_ns) / 1e9:.2f} s; {text}"


def clock(place: Place) -> str:
    """The wall clock jumps by an hour: readings come on, at their own pace, in monotonic time."""
    begin_ns = time.monotonic_ns()
    text = _most_of(place, 2 * ROUNDS, "while the wall clock jumps; time in a driver is time.monotonic()")
    for seen in place.readings(begin_ns):
        if not 0 <= seen.came_ns - seen.t_ns < 2e9 * place.box.slowness:
            raise Failure(f"a reading is stamped {(seen.came_ns - seen.t_ns) / 1e9:.1f} s before it came")
    place.alive("of a clock that jumps")
    return text


def fast(place: Place) -> str:
    """Ten times as often as it usually talks."""
    if place.device.every_s is None:
        raise NotAsked("it only answers, so the box sets the pace")
    # `usual` was found without pauses, where one that leaves out what comes fast gave less: ask it in time.
    begin_ns, first = time.monotonic_ns(), place.device.rounds
    place.wait_rounds(ROUNDS, 10)
    in_time = min(1.0, len(place.readings(begin_ns)) / max(1, place.device.rounds - first))
    if in_time > place.usual + 0.2:  # by more than what is cut at either end
        place.usual = in_time - 0.1
    before_s, place.device.every_s = place.device.every_s, max(0.01, PACE_S / 10)
    try:
        return _most_of(place, 5 * ROUNDS, "at ten times its pace")
    finally:
        place.device.every_s = before_s


def flood(place: Place) -> str:
    """Without a pause: the worker lives, hears, and reads on at the usual pace afterwards."""
    _flooded(place)
    if place.device.every_s is None:
        for _ in range(20):
            place.device.garbage(4096)
            time.sleep(0.02)
    else:
        time.sleep(_FLOOD_S)
    _calm(place)
    place.alive("of a flood")
    seen = place.reading(5 + _late_s(place), "after a flood")
    place.alive("of a flood")
    return f"{place.device.rounds} packets; read on after {_since(seen.came_ns, place):.2f} s"


def memory(place: Place) -> str:
    """What the worker holds for itself must not grow with the frames it has read."""
    if place.device.every_s is None:
        raise NotAsked("it only answers, and cannot be asked ten thousand times in a second; see `lasting`")
    _flooded(place)
    try:
        place.wait_rounds(4000, 5)
        sizes, rounds = [], []
        for _ in range(3):
            sizes.append(own_kb(place.box.pids().get(place.port, 0)))
            rounds.append(place.device.rounds)
            place.wait_rounds(4000, 3)
    finally:
        _calm(place)
    slopes = [
        (after - before) * 1000 / max(1, later - earlier)
        for before, after, earlier, later in zip(sizes, sizes[1:], rounds, rounds[1:], strict=False)
    ]
    slope = min(slopes)
    if slope > _GROWTH_MAX_KB:
        raise Failure(
            f"the worker grows by {slope:.0f} kB per 1,000 packets; see the rule `lasting` for where"
        )
    return f"{slope:+.1f} kB per 1,000 packets"


def stop(place: Place) -> str:
    """Asked to end while it is flooded, or waits for an answer: it ends within two seconds."""
    if place.subject.is_asked:
        place.device.stall()
        time.sleep(EVERY_S + 0.3)
        return f"{place.terminate():.2f} s, with a question unanswered"
    _flooded(place)
    time.sleep(0.3)
    return f"{place.terminate():.2f} s, in a flood"


def own_kb(pid: int) -> int:
    """KiB that a process has for itself. Raises Failure if it is not there."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        raise Failure("the worker died") from None
    return sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.MULTILINE))


def _flooded(place: Place) -> None:
    if place.device.every_s is not None:
        place.device.every_s = 0.0
        place.device.stall(False)  # wakes it


def _calm(place: Place) -> None:
    if place.device.every_s is not None:
        place.device.every_s = PACE_S


def _most_of(place: Place, rounds: int, what: str, within_s: float = 10.0) -> str:
    """Nine of ten rounds are as many readings as they should be."""
    begin_ns, first = time.monotonic_ns(), place.device.rounds
    place.wait_rounds(rounds, within_s)
    spoke = place.device.rounds - first
    got, wanted = len(place.readings(begin_ns)), place.usual * spoke
    place.alive(what)
    if not spoke:
        raise Failure(f"the device did not speak once {what}: the driver asks no more{place.why()}")
    if got < _SHARE * wanted - (place.usual < 1) - 1e-9:  # a conversation may be cut at either end
        raise Failure(f"{spoke} packets gave {got} readings {what}; they should give {wanted:g}")
    return f"{got} readings of {spoke} packets"


def _late_s(place: Place) -> float:
    """How long the next word may take without anything being wrong."""
    kind = place.subject.kind
    answer_s = kind.answer_s * 3 if issubclass(kind, SerialDriver) and place.subject.is_asked else 0.0
    return float(place.device.every_s or EVERY_S) + answer_s


def _since(t_ns: int, place: Place) -> float:
    del place
    return max(0.0, (time.monotonic_ns() - t_ns) / 1e9)
