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
from gateway_models.waves import add, convolve, gain, log_uniform, peak

RATE_HZ: Final = 16_000
BANGS: Final = tuple(all_bangs.KINDS)
_NOISE_DB: Final = -50.0  # RMS of the street's own noise, under full scale
_SHOT_DB: Final = (-13.0, -7.0)  # peak: a block or two away
_BANG_DB: Final = (-26.0, -14.0)
_BANG_S: Final = 0.9  # no bang goes on for longer, so that one is over before the next
_MOSTLY: Final = 0.5  # a kind that is mostly heard from near by is near by in a scene
_SAME_GUN_S: Final = 2.0  # shots closer than this come from one gun at one place


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
    last, place_seed = -np.inf, 0
    for at in sorted(shots):
        if at - last > _SAME_GUN_S:
            place_seed = int(rng.integers(2**62))
        last = at
        same = np.random.default_rng(place_seed)
        gun = all_shots.draw_gun(same, all_shots.HAND_GUN)
        aim = all_shots.draw_aim(same, log_uniform(same, *street.STREET.distance_m))
        source, _ = all_shots.shot(gun, aim, rate_hz)
        heard = convolve(source, street.response(same, rate_hz, street.STREET, aim.distance_m))
        heard /= peak(heard)
        add(wave, gain(rng.uniform(*_SHOT_DB)) * heard, round(at * rate_hz))
    for at, kind in bangs:
        place = street.NEAR if all_bangs.KINDS[kind].near >= _MOSTLY else street.STREET
        source = all_bangs.bang(rng, rate_hz, kind)[: int(_BANG_S * rate_hz)]
        heard = street.travel(rng, source, rate_hz, place)
        add(wave, gain(rng.uniform(*_BANG_DB)) * heard, round(at * rate_hz))
    return street.to_pcm(wave)
