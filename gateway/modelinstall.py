"""Puts a bundle on a box: from a folder or an archive, checked at every step, switched to at the very end.

In this order, so that nothing of a bundle is believed before it must be: sizes, signature, trust, manifest
and hashes, the golden sound, the labels of the version before, a trial in a throw-away child (admission),
the store, the switch. Up to the switch the box runs what it ran; a running worker takes the new version
up within seconds, without a restart.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.admission import Admitted, admit
from gateway.bundle import (
    MANIFEST_MAX,
    SIGNATURE_MAX,
    Bundle,
    bundle_of,
    read_file,
    read_manifest,
    shipped,
    shipped_fault,
    shipped_names,
)
from gateway.bundlesign import fingerprint, signer_of, trust, trusted
from gateway.errors import BundleError
from gateway.manifest import FILE_MAX, MANIFEST, SIGNATURE, Manifest
from gateway.modelstore import ModelStore

FILES_MAX: Final = 32
BUNDLE_MAX: Final = 96 << 20  # bytes of all files
# Headers of an archive with long names and further facts, which are read into memory whole.
_LONG: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_LONG_MAX: Final = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Installed:
    """A bundle that is active now. `before` is the version that was, "" if none was; `signer` a public key
    (hex).
    """

    bundle: Bundle
    signer: str
    before: str
    admitted: Admitted


def install(source: Path, state: Path, *, trust_key: str = "", again: bool = False) -> Installed:
    """Put the bundle in a folder or .tar archive on the box of this state folder, and switch to it.

    `trust_key` (hex) is trusted from now on, if it signed the bundle. `again` takes the bundle out of
    quarantine first. Raises BundleError or ConfigError; then nothing was switched.
    """
    files = files_of(source)
    public = signer_of(files[MANIFEST], files[SIGNATURE], source)
    _check_trust(public, trust_key, state)
    bundle = bundle_of(files, source)
    bundle.check_front_end()
    manifest, store = bundle.manifest, ModelStore(state)
    _check_labels(manifest, store)
    if (mark := store.quarantined(manifest.hash)) is not None:
        if not again:
            raise BundleError(
                f"{manifest.name} {manifest.version} is in quarantine on this box since {mark.at}: "
                f"{mark.reason}. Install a better version, or this one with --again"
            )
        admit(bundle)  # afresh, whatever an earlier trial said, and before a worker may take it up
        store.release(manifest.hash)
    admitted = admit(bundle, state)
    before = store.version_at(manifest.name, "active") or ""
    store.put(manifest.name, manifest.version, files)
    store.activate(manifest.name, manifest.version)
    if public == trust_key:
        trust(state, public)
    return Installed(bundle, public, before, admitted)


def files_of(source: Path) -> dict[str, bytes]:
    """The files of a bundle in a folder or archive, by name; no more than a bundle may have.

    Raises BundleError.
    """
    files = _from_folder(source) if source.is_dir() else _from_archive(source)
    for name, most in ((MANIFEST, MANIFEST_MAX), (SIGNATURE, SIGNATURE_MAX)):
        if name not in files:
            raise BundleError(f"there is no {name} in {source}; this is no bundle, or not all of it")
        if len(files[name]) > most:
            raise BundleError(f"{name} in {source} has {len(files[name])} bytes; at most {most} are allowed")
    return files


def _from_folder(source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = BUNDLE_MAX
    for path in sorted(source.iterdir()):
        if len(files) == FILES_MAX:
            raise BundleError(f"{source} has more than {FILES_MAX} files; this is no bundle")
        files[path.name] = read_file(path, min(FILE_MAX, room))
        room -= len(files[path.name])
    return files


class _Member(tarfile.TarInfo):
    """One that tells what it is by its own header; tarfile would read any size of header that goes before."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG and self.size > _LONG_MAX:
            raise tarfile.HeaderError(f"a header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def _from_archive(source: Path) -> dict[str, bytes]:
    """Read as a stream, member after member, so that nothing is unpacked that is not wanted."""
    if not source.exists():
        raise BundleError(f"there is no {source}; name a bundle's folder, or its .tar archive")
    files: dict[str, bytes] = {}
    room = BUNDLE_MAX
    try:
        with tarfile.open(source, "r|*", tarinfo=_Member) as archive:
            for count, member in enumerate(archive):
                if count > 2 * FILES_MAX:  # folders, too: each is kept in memory
                    raise BundleError(f"{source} has more than {2 * FILES_MAX} parts; this is no bundle")
                if member.isdir():
                    continue
                name = Path(member.name).name
                if not member.isfile() or name in files or len(files) == FILES_MAX:
                    raise BundleError(f"{member.name!r:.80} in {source} is no file of a bundle")
                if member.size > min(FILE_MAX, room):
                    raise BundleError(
                        f"{member.name!r:.80} in {source} has {member.size} bytes; no bundle is that large"
                    )
                content = archive.extractfile(member)
                assert content is not None
                files[name] = content.read()
                room -= member.size
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise BundleError(f"{source} is no bundle's folder and no whole .tar archive ({error})") from error
    return files


def _check_trust(public: str, trust_key: str, state: Path) -> None:
    if trust_key and public != trust_key:
        raise BundleError(
            f"the bundle is signed by {public} ({fingerprint(public)}), not by the key to be trusted"
        )
    if public != trust_key and public not in trusted(state):
        raise BundleError(
            f"it is signed by a key this box does not trust; its fingerprint is {fingerprint(public)}. "
            f"If the bundle's maker tells you the same one, install it with --trust {public}"
        )


def _check_labels(manifest: Manifest, store: ModelStore) -> None:
    """Plans and records count a bundle's labels, so they are the same in all versions of a name."""
    name = manifest.name
    has_package = name in shipped_names() and not shipped_fault(name)
    folders = store.installed(name) + ([shipped(name)] if has_package else [])
    for folder in folders:
        try:
            before = read_manifest(folder)
        except BundleError:
            continue  # damaged, or of an older schema: nothing to be compatible with
        if before.labels != manifest.labels:
            raise BundleError(
                f"{name} {before.version} on this box has other labels ({', '.join(before.labels)}) than "
                f"this bundle ({', '.join(manifest.labels)}); a bundle with other labels needs another name"
            )


def rollback(name: str, state: Path, version: str = "") -> tuple[str, str]:
    """Go back to the previous version, or to that one: the version that was active, and the one that is.

    Raises BundleError if there is none, or it is in quarantine.
    """
    store = ModelStore(state)
    now, back = store.version_at(name, "active"), version or store.version_at(name, "previous")
    if now is None:
        offer = ", ".join(store.names()) or "none"
        raise BundleError(f"no model {name!r} is installed on this box; there are: {offer}")
    if back is None or back == now:
        raise BundleError(f"{name} {now} is all there is on this box; there is nothing to go back to")
    if (mark := store.quarantined_at(store.folder(name, back))) is not None:
        raise BundleError(f"{name} {back} is in quarantine: {mark.reason}")
    if version:
        store.activate(name, version)
    else:
        store.rollback(name)
    return now, back
