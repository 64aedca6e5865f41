"""Where a box keeps its models: immutable versions, which one is active, which one was before, which are bad.

    <state>/models/<name>/<version>/            a bundle; never changed once it is there
    <state>/models/<name>/active, previous      links to a version, switched by rename
    <state>/models/quarantine/<hash>.json       a bundle that must not run here, and why
    <state>/models/admitted/                    results of admission (gateway.admission)
    <state>/models/trusted/*.pub                keys whose bundles may be installed (gateway.bundlesign)

A version is written beside, synced and renamed into its place, so that after a power cut at any step it is
there whole or not at all, and `active` leads to a whole version at all times. Neither numpy nor a model
is needed for any of this: the supervisor puts versions into quarantine.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gateway.errors import BundleError, ConfigError

ACTIVE: Final = "active"
PREVIOUS: Final = "previous"
KEPT: Final = 5  # versions of one name; the oldest that is neither active nor previous goes first
_BESIDE: Final = ".new-"  # what is not whole yet, or no longer
_QUARANTINE: Final = "quarantine"
_OWN: Final = {_QUARANTINE, "admitted", "trusted"}
_REASON_MAX: Final = 400
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """Why a bundle is in quarantine. `hash` is the SHA-256 (hex) of its manifest.json; `at` is UTC."""

    hash: str
    name: str
    version: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Held:
    """One version in the store. `mark` is set if it is in quarantine."""

    name: str
    version: str
    folder: Path
    is_active: bool
    is_previous: bool
    mark: Mark | None


class ModelStore:
    """The models of one box. Nothing is made on disk before something is put in."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.root = state / "models"

    def names(self) -> list[str]:
        """Names under which at least one version is there."""
        return sorted(
            entry.name
            for entry in _entries(self.root)
            if entry.name not in _OWN and not entry.name.startswith(".") and self._versions(entry.name)
        )

    def held(self, name: str) -> list[Held]:
        """The versions of a name, oldest number first."""
        active, previous = self.version_at(name, ACTIVE), self.version_at(name, PREVIOUS)
        return [
            Held(name, version, folder, version == active, version == previous, self.quarantined_at(folder))
            for version in self._versions(name)
            for folder in (self.folder(name, version),)
        ]

    def folder(self, name: str, version: str) -> Path:
        """Where that version is, or would be."""
        return self.root / name / version

    def version_at(self, name: str, link: str) -> str | None:
        """The version that `active` or `previous` leads to; None if none does."""
        try:
            version = str((self.root / name / link).readlink())
        except OSError:
            return None
        return version if "/" not in version and self.folder(name, version).is_dir() else None

    def installed(self, name: str) -> list[Path]:
        """Folders of the active and the previous version, as far as there are such."""
        versions = [self.version_at(name, link) for link in (ACTIVE, PREVIOUS)]
        return [self.folder(name, version) for version in dict.fromkeys(versions) if version is not None]

    def token(self, name: str) -> tuple[object, ...]:
        """Changes whenever another version may have to run; two reads of the file system."""
        active: tuple[int, int] | None = None
        marked: int | None = None
        with contextlib.suppress(OSError):
            folder = (self.root / name / ACTIVE).stat()  # through the link
            active = folder.st_ino, folder.st_ctime_ns
        with contextlib.suppress(OSError):
            marked = (self.root / _QUARANTINE).stat().st_mtime_ns
        return active, marked

    def put(self, name: str, version: str, files: Mapping[str, bytes]) -> Path:
        """Store a version that was checked; its folder. The same one may be put again, which mends it.

        Raises BundleError if the version is there with other content: a version never changes. Raises
        ConfigError if the disk refuses.
        """
        folder = self.folder(name, version)
        with self._changing(name):
            is_there = folder.is_dir()
            if is_there:
                if _content(folder / _MANIFEST) != files[_MANIFEST]:
                    raise BundleError(
                        f"{name} {version} is installed with other content, and a version never changes; "
                        "give the new one a version of its own"
                    )
                if all(_content(folder / each) == files[each] for each in files):
                    return folder
            beside = self.root / name / f"{_BESIDE}{version}"
            beside.mkdir()
            for each, content in sorted(files.items()):
                _write(beside / each, content, 0o444)
            beside.chmod(0o555)
            _sync(beside)
            if is_there:  # with the same manifest, but the disk damaged another file since
                folder.rename(self.root / name / f"{_BESIDE}damaged")
            beside.rename(folder)
            _sync(folder.parent)
            if is_there:
                _remove(self.root / name / f"{_BESIDE}damaged")
        return folder

    def activate(self, name: str, version: str) -> None:
        """Make a stored version the active one; the one that was active is the previous one then, if it is
        not in quarantine: then the one before it stays, as there must be one to fall back to.

        Raises BundleError if there is no such version, ConfigError if the disk refuses.
        """
        if version not in self._versions(name):
            offer = ", ".join(self._versions(name)) or "none"
            raise BundleError(f"there is no version {version} of {name} on this box; there are: {offer}")
        with self._changing(name):
            now = self.version_at(name, ACTIVE)
            if now == version:
                return
            if now is not None and self.quarantined_at(self.folder(name, now)) is None:
                self._lead(name, PREVIOUS, now)
            self._lead(name, ACTIVE, version)
            self._forget_oldest(name)

    def rollback(self, name: str) -> str:
        """Make the previous version the active one, and the other way round; the version that is active now.

        Raises BundleError if there is none to go back to.
        """
        back, now = self.version_at(name, PREVIOUS), self.version_at(name, ACTIVE)
        if back is None or back == now:
            raise BundleError(
                f"there is no previous version of {name} on this box; `gateway model list` says more"
            )
        with self._changing(name):
            # Active goes first: after a power cut in between the box runs what was asked for.
            self._lead(name, ACTIVE, back)
            if now is not None:
                self._lead(name, PREVIOUS, now)
        return back

    def quarantine(self, mark: Mark) -> None:
        """This bundle must not run on this box. Raises ConfigError if the disk refuses."""
        folder = self.root / _QUARANTINE
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / f"{mark.hash}.json", json.dumps(asdict(mark), indent=1).encode() + b"\n")

    def quarantined(self, bundle_hash: str) -> Mark | None:
        """Why a bundle of that hash is in quarantine; None if it is not. A damaged mark still holds."""
        path = self.root / _QUARANTINE / f"{bundle_hash}.json"
        content = _content(path)
        if content is None:
            return None
        try:
            plain = json.loads(content)
            return Mark(**{name: str(plain[name]) for name in Mark.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            return Mark(bundle_hash, "?", "?", f"its mark {path} is damaged", "?")

    def quarantined_at(self, folder: Path) -> Mark | None:
        """`quarantined` of the bundle in a folder; None also where no manifest can be read."""
        found = hash_of(folder)
        return None if found is None else self.quarantined(found)

    def marks(self) -> list[Mark]:
        """Everything in quarantine."""
        names = sorted(entry.name for entry in _entries(self.root / _QUARANTINE))
        marks = (self.quarantined(name.removesuffix(".json")) for name in names if name.endswith(".json"))
        return [mark for mark in marks if mark is not None]

    def release(self, bundle_hash: str) -> bool:
        """Take a bundle out of quarantine; whether it was in it. Raises ConfigError if the disk refuses."""
        path = self.root / _QUARANTINE / f"{bundle_hash}.json"
        with _disk_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            _sync(path.parent)
        return True

    def _versions(self, name: str) -> list[str]:
        """By number, as 1.10.0 comes after 1.9.0."""
        folders = [
            entry.name
            for entry in _entries(self.root / name)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
        return sorted(folders, key=_by_number)

    def _lead(self, name: str, link: str, version: str) -> None:
        """Have a link lead to a version, by one rename."""
        beside = self.root / name / f"{_BESIDE}{link}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(version)
        os.replace(beside, self.root / name / link)
        _sync(self.root / name)

    def _forget_oldest(self, name: str) -> None:
        """Keep the disk from filling with versions that nobody will go back to."""
        free = [each for each in self.held(name) if not (each.is_active or each.is_previous)]
        free.sort(key=lambda each: each.folder.stat().st_mtime_ns)
        surplus = len(self._versions(name)) - KEPT
        for each in free[: max(0, surplus)]:
            gone = self.root / name / f"{_BESIDE}{each.version}"
            each.folder.rename(gone)
            _remove(gone)

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """One at a time; what a power cut left half done is cleared away first."""
        with _disk_errors(self.root / name):
            (self.root / name).mkdir(parents=True, exist_ok=True)
            _sync(self.root.parent)
            _sync(self.root)
            lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for entry in _entries(self.root / name):
                    if entry.name.startswith(_BESIDE):
                        _remove(Path(entry.path))
                yield
            finally:
                os.close(lock)


def hash_of(folder: Path) -> str | None:
    """The hash of the bundle in a folder: SHA-256 (hex) of its manifest.json; None if there is none."""
    content = _content(folder / _MANIFEST)
    return None if content is None else hashlib.sha256(content).hexdigest()


def mark_for(folder: Path, reason: str) -> Mark:
    """A mark, made now, for the bundle in a folder, which may be damaged."""
    content = _content(folder / _MANIFEST) or b""
    name, version = folder.name, "?"
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        plain = json.loads(content)
        name, version = str(plain["name"])[:64], str(plain["version"])[:64]
    return mark_of(hashlib.sha256(content).hexdigest(), name, version, reason)


def mark_of(bundle_hash: str, name: str, version: str, reason: str) -> Mark:
    """A mark, made now."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Mark(bundle_hash, name, version, reason[:_REASON_MAX], at)


def _by_number(version: str) -> tuple[list[int], str]:
    return [int(part) for part in version.split(".") if part.isdigit()], version


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _content(path: Path, most: int = 1 << 26) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError:
        return None


def _write(path: Path, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut the old or the new one is there."""
    beside = path.with_name(f"{_BESIDE}{path.name}")
    beside.unlink(missing_ok=True)
    _write(beside, content, 0o644)
    os.replace(beside, path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """An OSError becomes a ConfigError that names the place."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be written: {error.strerror}") from error
