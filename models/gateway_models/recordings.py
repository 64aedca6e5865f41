"""How a clip of a folder of recordings (gateway_models.labelled) is made ready to be heard.

A clip begins and ends somewhere; a microphone does not. Before and after a clip there is noise with the
level and the spectrum of its quietest tenth of a second, so that neither silence nor a mirrored bang is
heard there. Training and judging both go through `prepare`.
"""

import zlib
from typing import Final

import numpy as np

from gateway.features import resample
from gateway.media import Pcm
from gateway_models.labelled import Clip, Unreadable, read_manifest, read_pcm
from gateway_models.waves import Rng, Wave, add, fast_length, rms

RATE_HZ: Final = 16_000
BEFORE_S: Final = 0.6
AFTER_S: Final = 3.2
EDGE_S: Final = 0.15  # a bang this close to the start of an excerpt is the tail of what was cut off
__all__ = ["Clip", "Unreadable", "prepare", "read_clip", "read_manifest", "read_pcm"]
_QUIET_S: Final = 0.1
FADE_S: Final = 0.06
_PARTS: Final = 8  # a clip of less than 0.8 s is searched in shorter pieces: not all of it is the bang
_BLOWS: Final = ("door", "knock", "footstep", "walk", "smash", "hit", "axe", "shovel", "obstacle", "trunk")
_NO_BLOWS: Final = ("creak", "fail_glass", "swing")
_AT_A_TIME: Final = 256  # pieces looked at: 25 seconds
_LEAST: Final = 0.5  # RMS of a fill in steps of 16 bits: what rounding alone leaves


def read_clip(clip: Clip) -> Pcm:
    """Its samples at RATE_HZ, without the digital silence around them; empty if there is nothing else.

    Raises Unreadable.
    """
    pcm, rate_hz = read_pcm(clip.file)
    pcm = trimmed(pcm)
    if rate_hz == RATE_HZ:
        return pcm
    sound = resample(pcm.astype(np.float32), rate_hz, RATE_HZ)
    changed: Pcm = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    return changed


def trimmed(pcm: Pcm) -> Pcm:
    """Without leading and trailing zeros."""
    sounding = pcm != 0
    if not sounding.any():
        return pcm[:0]
    return pcm[int(sounding.argmax()) : len(pcm) - int(sounding[::-1].argmax())]


def prepare(pcm: Pcm, rate_hz: int) -> tuple[Pcm, int, int]:
    """A clip with noise like its own quietest moment for BEFORE_S before it and AFTER_S after it.

    Returns the longer PCM and where in it the clip begins and ends (first sample, sample after the last).
    The same clip is always given the same noise. Only the ends are computed with: a clip may last an hour.
    """
    clip = trimmed(pcm)
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pcm).data))
    before, after, ramp = round(BEFORE_S * rate_hz), round(AFTER_S * rate_hz), round(FADE_S * rate_hz)
    inner = clip[ramp : len(clip) - ramp] if len(clip) > 8 * ramp else clip
    noise = fill(rng, inner, before + after + 2 * ramp, rate_hz, least=_LEAST)
    # Excerpts are often faded in and out: the noise goes on for as long into the clip, and fades itself.
    fading = np.cos(np.linspace(0.0, np.pi / 2, ramp, endpoint=False)) ** 2
    lead = noise[: before + ramp] * np.concatenate((np.ones(before), fading))
    tail = noise[before + ramp :] * np.concatenate((fading[::-1], np.ones(after)))
    longer: Pcm = np.concatenate((np.zeros(before, np.int16), clip, np.zeros(after, np.int16)))
    tail_at = before + len(clip) - ramp
    apart = len(clip) >= 2 * ramp
    for begin, end in ((0, len(lead)), (tail_at, len(longer))) if apart else ((0, len(longer)),):
        sound = longer[begin:end].astype(np.float64)
        add(sound, lead, -begin)
        add(sound, tail, tail_at - begin)
        longer[begin:end] = np.clip(np.round(sound), -32768, 32767)
    return longer, before, before + len(clip)


def fill(rng: Rng, wave: Wave | Pcm, count: int, rate_hz: int, least: float = 1e-5) -> Wave:
    """`count` samples of noise with the level and spectrum of the quietest tenth of a second of `wave`.

    Pieces of digital silence are passed over. The level is at least `least` (RMS).
    """
    size = max(1, min(round(_QUIET_S * rate_hz), len(wave) // _PARTS))
    noise: Wave = rng.standard_normal(count)
    whole = len(wave) // size
    pieces = wave[: whole * size].reshape(whole, size)
    level = np.concatenate([np.zeros(0), *(_levels(pieces, at) for at in range(0, whole, _AT_A_TIME))])
    if not (level > 0.0).any():
        return noise * least
    quiet = int(np.argmin(np.where(level > 0.0, level, np.inf)))
    magnitude = np.abs(np.fft.rfft(_swinging(pieces[quiet : quiet + 1])[0] * np.hanning(size + 2)[1:-1]))
    magnitude = _smooth(magnitude)
    length = fast_length(count)
    spectrum = np.fft.rfft(noise, length)
    at = np.linspace(0.0, len(magnitude) - 1.0, len(spectrum))
    shaped: Wave = np.fft.irfft(spectrum * np.interp(at, np.arange(len(magnitude)), magnitude), length)[
        :count
    ]
    return shaped * (max(float(level[quiet]), least) / rms(shaped))


def _levels(pieces: Wave | Pcm, first: int) -> Wave:
    """RMS of some pieces (rows), from the number `first` on."""
    levels: Wave = np.sqrt(np.mean(_swinging(pieces[first : first + _AT_A_TIME]) ** 2, axis=1))
    return levels


def _swinging(pieces: Wave | Pcm) -> Wave:
    """Pieces (rows) without their means."""
    sound: Wave = pieces.astype(np.float64)
    sound -= sound.mean(axis=1, keepdims=True)
    return sound


def _smooth(magnitude: Wave) -> Wave:
    """Averaged in power over 15 % of its frequency to either side, so that it holds no line by chance."""
    total = np.concatenate(([0.0], np.cumsum(magnitude**2)))
    at = np.arange(len(magnitude))
    reach = np.maximum(2, (0.15 * at).astype(np.intp))
    low, high = np.maximum(0, at - reach), np.minimum(len(magnitude), at + reach + 1)
    smooth: Wave = np.sqrt((total[high] - total[low]) / (high - low))
    return smooth


def class_of(clip: Clip) -> str:
    """What a model should call the clip: one of the labels of `gateway_models.windows`.

    A manifest says gunshot or negative; what kind of negative is read from its kind and file name.
    """
    if clip.is_gunshot:
        return "gunshot"
    words = f"{clip.kind} {clip.file.stem}".lower()
    if "firework" in words or "firecracker" in words:
        return "firework"
    if ("glass" in words or "window_smash" in words) and "fail" not in words:
        return "glass"
    if any(word in words for word in _BLOWS) and not any(word in words for word in _NO_BLOWS):
        return "impact"
    return "other"
