"""How often a street without shots raises an alarm: `python -m gateway_models.streetalarms [MINUTES]`.

For information: the street and its bangs are synthesised (gateway_models.scene), six bangs a minute that are
none of them shots, and the bundles learned from the same simulator. It shows what a box does all day with
what is no shot; what a real street does to it, recordings must say. Runs in a box's environment (TFLite).
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.acousticpath import judge_of
from gateway.bundle import load_bundle
from gateway.media import Pcm
from gateway_models.bundles import gunshot, gunshot_synthetic
from gateway_models.hearing import judged, play, reported
from gateway_models.judgement import Heard, rates
from gateway_models.labelled import NEGATIVE, Clip
from gateway_models.scene import BANGS, RATE_HZ, scene

MINUTES: Final = 60
_STREET_S: Final = 300.0  # each with a seed, and so a background, of its own
_EVERY_S: Final = 10.0
_FREE_S: Final = 4.0  # after a bang, at least
_CLIP: Final = Clip(Path("street"), NEGATIVE, "street", "synthesis", "street", "", "", False)


def streets(minutes: float) -> Iterator[Pcm]:
    """So many minutes of street, in pieces of five; the same ones each time."""
    for seed in range(max(1, round(60.0 * minutes / _STREET_S))):
        rng = np.random.default_rng([11, seed])
        times = np.arange(1.0, _STREET_S - _EVERY_S, _EVERY_S)
        at = times + rng.uniform(0.0, _EVERY_S - _FREE_S, len(times))
        kinds = rng.choice(BANGS, len(at))
        bangs = [(float(when), str(kind)) for when, kind in zip(at, kinds, strict=True)]
        yield scene(_STREET_S, seed=seed, bangs=bangs)


def heard_by(folders: Sequence[Path], minutes: float) -> list[dict[str, Any]]:
    """What each bundle makes of the same streets, with a box's limiter: `judgement.rates` of each."""
    judges = [judge_of(load_bundle(folder)) for folder in folders]
    found: list[list[Heard]] = [[] for _ in folders]
    for pcm in streets(minutes):
        for judge, heard in zip(judges, found, strict=True):
            verdicts, took = play(judge, pcm, RATE_HZ, limited=True)
            events = tuple(reported(judge, verdicts))
            bangs = tuple(judged(verdicts, 0, RATE_HZ))
            heard.append(Heard(_CLIP, took.sound_s, bangs, events))
    return [rates(heard) for heard in found]


def main() -> int:
    """Print a row for each shipped bundle."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    folders = (gunshot, gunshot_synthetic)
    print("a synthesised street, six bangs a minute, none a shot; an hour has")
    for folder, row in zip(folders, heard_by(folders, minutes), strict=True):
        counts = ", ".join(f"{row[f'{name}_per_hour']:.1f} {name}" for name in ("onsets", "pulses", "alarms"))
        print(f"{folder.name:<20}{counts} ({60 * row['hours']:.0f} minutes heard)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
