"""From trained networks to a bundle: their files for the box's runtimes, and golden sounds."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.media import Pcm
from gateway_models import clips, street
from gateway_models.network import Array, Layer, forward
from gateway_models.pack import Net
from gateway_models.quantise import quantise
from gateway_models.tflite import write_tflite, write_whole
from gateway_models.waves import Rng
from gateway_models.windows import BEFORE_MS, SECOND_AFTER_MS, WindowSet, unpack

GOLDEN_SOUNDS: Final = 3
RANGES_FROM: Final = 384  # windows whose activations give int8 its ranges


def nets_of(look: str, layers: Sequence[Layer], pictures: Array, title: str) -> list[Net]:
    """Both variants of one look's network; `pictures` [n, rows, bands, 1] set the ranges of int8.

    Float32 keeps its weights as float16 and computes in float32; the oracle computes with those weights.
    """
    _, rows, bands, _ = pictures.shape
    whole = quantise(layers, pictures)
    f32 = write_tflite(layers, rows, bands, title, half=True)
    return [
        Net("f32", look, f32, lambda x: forward(layers, x)),
        Net("int8", look, write_whole(whole, rows, bands, title), whole.forward),
    ]


def range_pictures(rng: Rng, windows: WindowSet, look: str) -> Array:
    """Pictures of a look [n, rows, bands, 1], drawn from the training set."""
    chosen = np.sort(rng.permutation(len(windows))[:RANGES_FROM])
    return unpack(getattr(windows, look)[chosen])[..., None]


def golden_sound(seed: int, number: int) -> Pcm:
    """A synthetic sound as the looks see it: golden answers must not hold anybody's recording."""
    rng = np.random.default_rng([seed, number])
    drawn = clips.gunshots(rng) if number % 2 == 0 else clips.something_else(rng)
    wave = street.microphone(rng, drawn.wave + 0.001 * rng.standard_normal(len(drawn.wave)))
    before, after = (ms * clips.RATE_HZ // 1000 for ms in (BEFORE_MS, SECOND_AFTER_MS))
    padded = np.concatenate((np.zeros(before), wave, np.zeros(after)))
    return street.to_pcm(padded)[drawn.first : drawn.first + before + after]
