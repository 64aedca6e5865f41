"""A street to listen to, synthesised: traffic and wind, shots with their echoes, and bangs that are none.

For the demo and for tests on a box: numpy only. What is in a scene is known exactly, so that what a box
heard can be compared with what there was.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.media import Pcm
from gateway_models import bangs as all_bangs
from gateway_models import shots as all_shots
from gateway_models import street
from gateway_models.waves import add, gain

RATE_HZ: Final = 16_000
BANGS: Final = tuple(all_bangs.KINDS)
_NOISE_DB: Final = -50.0  # RMS of the street's own noise, under full scale
_SHOT_DB: Final = (-13.0, -7.0)  # peak: a few hundred metres away
_BANG_DB: Final = (-20.0, -8.0)


def scene(
    seconds: float,
    rate_hz: int = RATE_HZ,
    seed: int = 0,
    shots: Sequence[float] = (),
    bangs: Sequence[tuple[float, str]] = (),
) -> Pcm:
    """int16 PCM, one channel, of a street.

    `shots` are the times (s) at which each shot is first heard; `bangs` are times and kinds (BANGS).
    The same arguments give the same samples. Raises KeyError for a kind that is not in BANGS.
    """
    rng = np.random.default_rng(seed)
    wave = gain(_NOISE_DB) * street.background(rng, int(seconds * rate_hz), rate_hz)
    for at in shots:
        source, _ = all_shots.shot(rng, rate_hz)
        heard = street.travel(rng, source, rate_hz, near=False)
        add(wave, gain(rng.uniform(*_SHOT_DB)) * heard, round(at * rate_hz))
    for at, kind in bangs:
        near = rng.random() < all_bangs.KINDS[kind].near
        heard = street.travel(rng, all_bangs.bang(rng, rate_hz, kind), rate_hz, near=near)
        add(wave, gain(rng.uniform(*_BANG_DB)) * heard, round(at * rate_hz))
    return street.to_pcm(wave)
