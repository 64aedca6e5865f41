"""Bytes that nobody sent: arbitrary ones, and real frames with bits flipped, cut, doubled and joined.

They come through the driver's framing as on a line, with the framing's own check left out where there is
one: chance gets a sum of eight bits right often enough on a pole, and the driver must bear it.
"""

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gateway.driver import (
    Advertisement,
    BadFrame,
    BleDriver,
    Driver,
    Edge,
    GpioDriver,
    Notification,
    SerialDriver,
    Values,
)
from gateway.records import quantum
from gateway_hil.kit.exchange import Exchange, decoded, recorded
from gateway_hil.kit.rules import Failure
from gateway_hil.kit.subject import Subject

EXAMPLES: Final = 300
SEED: Final = 5
_LONGEST: Final = 300  # bytes in one stretch of noise

Look = Callable[[Driver, Values], None]


def repeatable(examples: int) -> settings:
    """As many examples, the same in each run, however slow the driver is."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def anything(subject: Subject) -> str:
    """Nothing but BadFrame is raised."""
    return _fuzzed(subject, lambda driver, values: None)


def declared(subject: Subject) -> str:
    """Whatever comes out is declared, and can travel."""

    def look(driver: Driver, values: Values) -> None:
        steps = {m.name: m.resolution for m in (*driver.emits, *driver.measures(driver.settings))}
        if odd := driver.undeclared(values, driver.measures(driver.settings)):
            raise Failure(f"{odd}; add a Measure to emits, or do not return it")
        if not values:
            raise Failure("decode returned an empty reading; where there is nothing to say, return None")
        for name, value in values.items():
            try:
                quantum(value, steps[name])
            except (ValueError, TypeError, OverflowError) as error:
                raise Failure(
                    f"{name} = {value!r} cannot travel ({error}); raise BadFrame for such a frame"
                ) from None

    for frame in recorded(subject):  # the real ones first: they reach further into a driver than noise
        driver = subject.driver()
        try:
            values = decoded(driver, frame)
        except BadFrame:
            continue
        if values is not None:
            look(driver, values)
    return _fuzzed(subject, look)


def _fuzzed(subject: Subject, look: Look) -> str:
    rounds = _rounds(subject)

    @seed(SEED)
    @repeatable(EXAMPLES)
    @given(rounds)
    def try_it(frames: list[Any]) -> None:
        driver = subject.driver()
        for values in _fed(driver, frames):
            look(driver, values)

    try_it()
    return f"{EXAMPLES} streams"


def _fed(driver: Driver, frames: list[Any]) -> list[Values]:
    """Everything that a driver makes of these: streams of bytes for a serial one, frames for the others."""
    if isinstance(driver, SerialDriver):
        return _heard(driver, frames)
    found = []
    for frame in frames:
        try:
            values = decoded(driver, frame)
        except BadFrame:
            continue
        if values is not None:
            found.append(values)
    return found


def _heard(driver: SerialDriver, stretches: list[bytes]) -> list[Values]:
    """A device that says just this, to whatever it is asked."""

    left = list(stretches)

    class Noise:
        every_s: float | None = None

        def packet(self) -> bytes:
            return left.pop(0) if left else b""

        def heard(self, chunk: bytes) -> bytes:
            del chunk
            return self.packet()

    loose = unchecked(driver)
    exchange = Exchange(loose, Noise())
    return [values for _ in stretches for values in exchange.round()]


def unchecked(driver: SerialDriver) -> SerialDriver:
    """The same driver behind its framing without the check."""
    framing: Any = driver.framing
    if not is_dataclass(framing) or getattr(framing, "check", None) is None:
        return driver
    kind = type(type(driver).__name__, (type(driver),), {"framing": replace(framing, check=None)})  # type: ignore[type-var]
    return kind(driver.settings)  # type: ignore[no-any-return]


def _rounds(subject: Subject) -> st.SearchStrategy[list[Any]]:
    known = recorded(subject)
    if issubclass(subject.kind, SerialDriver):
        return st.lists(_bytes(_streams(subject, known)), min_size=1, max_size=6)
    if issubclass(subject.kind, BleDriver):
        return st.lists(_heard_of(subject, subject.kind, known), min_size=1, max_size=6)
    if issubclass(subject.kind, GpioDriver):
        line = subject.settings.get("line", "LINE")
        edges = st.builds(Edge, st.just(line), st.booleans(), st.booleans(), st.integers(0, 10**6), st.none())
        asked = st.builds(Edge, st.just(line), st.booleans(), st.booleans(), st.integers(0, 9), st.booleans())
        return st.lists(st.one_of(edges, asked), min_size=1, max_size=12)
    return st.lists(_media(subject), min_size=1, max_size=4)


def _streams(subject: Subject, frames: list[bytes]) -> list[bytes]:
    """Frames as they stand on the line: framings cut off what they end with, so packets are better."""
    packets = list(frames)
    if subject.emulator is not None:
        emulator = subject.emulated()
        driver = subject.driver()
        assert isinstance(driver, SerialDriver)
        packets += [emulator.heard(driver.ask) if driver.ask else emulator.packet()]
    return [packet for packet in packets if packet]


def _bytes(known: list[bytes]) -> st.SearchStrategy[bytes]:
    if not known:
        return st.binary(max_size=_LONGEST)
    cut = st.tuples(st.integers(0, 64), st.integers(0, 8), st.binary(max_size=4))

    def edited(pair: tuple[bytes, list[tuple[int, int, bytes]]]) -> bytes:
        octets, edits = pair
        for at, length, put in edits:
            place = at % (len(octets) + 1)
            octets = octets[:place] + put + octets[place + length :]
        return octets

    real = st.tuples(st.sampled_from(known), st.lists(cut, max_size=3)).map(edited)
    ended = real.map(lambda octets: octets + b"\r\n")
    return st.one_of(real, ended, st.binary(max_size=_LONGEST), st.tuples(real, real).map(b"".join))


def _heard_of(subject: Subject, kind: type[BleDriver], known: list[Any]) -> st.SearchStrategy[Any]:
    address = str(subject.settings.get("address", "A4:C1:38:00:00:01")).upper()
    payloads = [octets for each in known for octets in _payloads(each)] or [b""]
    octets = _bytes(payloads)
    services = st.dictionaries(
        st.sampled_from([kind.service or "0" * 8 + "-0000-1000-8000-00805f9b34fb"]), octets
    )
    makers = st.dictionaries(st.integers(0, 0xFFFF), octets, max_size=2)
    found: list[st.SearchStrategy[Any]] = [
        st.builds(Advertisement, st.just(address), st.integers(-127, 20), services, makers)
    ]
    if uuids := (*kind.notify, *kind.read):
        found.append(st.builds(Notification, st.just(address), st.sampled_from(uuids), octets))
    return st.one_of(found)


def _payloads(frame: Any) -> list[bytes]:
    if isinstance(frame, Notification):
        return [frame.payload]
    if isinstance(frame, Advertisement):
        return [*frame.service_data.values(), *frame.manufacturer_data.values()]
    return []


def _media(subject: Subject) -> st.SearchStrategy[Any]:
    """Blocks of any samples, pictures of any bytes."""
    from gateway.media import AudioDriver, Block, Image

    if not issubclass(subject.kind, AudioDriver):
        encodings = st.sampled_from(["jpeg", "yuyv", "bmp"])
        sizes = st.integers(0, 64)
        return st.builds(Image, st.integers(0, 10**12), encodings, sizes, sizes, st.binary(max_size=_LONGEST))
    import numpy as np

    driver = subject.driver()
    assert isinstance(driver, AudioDriver)
    rate, channels = driver.rate_for(), driver.channels_for()

    def block(pair: tuple[int, list[int]]) -> Block:
        pcm = np.resize(np.array(pair[1], dtype=np.int16), (rate * driver.block_ms // 1000, channels))
        return Block(pair[0], 0, rate, 0, pcm)

    samples = st.lists(st.integers(-32768, 32767), min_size=1, max_size=32)
    return st.tuples(st.integers(0, 10**12), samples).map(block)
