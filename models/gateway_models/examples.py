"""Labelled windows for training and for judging: synthetic clips, cut by the gateway's own stages.

What the network learns from has thus passed the same onset, the same window and the same features as
what it will meet on a pole; a bang that does not set off the onset is not in the set at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.acoustic import Cut, Onset, OnsetSettings, Window, WindowSettings
from gateway.features import as_sound
from gateway.media import Block, Pcm
from gateway.oldlogmel import LogMel
from gateway.stage import run_stages
from gateway_models import bangs, shots, street
from gateway_models.waves import Rng, Wave, add, gain, peak, rms

RATE_HZ: Final = 16_000
BEFORE_MS: Final = 250
AFTER_MS: Final = 500
SHAPE: Final = LogMel(rate_hz=RATE_HZ, samples=(BEFORE_MS + AFTER_MS) * RATE_HZ // 1000)
SHOT: Final = "shot"
QUIET: Final = "background"
_CLIP_S: Final = 2.8
_OTHER_BANG: Final = 0.3  # of the clips with shots: something else goes bang in them too
_NEAR_TRUTH_S: Final = (-0.010, 0.030)


@dataclass(frozen=True, slots=True)
class Example:
    """One window: its samples, what it is (SHOT, QUIET or a kind of bang), and how far it rises in dB."""

    kind: str
    pcm: Pcm
    rise_db: float


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Many windows. `pictures` float32 [n, frames, bands], `truth` 1 for a shot, `pcm` int16 [n, samples]."""

    pictures: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.str_]
    pcm: Pcm
    rise_db: npt.NDArray[np.float32]


def cut_all(pcm: Pcm, rate_hz: int, over_db: float = 9.0) -> list[Cut]:
    """Every bang in a recording, as the box would cut it; the end is mirrored, so that none is lost there."""
    stages = [
        Onset("mic", OnsetSettings(f"{over_db} dB")),
        Window("mic", WindowSettings(f"{BEFORE_MS} ms / {AFTER_MS} ms")),
    ]
    padded = np.pad(pcm, (0, rate_hz * AFTER_MS // 1000 + rate_hz // 10), "symmetric")
    cuts: list[Cut] = []
    size = rate_hz // 2
    for first in range(0, len(padded), size):
        t_ns = first * 1_000_000_000 // rate_hz
        block = Block(t_ns, 0, rate_hz, first, padded[first : first + size, None])
        cuts += run_stages(stages, block)
    return [cut for cut in cuts if cut.t_ns * rate_hz < len(pcm) * 1_000_000_000]


def shot_clip(rng: Rng) -> tuple[Pcm, list[float]]:
    """A clip with 1-5 rounds of one gun at one place, and when something of a round first arrives, in s."""
    seed = int(rng.integers(2**62))
    start, wave, truth = rng.uniform(0.4, 0.7), np.zeros(int(_CLIP_S * RATE_HZ)), []
    place = street.NEAR if rng.random() < 0.12 else street.FAR
    for later in shots.volley(rng):
        # The same gun and the same street for each round; only its loudness varies a little.
        same = np.random.default_rng(seed)
        source, arrivals = shots.shot(same, RATE_HZ)
        heard = street.travel(same, source, RATE_HZ, place)
        add(wave, heard * gain(rng.uniform(-3.0, 0.0)), int((start + later) * RATE_HZ))
        truth += [start + later + at / RATE_HZ for at in arrivals]
    if rng.random() < _OTHER_BANG:
        heard = _heard_bang(rng, str(rng.choice(list(bangs.KINDS))))
        add(wave, heard * gain(rng.uniform(-25.0, -5.0)), int(rng.uniform(-1.2, 1.2) * RATE_HZ))
    return _record(rng, wave), truth


def bang_clip(rng: Rng, kind: str) -> Pcm:
    """A clip with one kind of bang, or with nothing but the street's own noise."""
    wave = np.zeros(int(_CLIP_S * RATE_HZ))
    if kind != QUIET:
        add(wave, _heard_bang(rng, kind), int(rng.uniform(0.4, 0.9) * RATE_HZ))
    return _record(rng, wave)


def _heard_bang(rng: Rng, kind: str) -> Wave:
    place = street.NEAR if rng.random() < bangs.KINDS[kind].near else street.FAR
    return street.travel(rng, bangs.bang(rng, RATE_HZ, kind), RATE_HZ, place)


def _record(rng: Rng, wave: Wave) -> Pcm:
    """Add the street's noise, 6-50 dB under the peak's RMS, and what the microphone does."""
    noise = street.background(rng, len(wave), RATE_HZ)
    loud = peak(wave) if peak(wave) > 1e-9 else 1.0
    noise *= loud * gain(-float(rng.uniform(10.0, 50.0))) / rms(noise)
    return street.to_pcm(street.microphone(rng, wave + noise))


def draw(rng: Rng, clips: int) -> Iterator[Example]:
    """Windows of so many clips, two fifths of them with shots. Echoes of a shot are left out."""
    names = [*bangs.KINDS, QUIET]
    weights = np.array([*(kind.weight for kind in bangs.KINDS.values()), 0.7])
    for _ in range(clips):
        if rng.random() < 0.4:
            pcm, truth = shot_clip(rng)
            for cut in cut_all(pcm, RATE_HZ):
                if _is_near(cut.t_ns / 1e9, truth):
                    yield Example(SHOT, cut.pcm, _rise_db(cut))
            continue
        kind = str(rng.choice(names, p=weights / weights.sum()))
        pcm = bang_clip(rng, kind)
        yield from (Example(kind, cut.pcm, _rise_db(cut)) for cut in cut_all(pcm, RATE_HZ)[:6])
        if rng.random() < 0.15:
            at = int(rng.uniform(0.0, 1.0) * (len(pcm) - SHAPE.samples))
            yield Example(kind, pcm[at : at + SHAPE.samples], 0.0)


def _is_near(time_s: float, truth: Sequence[float]) -> bool:
    return any(_NEAR_TRUTH_S[0] <= time_s - t <= _NEAR_TRUTH_S[1] for t in truth)


def _rise_db(cut: Cut) -> float:
    """Peak over the RMS of what came before, in dB."""
    before = cut.pcm[: cut.before].astype(np.float64) / 32768.0
    return cut.level - 20.0 * float(np.log10(rms(before) + 1e-5))


def example_set(seed: int, clips: int) -> ExampleSet:
    """The windows of so many clips, as arrays. The same seed gives the same set."""
    found = list(draw(np.random.default_rng(seed), clips))
    pictures = np.stack([SHAPE.picture(as_sound(e.pcm)) for e in found])
    kinds = np.array([e.kind for e in found])
    rise_db = np.array([e.rise_db for e in found], np.float32)
    pcm = np.stack([e.pcm for e in found])
    return ExampleSet(pictures, (kinds == SHOT).astype(np.float32), kinds, pcm, rise_db)
