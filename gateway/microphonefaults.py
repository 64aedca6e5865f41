"""What is wrong with a microphone, judged by its samples alone: a pure machine that looks at each second.

Every fault must last: it begins when so many of the last seconds show it, and is over when none of the last
few does. So neither a quiet night nor rain, thunder or a shot is one. Levels are in steps of 16-bit PCM.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.media import Block
from gateway.reading import HealthCode

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]

_NOTHING: Final = 0.05  # rms; the quietest converter of 16 bits moves its last one more often
_SOME: Final = 30.0  # rms that is surely sound: -60 dB[FS]
_RAIL: Final = 32_700
_AT_RAIL: Final = 0.005  # share of samples
_TOP: Final = 0.97  # of the peak: what lies above is its top
_FLAT: Final = 0.35  # share of one side's samples on top; of a sine it is 0.16, of noise next to nothing
_LOUD: Final = 3_300  # peak from which flat tops are clipping: -20 dB[FS]
_OFFSET: Final = (1_300.0, 1_640.0)  # over below the first, bad above the second: 5 % of full scale
_EMPTY: Final = 0.01  # of the loudest channel: 40 dB, more than any place beside it makes
_TURNED: Final = -0.8  # correlation of two channels below 1500 Hz
_LOW_HZ: Final = 3_000  # what hum and correlation are looked at in, samples a second
_HUM: Final = (0.95, 0.3)  # share of the mains and its harmonics, and of 50 or 60 Hz itself
_MAINS_HZ: Final = (50, 60)
_PRINT: Final = 64  # samples that are looked for again
_PRINT_VALUES: Final = 8  # different ones among them, else it is too quiet to say
_TONE_S: Final = 0.005  # what repeats faster than this is a tone that somebody made


@dataclass(frozen=True, slots=True)
class Rule:
    """Begins when `need` of the last `of` seconds are bad, is over when none of the last `heal` is."""

    need: int
    of: int
    heal: int


RULES: Final = {
    HealthCode.MIC_SILENT: Rule(60, 60, 5),
    HealthCode.MIC_CONSTANT: Rule(10, 10, 5),
    HealthCode.MIC_CLIPPED: Rule(30, 60, 30),
    HealthCode.MIC_OFFSET: Rule(55, 60, 30),
    HealthCode.MIC_CHANNEL: Rule(55, 60, 15),
    HealthCode.MIC_REPEATS: Rule(10, 10, 5),
    HealthCode.MIC_HUM: Rule(60, 60, 15),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A fault that began or is over at `t_ns`. `channel` counts from 1; `text` says what was heard."""

    t_ns: int
    since_ns: int
    code: HealthCode
    channel: int
    text: str
    began: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one second: the channel that shows a fault, 0 if none does; None where it cannot be said."""

    channel: int | None = 0
    text: str = ""


class _Memory:
    """The last seconds of one fault."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._seconds: deque[tuple[int, bool]] = deque(maxlen=max(rule.of, rule.heal))
        self._since_ns: int | None = None
        self._worst = Verdict()

    def take(self, code: HealthCode, t_ns: int, verdict: Verdict) -> Change | None:
        if verdict.channel is None:
            return None
        is_bad = verdict.channel > 0
        self._seconds.append((t_ns, is_bad))
        if is_bad:
            self._worst = verdict
        bad = [at_ns for at_ns, was_bad in list(self._seconds)[-self._rule.of :] if was_bad]
        if self._since_ns is None and len(bad) >= self._rule.need:
            self._since_ns = bad[0]
            return self._change(code, t_ns, began=True)
        latest = list(self._seconds)[-self._rule.heal :]
        if (
            self._since_ns is not None
            and len(latest) == self._rule.heal
            and not any(was for _, was in latest)
        ):
            change = self._change(code, t_ns, began=False)
            self._since_ns = None
            self._seconds.clear()
            return change
        return None

    def _change(self, code: HealthCode, t_ns: int, *, began: bool) -> Change:
        assert self._since_ns is not None
        return Change(t_ns, self._since_ns, code, self._worst.channel or 1, self._worst.text, began)


class MicrophoneFaults:
    """One microphone's blocks, a second at a time. It holds one second, in memory."""

    def __init__(self) -> None:
        self._shape = (0, 0)
        self._next = 0  # the sample that should come
        self._held: list[Pcm] = []  # less than a second
        self._many = 0  # samples in it
        self._memories = {code: _Memory(rule) for code, rule in RULES.items()}
        self._places = Places()

    def look(self, block: Block) -> Iterator[Change]:
        """What began, and what is over, with this block."""
        shape = (block.rate_hz, block.pcm.shape[1])
        if shape != self._shape:
            self._shape, self._places = shape, Places()
            self._held, self._many = [], 0
        elif block.first != self._next:  # half a second is none
            self._held, self._many = [], 0
        self._next = block.first + len(block.pcm)
        self._held.append(block.pcm)
        self._many += len(block.pcm)
        if self._many < block.rate_hz:
            return
        pcm = np.concatenate(self._held)
        self._held, self._many = [pcm[block.rate_hz :]], len(pcm) - block.rate_hz
        for code, verdict in self._judge(pcm[: block.rate_hz]).items():
            change = self._memories[code].take(code, block.t_ns, verdict)
            if change is not None:
                yield change

    def _judge(self, pcm: Pcm) -> dict[HealthCode, Verdict]:
        rate_hz = self._shape[0]
        sound = pcm.astype(np.float32)
        mean = sound.mean(axis=0)
        sound -= mean
        rms = np.sqrt(np.einsum("ij,ij->j", sound, sound) / len(sound))
        low = _low(sound, rate_hz)
        verdicts = {
            HealthCode.MIC_SILENT: Verdict(),
            HealthCode.MIC_CONSTANT: Verdict(),
            HealthCode.MIC_CLIPPED: _clipped(pcm),
            HealthCode.MIC_OFFSET: _offset(mean),
            HealthCode.MIC_CHANNEL: _channel(pcm, rms, low),
            HealthCode.MIC_REPEATS: _repeats(pcm, rate_hz),
            HealthCode.MIC_HUM: _hum(rms, low),
        }
        if (rms < _NOTHING).all():
            if np.abs(mean).max() < 1:
                verdicts[HealthCode.MIC_SILENT] = Verdict(1, "nothing but zeros")
            else:
                channel = int(np.argmax(np.abs(mean)))
                verdicts[HealthCode.MIC_CONSTANT] = Verdict(channel + 1, f"always {mean[channel]:.0f}")
        swapped = self._places.look(rms)
        if swapped is not None and not verdicts[HealthCode.MIC_CHANNEL].channel:
            verdicts[HealthCode.MIC_CHANNEL] = swapped
        return verdicts


class Places:
    """How loud each channel is beside the others; two that change places for good were swapped.

    Known once it was steady for ten minutes, forgotten when the worker ends. Two channels of a pair that hear
    the same cannot be told apart by this, nor by anything else that they say.
    """

    LEARN_MIN: Final = 10
    STEADY_DB: Final = 1.5
    MOVED_DB: Final = 4.0  # at least so far from its own place
    NEAR_DB: Final = 1.5  # and so near to another's

    def __init__(self) -> None:
        self._seconds: list[Floats] = []
        self._minutes: deque[Floats] = deque(maxlen=self.LEARN_MIN)
        self._known: Floats | None = None

    def look(self, rms: Floats) -> Verdict | None:
        """The first of two swapped channels; None where it cannot be said."""
        if len(rms) < 2 or (rms < _SOME).any():
            return None
        level = 20.0 * np.log10(rms)
        self._seconds.append(np.asarray(level - level.mean(), dtype=np.float32))
        if len(self._seconds) == 60:
            self._minutes.append(np.median(self._seconds, axis=0).astype(np.float32))
            self._seconds = []
            self._learn()
        if self._known is None or not self._minutes:
            return None
        return self._swapped(self._known, self._minutes[-1])

    def _learn(self) -> None:
        if self._known is None and len(self._minutes) == self.LEARN_MIN:
            minutes = np.stack(self._minutes)
            if np.ptp(minutes, axis=0).max() <= self.STEADY_DB:
                self._known = minutes.mean(axis=0)

    def _swapped(self, known: Floats, now: Floats) -> Verdict:
        for one in range(len(known)):
            for other in range(one + 1, len(known)):
                after = known.copy()
                after[[one, other]] = known[[other, one]]
                moved = abs(float(now[one] - known[one])) >= self.MOVED_DB
                if moved and np.abs(now - after).max() <= self.NEAR_DB:
                    return Verdict(one + 1, f"as loud as channel {other + 1} was, and the other way round")
        return Verdict()


def _clipped(pcm: Pcm) -> Verdict:
    for channel in range(pcm.shape[1]):
        one = pcm[:, channel]
        highest, lowest = int(one.max()), int(one.min())
        if max(highest, -lowest) < _LOUD:
            continue
        at_rail = np.count_nonzero((one >= _RAIL) | (one <= -_RAIL)) / len(one)
        if at_rail >= _AT_RAIL:
            return Verdict(channel + 1, f"{at_rail:.1%} of the samples are as loud as there are numbers for")
        for side, peak in ((one, highest), (-one.astype(np.int32), -lowest)):
            flat = np.count_nonzero(side >= _TOP * peak) / max(1, np.count_nonzero(side > 0))
            if peak >= _LOUD and flat >= _FLAT:
                return Verdict(channel + 1, f"{flat:.0%} of the wave is a flat top")
    return Verdict()


def _offset(mean: Floats) -> Verdict:
    channel = int(np.argmax(np.abs(mean)))
    far = float(np.abs(mean[channel]))
    if far >= _OFFSET[1]:
        return Verdict(channel + 1, f"{mean[channel] / 32768:+.0%} of full scale off zero")
    return Verdict(0 if far < _OFFSET[0] else None)


def _channel(pcm: Pcm, rms: Floats, low: Floats) -> Verdict:
    loudest = float(rms.max())
    if len(rms) < 2 or loudest < _SOME:
        return Verdict(None if len(rms) > 1 else 0)
    for channel in range(len(rms)):
        if rms[channel] < _EMPTY * loudest:
            return Verdict(channel + 1, f"empty, while channel {int(rms.argmax()) + 1} is not")
    for channel in range(1, len(rms)):
        for other in range(channel):
            if np.array_equal(pcm[:, channel], pcm[:, other]):
                return Verdict(channel + 1, f"a copy of channel {other + 1}")
            size = float(np.linalg.norm(low[:, channel]) * np.linalg.norm(low[:, other]))
            if size > 0 and float(low[:, channel] @ low[:, other]) / size <= _TURNED:
                return Verdict(channel + 1, f"the opposite of channel {other + 1}")
    return Verdict()


def _repeats(pcm: Pcm, rate_hz: int) -> Verdict:
    """Whether this second is one piece, of at most half of it, over and over."""
    first = np.ascontiguousarray(pcm[:_PRINT])
    if len(np.unique(first)) < _PRINT_VALUES:
        return Verdict(None)
    step = 2 * pcm.shape[1]
    everything, look_for = np.ascontiguousarray(pcm).tobytes(), first.tobytes()
    found = everything.find(look_for, step)
    while found >= 0 and found % step:
        found = everything.find(look_for, found + 1)
    period = found // step
    if found < 0 or period > len(pcm) // 2 or period < _TONE_S * rate_hz:
        return Verdict()
    if everything[found:] != everything[:-found]:
        return Verdict()
    return Verdict(1, f"the same {1000 * period / rate_hz:.0f} ms over and over")


def _low(sound: Floats, rate_hz: int) -> Floats:
    """About 3000 samples a second, each the mean of some."""
    group = max(1, rate_hz // _LOW_HZ)
    whole = len(sound) // group * group
    mean: Floats = sound[:whole].reshape(-1, group, sound.shape[1]).mean(axis=1)
    return mean


def _hum(rms: Floats, low: Floats) -> Verdict:
    """Whether nearly all is mains: 50 or 60 Hz itself, not only twice that, as a ballast sounds."""
    channel = int(rms.argmax())
    if rms[channel] < _SOME:
        return Verdict(None)
    spectrum = np.abs(np.fft.rfft(low[:, channel] * np.hanning(len(low))))  # a bin is 1 Hz
    share_of_low = float((low[:, channel] ** 2).mean()) / float(rms[channel]) ** 2
    whole = float((spectrum**2).sum())
    if whole == 0.0:
        return Verdict()  # a tone of which the low sound holds nothing at all
    power = spectrum**2 * (share_of_low / whole)
    for mains in _MAINS_HZ:
        comb = 0.0
        for number in range(1, 16):
            around = number * mains
            comb += float(power[around - 2 - number // 4 : around + 3 + number // 4].sum())
        if comb >= _HUM[0] and float(power[mains - 2 : mains + 3].sum()) >= _HUM[1]:
            return Verdict(channel + 1, f"{comb:.0%} of what comes is {mains} Hz and its multiples")
    return Verdict()
