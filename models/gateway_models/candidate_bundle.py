"""Packs networks that were learned with a city's own recordings into a bundle like the one before."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bundle import Bundle, load_bundle
from gateway.manifest import Manifest
from gateway_models import clips
from gateway_models.calibrate import Calibration
from gateway_models.candidate_job import Job
from gateway_models.export import GOLDEN_SOUNDS, golden_sound, nets_of
from gateway_models.network import Array, Layer
from gateway_models.pack import SYNTHESIS, About, pack

_SIZE_MAX: Final = 256 << 10  # bytes: it comes with no package that would have to stay small


def write_candidate(
    folder: Path,
    job: Job,
    networks: Mapping[str, Sequence[Layer]],
    pictures: Mapping[str, Array],
    calibration: Calibration | None,
) -> Bundle:
    """A bundle of one network per look; `pictures` [n, rows, bands, 1] of each give int8 its ranges.

    Thresholds, budgets and credits are those of the job's old bundle, and so is its calibration if there is
    no other. It is signed with a key that nobody keeps: whoever finds it better signs it.
    """
    old = load_bundle(Path(job.old)).manifest
    return pack(
        folder,
        _about(job, old, calibration),
        [
            net
            for look, layers in networks.items()
            for net in nets_of(look, layers, pictures[look], f"{job.name} {job.version} {look}")
        ],
        sounds=[golden_sound(job.seed, number) for number in range(GOLDEN_SOUNDS)],
        sounds_hz=clips.RATE_HZ,
        card=_card(job, old),
        key=Ed25519PrivateKey.generate(),
        size_max=_SIZE_MAX,
    )


def _about(job: Job, old: Manifest, calibration: Calibration | None) -> About:
    """As the old bundle, but for what was learned. Its thresholds stay: calibrated, they mean the same."""
    stacking = calibration if calibration is not None else old.calibration
    synthesis = {"name": SYNTHESIS, "licence": old.licence, "clips": job.gun_clips + job.other_clips}
    return About(
        name=job.name,
        version=job.version,
        created=time.strftime("%Y-%m-%d", time.gmtime()),
        licence=old.licence,
        credits=old.credits,
        recipe="gateway model learn",
        seed=job.seed,
        sources=[*job.sources, *([synthesis] if synthesis["clips"] else [])],
        calibration={look: (stacking[look].weights, stacking[look].offset) for look in stacking},
        thresholds={
            label: {"sure": each.sure, "margin": each.margin}
            | ({} if each.unsure is None else {"unsure": each.unsure})
            for label, each in old.thresholds.items()
        },
        tolerance={name: variant.tolerance for name, variant in old.variants.items()},
        latency_ms=dict(old.budget.latency_ms),
        memory_mib=old.budget.memory_mib,
        labels=old.labels,
        reports=old.reports,
    )


def _card(job: Job, old: Manifest) -> str:
    others = sum(source["clips"] for source in job.sources) - job.own_clips
    return (
        f"# {job.name} {job.version}\n\n"
        f"Learned with the recipe of {old.name} {old.version} from {job.own_clips} clips of its owner,\n"
        f"{others} other recordings and {job.gun_clips + job.other_clips} synthetic clips; the manifest\n"
        "names the sources. What that bundle's card says it is not, this one is not either. Its\n"
        "thresholds are that bundle's. How it compares on sessions that it did not learn from:\n"
        "comparison.json, which `gateway model learn` wrote beside it.\n"
    )
