"""Writes a bundle: files, front end, golden vectors, manifest, signature; checked as a box would first.

    pack(folder, about, nets, sounds=..., sounds_hz=..., card=...)

Nothing is left to chance or to the clock: the same arguments and the same key give the same bytes.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bundle import Bundle, bundle_of, packed, unpacked
from gateway.bundlesign import own_key, sign
from gateway.errors import BundleError
from gateway.features import LogMel, MelStream, Samples, as_sound, picture
from gateway.manifest import CARD, FRONT_END, GOLDEN, MANIFEST, SCHEMA_VERSION, SIGNATURE, TASK, Look
from gateway.modellint import lint

FIRST: Final = Look("first", 250, 500, 1)
SECOND: Final = Look("second", 250, 2750, 2)
LABELS: Final = ("gunshot", "firework", "glass", "impact", "other")
REPORTS: Final = ("gunshot", "firework", "glass")
SYNTHESIS: Final = "synthesis (gateway_models)"  # as a source in a bundle's provenance
SIZE_MAX: Final = 200_000  # bytes of all files of a bundle that ships with the gateway
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first day a zip file knows

# Pictures float32 [n, rows, bands, 1] in, logits float32 [n, labels] out: what the network must answer.
Answers = Callable[[Samples], Samples]


@dataclass(frozen=True, slots=True)
class Net:
    """One network of the bundle: which, its .tflite file, and an oracle of what it answers."""

    variant: str  # "f32" or "int8"
    look: str
    content: bytes
    answers: Answers

    @property
    def file(self) -> str:
        """Its name in the bundle."""
        return f"{self.look}.{self.variant}.tflite"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the manifest says besides what can be computed (gateway.manifest explains the parts).

    `calibration` {look: (weights, offset)}; `thresholds` {label: {"sure", "margin", "unsure" for the
    first}}; `sources` [{"name", "licence", "clips"}]; `tolerance` in logits {variant: how far a golden
    answer may be off}; `latency_ms` {look: p99 on an x86 core}.
    """

    name: str
    version: str
    created: str
    licence: str
    credits: Sequence[str]
    recipe: str
    seed: int
    sources: Sequence[Mapping[str, Any]]
    calibration: Mapping[str, tuple[Sequence[float], float]]
    thresholds: Mapping[str, Mapping[str, float]]
    tolerance: Mapping[str, float]
    latency_ms: Mapping[str, float]
    memory_mib: int = 32
    figures: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = LABELS
    reports: Sequence[str] = REPORTS
    input: LogMel = field(default_factory=LogMel)
    looks: Sequence[Look] = (FIRST, SECOND)


def pack(
    folder: Path,
    about: About,
    nets: Sequence[Net],
    *,
    sounds: Sequence[npt.NDArray[np.int16]],
    sounds_hz: int,
    card: str,
    key: Ed25519PrivateKey | None = None,
    size_max: int = SIZE_MAX,
) -> Bundle:
    """Write the bundle into `folder` (made, or emptied of the files of an older one).

    `sounds` are the golden ones, int16 at `sounds_hz`: each begins `before_ms` before its first sample
    and lasts as long as the longest look; the first of them also proves the front end. Signed with
    `key`, else with the maker's own. Raises BundleError if what came out is no good bundle, or larger
    than `size_max` bytes.
    """
    files = {net.file: net.content for net in nets}
    if len(files) != len(nets):
        raise BundleError("pack needs one network for each look and variant")
    for net in nets:
        lint(net.content)
    tables = about.input.tables()
    files[FRONT_END] = npz({"window": tables.window, "mel": tables.mel})
    files[GOLDEN] = npz(_golden(about, nets, sounds, sounds_hz))
    files[CARD] = card.encode()
    manifest = (json.dumps(_manifest(about, nets, files), indent=1) + "\n").encode()
    files |= {MANIFEST: manifest, SIGNATURE: sign(manifest, key if key is not None else own_key())}
    if (size := sum(map(len, files.values()))) > size_max:
        largest = max(files, key=lambda name: len(files[name]))
        raise BundleError(f"the bundle has {size} bytes, over {size_max}; its largest file is {largest}")
    bundle = bundle_of(files, folder)
    bundle.check_front_end()
    _clear(folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return bundle


def pictures_of(sounds: Sequence[npt.NDArray[np.int16]], hz: int, look: Look, shape: LogMel) -> Samples:
    """The pictures [n, rows, bands] of a look at sounds that begin where it does, as a box makes them."""
    samples = (look.before_ms + look.after_ms) * hz // 1000
    return np.stack([_picture(pcm[:samples], hz, look, shape) for pcm in sounds])


def npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An .npz file without the time of its making."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            inside = io.BytesIO()
            np.save(inside, array, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", _EPOCH), inside.getvalue(), zipfile.ZIP_DEFLATED, 9
            )
    return out.getvalue()


def _picture(pcm: npt.NDArray[np.int16], hz: int, look: Look, shape: LogMel) -> Samples:
    stream = MelStream(shape.tables(), hz)
    power = np.concatenate((stream.push(as_sound(pcm)), stream.end()))
    frames = look.rows(shape) * look.pool
    if len(power) < frames:
        raise BundleError(f"a golden sound is shorter than look {look.name}: {len(pcm)} samples at {hz} Hz")
    return picture(power[:frames], look.pool, shape.floor_db)


def _golden(
    about: About, nets: Sequence[Net], sounds: Sequence[npt.NDArray[np.int16]], hz: int
) -> dict[str, npt.NDArray[Any]]:
    first = about.looks[0]
    arrays: dict[str, npt.NDArray[Any]] = {
        "pcm_hz": np.array(hz, np.int64),
        "pcm": sounds[0][: (first.before_ms + first.after_ms) * hz // 1000],
    }
    for look in about.looks:
        pixels = packed(pictures_of(sounds, hz, look, about.input))
        if look is first:
            arrays["seen"] = pixels[0]
        arrays[f"pictures_{look.name}"] = pixels
        for net in nets:
            if net.look == look.name:
                answers = np.asarray(net.answers(unpacked(pixels)[..., None]), np.float32)
                arrays[f"logits_{net.variant}_{look.name}"] = answers
    return arrays


def _manifest(about: About, nets: Sequence[Net], files: Mapping[str, bytes]) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for net in nets:
        variant = variants.setdefault(net.variant, {"looks": {}, "tolerance": about.tolerance[net.variant]})
        variant["looks"][net.look] = net.file
    return {
        "schema_version": SCHEMA_VERSION,
        "name": about.name,
        "version": about.version,
        "task": TASK,
        "created": about.created,
        "licence": about.licence,
        "credits": list(about.credits),
        "provenance": {
            "recipe": about.recipe,
            "seed": about.seed,
            "sources": [dict(source) for source in about.sources],
        },
        "labels": list(about.labels),
        "reports": list(about.reports),
        "input": about.input.manifest(),
        "looks": [
            {"name": look.name, "before_ms": look.before_ms, "after_ms": look.after_ms, "pool": look.pool}
            for look in about.looks
        ],
        "output": {"kind": "logits", "shape": [1, len(about.labels)]},
        "calibration": {
            look: {"weights": [float(w) for w in weights], "offset": float(offset)}
            for look, (weights, offset) in about.calibration.items()
        },
        "thresholds": {label: dict(threshold) for label, threshold in about.thresholds.items()},
        "variants": variants,
        "budget": {"memory_mib": about.memory_mib, "latency_ms": dict(about.latency_ms)},
        "figures": dict(about.figures),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        },
    }


def _clear(folder: Path) -> None:
    """Make the folder; what an older bundle left goes, anything else is a reason to stop."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name not in {MANIFEST, SIGNATURE, FRONT_END, GOLDEN, CARD} and path.suffix != ".tflite":
            raise BundleError(f"{path} is no part of a bundle; pack into another folder, or take it away")
        path.unlink()
