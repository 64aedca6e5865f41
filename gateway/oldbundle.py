"""Model bundles of schema 1; goes away with the last of them (see gateway.manifest for schema 2).

    manifest.json      name, version, labels, input definition, threshold, licence; size and hash of the rest
    model.f32.tflite   the network: one picture in, one score in 0..1 per label out
    golden.npz         pcm, inputs, expected, tolerance: what this model must answer, checked on every box
    card.md            what it was made from, what it can do and what it cannot

A bundle is named in a site file by the name of an entry point in group `gateway.bundles` (which leads
to a folder), or by the absolute path of a folder. Every file is read once, and what was hashed is what
runs. Whatever is wrong is a BundleError that says which file, and what to do.
"""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.errors import BundleError
from gateway.features import as_sound
from gateway.inference import Runner
from gateway.oldlogmel import LogMel
from gateway.reading import NAME

SCHEMA_VERSION: Final = 1
MODEL: Final = "model.f32.tflite"
GOLDEN: Final = "golden.npz"
CARD: Final = "card.md"
_FILES: Final = (MODEL, GOLDEN, CARD)
_FILE_MAX: Final = 64 * 1024 * 1024
_BUNDLE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_KEYS: Final = {
    "schema_version": int,
    "name": str,
    "version": str,
    "task": str,
    "labels": list,
    "threshold": float,
    "before_ms": int,
    "after_ms": int,
    "input": dict,
    "licence": str,
    "files": dict,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says, checked. `files` maps a file's name to its size and SHA-256 in hex."""

    name: str
    version: str
    task: str
    labels: tuple[str, ...]
    threshold: float
    before_ms: int
    after_ms: int
    input: LogMel
    licence: str
    files: dict[str, tuple[int, str]]

    @property
    def model(self) -> str:
        """First 8 bytes of the model file's SHA-256 as hex: what an event says of its model."""
        return self.files[MODEL][1][:16]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What the network takes: one picture with one channel."""
        return (1, self.input.frames, self.input.bands, 1)


@dataclass(frozen=True, slots=True)
class Golden:
    """Questions with known answers. `pcm` int16 [n, samples], `inputs` float32 [n, frames, bands, 1],
    `expected` float32 [n, labels]; no score may be further than `tolerance` from the expected one.
    """

    pcm: npt.NDArray[np.int16]
    inputs: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every file is there and is what the manifest says."""

    folder: Path
    manifest: Manifest
    model: bytes
    golden: Golden


def find_bundle(name: str) -> Path:
    """The folder of a bundle named in a site file. Raises BundleError, naming the bundles there are."""
    if name.startswith("/"):
        return Path(name)
    known = {point.name: point for point in entry_points(group="gateway.bundles")}
    if name not in known:
        offer = ", ".join(sorted(known)) or "none"
        raise BundleError(f"no model bundle is called {name!r}; installed: {offer} (or give a full path)")
    try:
        folder = known[name].load()
    except (ImportError, AttributeError) as error:
        raise BundleError(f"model bundle {name} is registered but not installed whole: {error}") from error
    return Path(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json alone. Raises BundleError."""
    path = folder / "manifest.json"
    try:
        plain = json.loads(_read(path, "the bundle"))
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); install the bundle again") from error
    if not isinstance(plain, dict):
        raise BundleError(f"{path} is not a manifest (no JSON object); install the bundle again")
    try:
        return _manifest(plain)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error


def load_bundle(folder: Path) -> Bundle:
    """Read a whole bundle and check every size, hash and shape. Raises BundleError."""
    manifest = read_manifest(folder)
    content = {name: _checked(folder / name, *manifest.files[name]) for name in _FILES}
    return Bundle(folder, manifest, content[MODEL], _golden(folder / GOLDEN, content[GOLDEN], manifest))


def _read(path: Path, owner: str) -> bytes:
    try:
        if path.stat().st_size > _FILE_MAX:
            raise BundleError(f"{path} is larger than {_FILE_MAX >> 20} MiB; this is no model bundle")
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; install {owner} again") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _checked(path: Path, size: int, sha256: str) -> bytes:
    """The content of one file of a bundle, if it is what the manifest says."""
    content = _read(path, "the bundle")
    if len(content) < size:
        raise BundleError(f"{path} is cut short: {len(content)} of {size} bytes; install the bundle again")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{path} is not the file the manifest names (its SHA-256 differs)")
    return content


def _manifest(plain: dict[str, Any]) -> Manifest:
    """Check what json gave. Raises ValueError."""
    version = plain.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"manifest schema {version!r} is not {SCHEMA_VERSION}; update the gateway or the bundle"
        )
    for key, kind in _KEYS.items():
        if type(plain.get(key)) is not kind:
            raise ValueError(f"{key} must be there and be of type {kind.__name__}")
    if unknown := sorted(set(plain) - set(_KEYS)):
        raise ValueError(f"unknown key {unknown[0]!r}")
    if not _BUNDLE_NAME.fullmatch(plain["name"]) or not _VERSION.fullmatch(plain["version"]):
        raise ValueError('name must read like "shot-v1" and version like "1.0.0"')
    if plain["task"] != "acoustic_event":
        raise ValueError(f"task {plain['task']!r} is not known; this gateway knows acoustic_event")
    labels = tuple(plain["labels"])
    if not labels or any(type(label) is not str or not NAME.fullmatch(label) for label in labels):
        raise ValueError("labels must be a list of snake_case names, at least one")
    if len(set(labels)) != len(labels) or not 0.0 < plain["threshold"] < 1.0:
        raise ValueError("labels must differ, and threshold must lie between 0 and 1")
    shape = _input(plain["input"])
    span_ms = plain["before_ms"] + plain["after_ms"]
    if min(plain["before_ms"], plain["after_ms"]) < 0 or shape.samples != span_ms * shape.rate_hz // 1000:
        raise ValueError("before_ms + after_ms must be as long as input.samples")
    return Manifest(
        name=plain["name"],
        version=plain["version"],
        task=plain["task"],
        labels=labels,
        threshold=plain["threshold"],
        before_ms=plain["before_ms"],
        after_ms=plain["after_ms"],
        input=shape,
        licence=plain["licence"],
        files=_files(plain["files"]),
    )


def _input(plain: dict[str, Any]) -> LogMel:
    fields = dict(plain)
    if fields.pop("kind", None) != "logmel":
        raise ValueError("input.kind is not known; this gateway knows logmel")
    try:
        return LogMel(**fields)
    except TypeError as error:
        raise ValueError(f"input: {error}") from error


def _files(plain: dict[str, Any]) -> dict[str, tuple[int, str]]:
    files: dict[str, tuple[int, str]] = {}
    for name in _FILES:
        entry = plain.get(name)
        if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"}:
            raise ValueError(f"files must give bytes and sha256 of {name}")
        if type(entry["bytes"]) is not int or not re.fullmatch(r"[0-9a-f]{64}", str(entry["sha256"])):
            raise ValueError(f"bytes or sha256 of {name} is not one")
        files[name] = (entry["bytes"], entry["sha256"])
    return files


def _golden(path: Path, content: bytes, manifest: Manifest) -> Golden:
    """The golden vectors. The hash already fits, so what is wrong here was made wrong."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            golden = Golden(file["pcm"], file["inputs"], file["expected"], float(file["tolerance"]))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} holds no golden vectors ({error})") from error
    count = len(golden.expected)
    wanted: dict[str, tuple[npt.NDArray[Any], tuple[int, ...], type]] = {
        "pcm": (golden.pcm, (count, manifest.input.samples), np.int16),
        "inputs": (golden.inputs, (count, *manifest.input_shape[1:]), np.float32),
        "expected": (golden.expected, (count, len(manifest.labels)), np.float32),
    }
    for name, (array, shape, kind) in wanted.items():
        if array.shape != shape or array.dtype != kind or count == 0:
            raise BundleError(f"{path}: {name} is {array.dtype}{list(array.shape)}, not {list(shape)}")
    if not 0.0 < golden.tolerance <= 0.2:
        raise BundleError(f"{path}: tolerance {golden.tolerance} is not between 0 and 0.2")
    return golden


def load_old_runner(bundle: Bundle) -> Runner:
    """The bundle's model, ready, after it gave the golden answers on this box. Raises BundleError."""
    manifest, golden = bundle.manifest, bundle.golden
    runner = Runner(bundle.model)
    if runner.input_shape != manifest.input_shape:
        raise BundleError(f"{manifest.name}: the model and its manifest differ")
    if runner.output_shape != (1, len(manifest.labels)):
        raise BundleError(
            f"{manifest.name}: the model gives {list(runner.output_shape)}, "
            f"the manifest has {len(manifest.labels)} labels"
        )
    for pcm, picture, expected in zip(golden.pcm, golden.inputs, golden.expected, strict=True):
        seen = manifest.input.picture(as_sound(pcm))[:, :, None]
        if float(np.abs(seen - picture).max()) > 0.01:
            raise BundleError(f"{manifest.name}: this box computes other features than the model learned")
        off = float(np.abs(runner.run(picture[None])[0] - expected).max())
        if not off <= golden.tolerance:  # written so that a NaN fails
            raise BundleError(
                f"{manifest.name}: a golden answer is off by {off:.3f} (allowed {golden.tolerance:.3f}) "
                f"with {runner.info().runtime}; this runtime computes it wrong"
            )
    return runner
