"""What a model bundle says of itself: manifest.json, schema 2, read strictly.

Every key must be there and of its type, no other key may be there, and the parts must fit each other. What
does not is a BundleError that says what is wrong and what to do. Nothing here opens a model: that is
admission's part. docs/models.md describes the format for those who make bundles.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from gateway.errors import BundleError
from gateway.features import LogMel
from gateway.manifestjson import Table, whole
from gateway.reading import NAME

SCHEMA_VERSION: Final = 2
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FRONT_END: Final = "frontend.npz"
GOLDEN: Final = "golden.npz"
CARD: Final = "card.md"
TASK: Final = "acoustic_event"
BUNDLE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
FILE_MAX: Final = 32 << 20  # bytes of one file; a model that needs more is none for a box
BEFORE_MAX_MS, AFTER_MAX_MS = 1_000, 5_000  # sound is kept in memory for no longer
LOOKS_MAX: Final = 4
LABELS_MAX: Final = 16
MEMORY_MAX_MIB: Final = 256

_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RESERVED: Final = {"unsure", "unclassified"}  # what a box calls a sound by itself


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a sound: how much of it, around its first sample; `pool` frames make one row."""

    name: str
    before_ms: int
    after_ms: int
    pool: int

    def rows(self, shape: LogMel) -> int:
        """Rows of the picture this look gives."""
        return shape.frames_in(self.before_ms + self.after_ms) // self.pool


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which calibrated probability on a label is `sure`; from `unsure` on it is worth a word.

    `margin` is how far `sure` was moved up from what was measured, for sounds nobody recorded yet. Only
    the first label has an `unsure`.
    """

    sure: float
    margin: float
    unsure: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of one look: z = offset + the sum of weights[k] * z of look k; one weight per look up to it.

    z of a look is log(p / (1 - p)) of the first label.
    """

    weights: tuple[float, ...]
    offset: float


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the networks: the file of each look, and how far a logit may be off on another box."""

    files: Mapping[str, str]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Source:
    """What a model learnt from: `clips` recordings or synthetic sounds, under a licence."""

    name: str
    licence: str
    clips: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """How to make the bundle again."""

    recipe: str
    seed: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """What it may cost: memory in MiB over a process without it; of each look, 99 of 100 answers on an
    x86 core within so many milliseconds.
    """

    memory_mib: int
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FileFact:
    """Size and SHA-256 (hex) of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was checked. `hash` is the SHA-256 (hex) of manifest.json: of the whole bundle,
    as the manifest holds the hash of every other file.
    """

    name: str
    version: str
    task: str
    created: str
    licence: str
    credits: tuple[str, ...]
    provenance: Provenance
    labels: tuple[str, ...]
    reports: tuple[str, ...]
    input: LogMel
    looks: tuple[Look, ...]
    calibration: Mapping[str, Calibration]
    thresholds: Mapping[str, Threshold]
    variants: Mapping[str, Variant]
    budget: Budget
    figures: Mapping[str, Any]
    files: Mapping[str, FileFact]
    hash: str = field(default="", compare=False)

    @property
    def model(self) -> str:
        """First 8 bytes of `hash` as hex: what an event says of its model."""
        return self.hash[:16]

    @property
    def output_shape(self) -> tuple[int, int]:
        """What every network gives: one logit per label."""
        return (1, len(self.labels))

    def look(self, name: str) -> Look:
        """The look of that name. Raises BundleError."""
        for look in self.looks:
            if look.name == name:
                return look
        raise BundleError(
            f"{self.name} has no look {name!r}; it has {', '.join(each.name for each in self.looks)}"
        )

    def input_shape(self, look: str) -> tuple[int, int, int, int]:
        """What the network of a look takes: one picture with one channel."""
        return (1, self.look(look).rows(self.input), self.input.bands, 1)

    def file_of(self, variant: str, look: str) -> str:
        """Name of the file of one network. Raises BundleError."""
        if variant not in self.variants:
            raise BundleError(f"{self.name} has no variant {variant!r}; it has {', '.join(self.variants)}")
        return self.variants[variant].files[self.look(look).name]


def parse_manifest(content: bytes) -> Manifest:
    """Check the bytes of a manifest.json. Raises BundleError without a file's name in it."""
    plain = Table.parse(content)
    version = plain.take("schema_version", whole)
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"manifest schema {version} is not {SCHEMA_VERSION}; update the gateway or the bundle"
        )
    shape = _input(plain.table("input"))
    looks = _looks(plain, shape)
    labels, reports = _labels(plain)
    _output(plain.table("output"), len(labels))
    names = tuple(look.name for look in looks)
    variants = _variants(plain.table("variants"), names)
    manifest = Manifest(
        name=plain.matching("name", BUNDLE_NAME, 'a name like "gunshot"'),
        version=plain.matching("version", VERSION, 'a version like "1.0.0"'),
        task=plain.matching("task", re.compile(TASK), f'"{TASK}", the one task this gateway knows'),
        created=_created(plain),
        licence=plain.text("licence"),
        credits=plain.texts("credits", 1, 64),
        provenance=_provenance(plain.table("provenance")),
        labels=labels,
        reports=reports,
        input=shape,
        looks=looks,
        calibration=_calibration(plain.table("calibration"), names),
        thresholds=_thresholds(plain.table("thresholds"), labels, reports),
        variants=variants,
        budget=_budget(plain.table("budget"), names),
        figures=plain.figures("figures"),
        files=_files(plain.table("files"), variants),
        hash=hashlib.sha256(content).hexdigest(),
    )
    plain.end()
    return manifest


def _input(plain: Table) -> LogMel:
    plain.matching("kind", re.compile("logmel"), '"logmel", the one front end this gateway knows')
    fields = {name: plain.take(name, whole) for name in LogMel.__dataclass_fields__}
    plain.end()
    try:
        return LogMel(**fields)
    except ValueError as error:
        raise BundleError(str(error)) from error


def _output(plain: Table, labels: int) -> None:
    plain.matching("kind", re.compile("logits"), '"logits": one number per label, before softmax')
    shape = plain.take("shape", list)
    if shape != [1, labels] or any(type(size) is not int for size in shape):
        raise BundleError(
            f"output.shape {shape!r:.60} does not fit {labels} labels; it must be [1, {labels}]: "
            "a network's outputs and the manifest's labels are one for one"
        )
    plain.end()


def _looks(plain: Table, shape: LogMel) -> tuple[Look, ...]:
    looks = []
    for each in plain.tables("looks", 1, LOOKS_MAX):
        look = Look(
            name=each.matching("name", _WORD, "a short name"),
            before_ms=each.between("before_ms", 0, BEFORE_MAX_MS),
            after_ms=each.between("after_ms", 100, AFTER_MAX_MS),
            pool=each.between("pool", 1, 16),
        )
        each.end()
        if look.rows(shape) < 1:
            raise BundleError(f"look {look.name} is too short for one row of {look.pool} frames")
        looks.append(look)
    if len({look.name for look in looks}) != len(looks):
        raise BundleError("looks must have different names")
    if len({look.before_ms for look in looks}) != 1:
        raise BundleError("all looks must have one before_ms: they share their first frame")
    if sorted({look.after_ms for look in looks}) != [look.after_ms for look in looks]:
        raise BundleError("looks must be in the order of their after_ms, each longer than the one before")
    return tuple(looks)


def _labels(plain: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    labels = plain.texts("labels", 1, LABELS_MAX)
    reports = plain.texts("reports", 1, LABELS_MAX)
    for label in labels:
        if not NAME.fullmatch(label) or label in _RESERVED:
            raise BundleError(f"label {label!r:.60} is not a snake_case name of its own")
    if len(set(labels)) != len(labels) or len(set(reports)) != len(reports):
        raise BundleError("labels and reports must not name a label twice")
    if stray := [label for label in reports if label not in labels]:
        raise BundleError(
            f"reports names {stray[0]!r:.60}, which is no label; labels are {', '.join(labels)}"
        )
    if labels[0] not in reports:
        raise BundleError(f"reports must name {labels[0]!r}: the first label is what the bundle is for")
    return labels, reports


def _created(plain: Table) -> str:
    text = plain.text("created")
    try:
        if date.fromisoformat(text).isoformat() != text:
            raise ValueError
    except ValueError:
        raise BundleError(f'created must be a day like "2026-11-23", not {text!r:.40}') from None
    return text


def _provenance(plain: Table) -> Provenance:
    sources = []
    for each in plain.tables("sources", 1, 64):
        sources.append(
            Source(each.text("name"), each.text("licence"), each.between("clips", 0, 1_000_000_000))
        )
        each.end()
    found = Provenance(plain.text("recipe"), plain.between("seed", 0, 2**63 - 1), tuple(sources))
    plain.end()
    return found


def _calibration(plain: Table, looks: tuple[str, ...]) -> dict[str, Calibration]:
    found = {}
    for count, name in enumerate(looks, 1):
        each = plain.table(name)
        weights = each.numbers("weights", -100.0, 100.0)
        if len(weights) != count:
            raise BundleError(
                f"{each.path}.weights has {len(weights)} numbers, not {count}: one for each look so far"
            )
        found[name] = Calibration(weights, each.number("offset", -100.0, 100.0))
        each.end()
    plain.end()
    return found


def _thresholds(plain: Table, labels: tuple[str, ...], reports: tuple[str, ...]) -> dict[str, Threshold]:
    found = {}
    for label in labels:
        if not plain.has(label):
            if label in reports:
                raise BundleError(f"thresholds must say from where on {label!r} is sure, as it is reported")
            continue
        each = plain.table(label)
        sure, margin = each.number("sure", 0.0, 1.0), each.number("margin", 0.0, 1.0)
        unsure = each.number("unsure", 0.0, 1.0) if label == labels[0] else None
        each.end()
        if not 0.0 < sure < 1.0 or margin >= sure or (unsure is not None and not 0.0 < unsure < sure):
            raise BundleError(f"{each.path} must be 0 < unsure < sure < 1, with a margin smaller than sure")
        found[label] = Threshold(sure, margin, unsure)
    plain.end()
    return found


def _variants(plain: Table, looks: tuple[str, ...]) -> dict[str, Variant]:
    found = {}
    for name in ("f32", "int8"):
        if not plain.has(name):
            continue
        each = plain.table(name)
        table = each.table("looks")
        files = {look: table.matching(look, _FILE_NAME, "the name of a file") for look in looks}
        table.end()
        found[name] = Variant(files, each.number("tolerance", 0.0, 5.0))
        each.end()
    plain.end()
    if "f32" not in found:
        raise BundleError("variants must have f32: it is the one that every runtime computes well")
    every = [file for variant in found.values() for file in variant.files.values()]
    if len(set(every)) != len(every) or any(not file.endswith(".tflite") for file in every):
        raise BundleError("variants must name a .tflite file of its own for every look")
    return found


def _budget(plain: Table, looks: tuple[str, ...]) -> Budget:
    memory = plain.between("memory_mib", 1, MEMORY_MAX_MIB)
    table = plain.table("latency_ms")
    latency = {look: table.number(look, 0.01, 10_000.0) for look in looks}
    table.end()
    plain.end()
    return Budget(memory, latency)


def _files(plain: Table, variants: Mapping[str, Variant]) -> dict[str, FileFact]:
    """Exactly the files that the rest of the manifest speaks of."""
    nets = [file for variant in variants.values() for file in variant.files.values()]
    found = {}
    for name in (*nets, FRONT_END, GOLDEN, CARD):
        each = plain.table(name)
        size = each.between("bytes", 1, FILE_MAX)
        found[name] = FileFact(size, each.matching("sha256", _SHA256, "64 hex digits"))
        each.end()
    plain.end()
    return found
