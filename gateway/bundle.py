"""Model bundles: a folder with networks, what they take and give, and proof that it arrived whole.

    manifest.json     what the bundle is, and size and SHA-256 of every file below (gateway.manifest)
    manifest.sig      who vouches for it (gateway.bundlesign)
    *.tflite          a network per look and variant: a picture [1, rows, bands, 1] in, logits [1, labels] out
    frontend.npz      window and mel matrix that make pictures of sound
    golden.npz        sounds and pictures with known answers, to be asked on every box
    card.md           what it was made from, what it can do and what it cannot

A bundle is named in a site file by the name it was installed under (`gateway model install`), by that of
an entry point in group `gateway.bundles` (which leads to a folder), or by the absolute path of a folder.
Every file is read once, and what was hashed is what runs. Whatever is wrong is a BundleError that says
which file, and what to do.
"""

import hashlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from gateway.errors import BundleError
from gateway.features import FrontEnd, MelStream, Samples, as_sound, picture
from gateway.manifest import FRONT_END, GOLDEN, MANIFEST, SIGNATURE, Manifest, parse_manifest
from gateway.modelstore import ModelStore

_T = TypeVar("_T")
Pixels = npt.NDArray[np.uint8]

GOLDEN_MAX: Final = 64  # pictures of one look
MANIFEST_MAX: Final = 64 << 10
SIGNATURE_MAX: Final = 512
_ARRAYS_MAX: Final = 64 << 20  # bytes of one .npz unpacked
_GRAIN: Final = 0.5 / 127.5  # a stored picture is rounded to steps of 1 / 127.5
_PICTURE_TOLERANCE: Final = _GRAIN + 0.01  # of -1..1: another libm or FFT may differ by 0.3 dB
# Whatever zipfile and numpy raise for bytes that are none of theirs.
_NO_ARRAYS: Final = (
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
# What comes of importing a package that is not there whole, or does not fit this Python.
_BROKEN_PACKAGE: Final = (ImportError, AttributeError, TypeError, ValueError, OSError, SyntaxError)
_GOLDEN_HZ: Final = (8_000, 16_000, 32_000, 44_100, 48_000)

# One picture [1, rows, bands, 1] in, logits [1, labels] out.
Net = Callable[[Samples], Samples]


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Questions with known answers.

    `pcm` int16 [samples] at `pcm_hz` begins where the first look does, and must give the picture `seen`
    (uint8 [rows, bands] of the first look; x / 127.5 - 1 is what a network takes). `pictures` uint8 [n,
    rows, bands] by look; `logits` float32 [n, labels] by (variant, look).
    """

    pcm_hz: int
    pcm: npt.NDArray[np.int16]
    seen: Pixels
    pictures: Mapping[str, Pixels]
    logits: Mapping[tuple[str, str], Samples]

    def inputs(self, look: str) -> Samples:
        """The pictures of a look as a network takes them: float32 [n, rows, bands, 1]."""
        return unpacked(self.pictures[look])[..., None]

    def off_by(self, variant: str, look: str, net: Net) -> float:
        """The largest distance of a logit from the known one; infinite if any is no number."""
        worst = 0.0
        for x, known in zip(self.inputs(look), self.logits[variant, look], strict=True):
            answer = net(x[None])
            if answer.shape != (1, len(known)) or not np.isfinite(answer).all():
                return float("inf")
            worst = max(worst, float(np.abs(answer[0] - known).max()))
        return worst


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose every file is there and is what the manifest says. Who signed it is not asked here."""

    folder: Path
    manifest: Manifest
    front_end: FrontEnd
    golden: Golden
    files: Mapping[str, bytes]  # every file, by name

    def net(self, variant: str, look: str) -> bytes:
        """The .tflite file of one network. Raises BundleError."""
        return self.files[self.manifest.file_of(variant, look)]

    def check_front_end(self) -> None:
        """Raises BundleError if this machine makes another picture of the golden sound."""
        first = self.manifest.looks[0]
        stream = MelStream(self.front_end, self.golden.pcm_hz)
        power = np.concatenate((stream.push(as_sound(self.golden.pcm)), stream.end()))
        frames = first.rows(self.manifest.input) * first.pool
        seen = picture(power[:frames], first.pool, self.manifest.input.floor_db)
        wanted = unpacked(self.golden.seen)
        off = float(np.abs(seen - wanted).max()) if seen.shape == wanted.shape else float("inf")
        if not off <= _PICTURE_TOLERANCE:  # written so that a NaN fails
            raise BundleError(
                f"{self.manifest.name}: this machine makes another picture of the golden sound than the "
                f"model learnt from (off by {off:.3f}); reinstall numpy and the gateway"
            )


def packed(pictures: Samples) -> Pixels:
    """Pictures in -1..1 as bundles and training sets hold them: uint8, x / 127.5 - 1."""
    pixels: Pixels = np.rint((pictures + 1.0) * 127.5).clip(0, 255).astype(np.uint8)
    return pixels


def unpacked(pixels: Pixels) -> Samples:
    """The other way round: float32 in -1..1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def find_bundle(name: str, state: Path | None = None) -> Path:
    """The folder of a bundle named in a site file; of several versions the one to run.

    With the box's `state` folder, what is installed there goes first: active, else previous, without what
    is in quarantine. Raises BundleError, naming the bundles there are.
    """
    return candidates(name, state)[0]


def candidates(name: str, state: Path | None = None) -> list[Path]:
    """Every folder a box may run under that name, best first: active, previous, shipped in a package.

    Raises BundleError if there is none, or none outside quarantine.
    """
    store, found = _folders(name, state)
    if store is None:
        return found
    marks = [store.quarantined_at(folder) for folder in found]
    well = [folder for folder, mark in zip(found, marks, strict=True) if mark is None]
    if not well:
        why = marks[0].reason if marks[0] is not None else ""
        also = f"; {fault}" if (fault := shipped_fault(name)) else ""
        raise BundleError(f"{name} is in quarantine, all of it ({why}); install a better version{also}")
    return well


def planned_manifest(name: str, state: Path) -> Manifest:
    """The manifest that a plan is made with: of the best folder with a readable one, in quarantine or not.

    All versions of a name have the same labels; and a box whose every model was put away must start, too,
    with microphones that tell bangs as unclassified. Raises BundleError if there is none.
    """
    reasons = []
    for folder in _folders(name, state)[1]:
        try:
            return read_manifest(folder)
        except BundleError as error:
            reasons.append(str(error))
    if fault := shipped_fault(name):
        reasons.append(fault)
    raise BundleError("; ".join(reasons))


def shipped(name: str) -> Path:
    """The folder of a bundle that an installed package brings. Raises BundleError."""
    points = _shipped()
    if name not in points:
        raise BundleError(_unknown(name, None))
    try:
        return Path(points[name].load())
    except _BROKEN_PACKAGE as error:
        raise BundleError(
            f"model bundle {name} is registered, but its package is broken ({error}); install that again"
        ) from error


def shipped_fault(name: str) -> str:
    """Why a package that should bring the bundle of that name does not; "" if it does, or none should."""
    if name in _shipped():
        try:
            shipped(name)
        except BundleError as error:
            return str(error)
    return ""


def is_shipped(folder: Path) -> bool:
    """Whether an installed package brings the bundle in this folder. A broken package brings none."""
    names = [name for name in _shipped() if not shipped_fault(name)]
    return any(folder.absolute() == shipped(name).absolute() for name in names)


def shipped_names() -> list[str]:
    """Names of the bundles that installed packages bring."""
    return sorted(_shipped())


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json alone. Raises BundleError."""
    path = folder / MANIFEST
    return _named(path, lambda: parse_manifest(read_file(path, MANIFEST_MAX)))


def load_bundle(folder: Path) -> Bundle:
    """Read a whole bundle and check every size, hash and shape. Raises BundleError."""
    manifest = read_manifest(folder)  # before the rest: it says how large that may be
    try:
        there = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error.strerror}") from error
    if stray := sorted(there - {MANIFEST, SIGNATURE, *manifest.files}):
        raise BundleError(f"{folder / stray[0]} is none of the bundle's files; take it out, or install again")
    sizes = {name: fact.bytes for name, fact in manifest.files.items()}
    sizes |= {MANIFEST: MANIFEST_MAX, SIGNATURE: SIGNATURE_MAX}
    return bundle_of({name: read_file(folder / name, most) for name, most in sizes.items()}, folder)


def bundle_of(files: Mapping[str, bytes], folder: Path) -> Bundle:
    """The bundle that these files are; `folder` is where they came from. As `load_bundle`."""
    manifest = _named(folder / MANIFEST, lambda: parse_manifest(files.get(MANIFEST, b"")))
    wanted = {MANIFEST, SIGNATURE, *manifest.files}
    if odd := sorted(wanted ^ set(files)):
        what = "is missing" if odd[0] in wanted else "is none of the bundle's files"
        raise BundleError(f"{folder / odd[0]} {what}; get the bundle again")
    for name, fact in manifest.files.items():
        _check(folder / name, files[name], fact.bytes, fact.sha256)
    front_end = _named(folder / FRONT_END, lambda: _front_end(files[FRONT_END], manifest))
    golden = _named(folder / GOLDEN, lambda: _golden(files[GOLDEN], manifest))
    return Bundle(folder, manifest, front_end, golden, dict(files))


def read_file(path: Path, most: int) -> bytes:
    """A plain file of at most so many bytes, its size asked before it is read. Raises BundleError."""
    try:
        # Neither through a link, nor waiting for the other end of a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise BundleError(f"{path} is no plain file; a bundle has nothing else")
            if facts.st_size > most:
                raise BundleError(
                    f"{path} has {facts.st_size} bytes; at most {most} are allowed, so it was not read"
                )
            with open(fd, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; install the bundle again") from None
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}; a bundle has only plain files"
        ) from error


def _shipped() -> Mapping[str, Any]:
    return {point.name: point for point in entry_points(group="gateway.bundles")}


def _folders(name: str, state: Path | None) -> tuple[ModelStore | None, list[Path]]:
    """The box's store, if there is a box, and every folder of a name: active, previous, shipped.

    A broken package does not hide what is in the store. Raises BundleError if there is no folder.
    """
    store = None if state is None else ModelStore(state)
    if name.startswith("/"):
        return store, [Path(name)]
    found = [] if store is None else store.installed(name)
    fault = shipped_fault(name)
    if name in _shipped() and not fault:
        found.append(shipped(name))
    if not found:
        raise BundleError(fault or _unknown(name, store))
    return store, found


def _unknown(name: str, store: ModelStore | None) -> str:
    there = sorted({*_shipped(), *(store.names() if store is not None else ())})
    offer = ", ".join(there) or "none"
    return f"no model bundle is called {name!r}; installed: {offer} (or give a full path)"


def _named(path: Path, read: Callable[[], _T]) -> _T:
    """What `read` gives; its BundleError gets the file's name."""
    try:
        return read()
    except BundleError as error:
        text = str(error)
        raise BundleError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _check(path: Path, content: bytes, size: int, sha256: str) -> None:
    """Whether the content of one file is what the manifest says."""
    if len(content) < size:
        raise BundleError(f"{path} is cut short: {len(content)} of {size} bytes; install the bundle again")
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(
            f"{path} is not the file the manifest names (its SHA-256 differs); install the bundle again"
        )


def _arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz. The hash fitted, so what is wrong here was made wrong. Raises BundleError."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            if sum(entry.file_size for entry in file.infolist()) > _ARRAYS_MAX:
                raise BundleError(
                    f"unpacks to more than {_ARRAYS_MAX >> 20} MiB; this is no part of a bundle"
                )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _NO_ARRAYS as error:
        raise BundleError(f"holds no arrays ({error!s:.200}); make the bundle again") from error


def _take(arrays: dict[str, npt.NDArray[Any]], name: str, kind: type, shape: tuple[int, ...]) -> Any:
    """An array of just that type and shape; -1 in `shape` stands for 1 to GOLDEN_MAX."""
    if name not in arrays:
        raise BundleError(f"has no array {name}; make the bundle again")
    array = arrays.pop(name)
    fits = len(array.shape) == len(shape) and all(
        has == wants or (wants == -1 and 1 <= has <= GOLDEN_MAX)
        for has, wants in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != kind:
        wanted = f"{np.dtype(kind)}{list(shape)}".replace("-1", f"1..{GOLDEN_MAX}")
        raise BundleError(f"{name} is {array.dtype}{list(array.shape)}, not {wanted}")
    if kind is np.float32 and not np.isfinite(array).all():
        raise BundleError(f"{name} holds what is no number")
    return array


def _nothing_left(arrays: dict[str, npt.NDArray[Any]]) -> None:
    if arrays:
        raise BundleError(f"has an array {min(arrays)!r:.60} that no bundle has")


def _front_end(content: bytes, manifest: Manifest) -> FrontEnd:
    arrays, shape = _arrays(content), manifest.input
    window = _take(arrays, "window", np.float32, (shape.frame,))
    mel = _take(arrays, "mel", np.float32, (shape.fft // 2 + 1, shape.bands))
    _nothing_left(arrays)
    if mel.min() < 0.0:
        raise BundleError("mel has weights below 0; power would come out negative")
    return FrontEnd(shape, window, mel)


def _golden(content: bytes, manifest: Manifest) -> Golden:
    arrays, labels = _arrays(content), len(manifest.labels)
    pcm_hz = int(_take(arrays, "pcm_hz", np.int64, ()))
    if pcm_hz not in _GOLDEN_HZ:
        raise BundleError(f"pcm_hz is {pcm_hz}, not one of {', '.join(map(str, _GOLDEN_HZ))}")
    first = manifest.looks[0]
    samples = (first.before_ms + first.after_ms) * pcm_hz // 1000
    pcm = _take(arrays, "pcm", np.int16, (samples,))
    size = {look.name: (look.rows(manifest.input), manifest.input.bands) for look in manifest.looks}
    seen = _take(arrays, "seen", np.uint8, size[first.name])
    pictures, logits = {}, {}
    for look, shape in size.items():
        pictures[look] = _take(arrays, f"pictures_{look}", np.uint8, (-1, *shape))
        for variant in manifest.variants:
            answers = (len(pictures[look]), labels)
            logits[variant, look] = _take(arrays, f"logits_{variant}_{look}", np.float32, answers)
    _nothing_left(arrays)
    return Golden(pcm_hz, pcm, seen, pictures, logits)
