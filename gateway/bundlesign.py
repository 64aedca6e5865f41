"""Who vouches for a bundle: Ed25519 (RFC 8032) over its manifest, which holds the hash of all the rest.

    manifest.sig    one line: ed25519 <public key, 64 hex digits> <signature, 128 hex digits>

What is signed is PREFIX followed by the bytes of manifest.json, so that a signature over something else never
counts as one. Keys that a box trusts are files in <state>/models/trusted, a line of 64 hex digits each;
the project's own key is trusted everywhere. A bundle inside an installed package came with the package,
which is trusted or not as a whole: its signature is checked by the project's tests and by `gateway model
verify`, and by no worker. What is in the store was checked when it was installed.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.bundle import MANIFEST_MAX, SIGNATURE_MAX, read_file
from gateway.errors import BundleError, ConfigError
from gateway.keys import read_private_json, write_private_json
from gateway.manifest import MANIFEST, SIGNATURE

PREFIX: Final = b"pole-gateway bundle 2\n"
# Public halves of the project's own keys; a private one never was in a repository.
RELEASE_KEYS: Final = frozenset({"9107b0bd6f5b4c5e76cc5bcf0c941731501a0b89b9e8e1599dcf29548fbcf562"})
KEY_ENVIRONMENT: Final = "GATEWAY_MODEL_KEY"
_LINE: Final = re.compile(rb"ed25519 ([0-9a-f]{64}) ([0-9a-f]{128})\n")
_PUBLIC: Final = re.compile(r"[0-9a-f]{64}")


def signer(folder: Path) -> str:
    """The public key (hex) that signed the bundle in a folder.

    Raises BundleError if the signature is damaged or does not fit. Whether the key is trusted is not asked.
    """
    manifest = read_file(folder / MANIFEST, MANIFEST_MAX)
    return signer_of(manifest, read_file(folder / SIGNATURE, SIGNATURE_MAX), folder)


def signer_of(manifest: bytes, signature: bytes, where: Path) -> str:
    """`signer` of a manifest's and a signature's bytes; `where` is named in errors."""
    match = _LINE.fullmatch(signature)
    if match is None:
        raise BundleError(f"{where / SIGNATURE} is no signature; have the bundle's maker sign it again")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(match[1].decode()))
        key.verify(bytes.fromhex(match[2].decode()), PREFIX + manifest)
    except (InvalidSignature, ValueError):
        raise BundleError(
            f"{where / SIGNATURE} does not fit {MANIFEST}; one of them was changed after signing. "
            "Get the bundle again from its maker"
        ) from None
    return match[1].decode()


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of manifest.sig."""
    public = key.public_key().public_bytes_raw().hex()
    return f"ed25519 {public} {key.sign(PREFIX + manifest).hex()}\n".encode()


def fingerprint(public: str) -> str:
    """What people compare: the first 16 bytes of the key's SHA-256, in groups of four digits."""
    text = hashlib.sha256(bytes.fromhex(public)).hexdigest()[:32]
    return " ".join(text[at : at + 4] for at in range(0, 32, 4))


def key_path() -> Path:
    """Where a maker's private key is: the file GATEWAY_MODEL_KEY names, else one below ~/.config."""
    named = os.environ.get(KEY_ENVIRONMENT)
    return Path(named) if named else Path.home() / ".config" / "pole-gateway" / "model-key.json"


def own_key(path: Path | None = None) -> Ed25519PrivateKey:
    """A maker's private key, made at first use, mode 0600. Raises ConfigError if it cannot be used."""
    path = path or key_path()
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        plain = {
            "public": fresh.public_key().public_bytes_raw().hex(),
            "secret": fresh.private_bytes_raw().hex(),
        }
        write_private_json(path, plain)
    plain = read_private_json(path, "make one: gateway model key")
    secret = plain.get("secret")
    if type(secret) is not str or not _PUBLIC.fullmatch(secret):
        raise ConfigError(f"{path} holds no signing key; move it away and make another: gateway model key")
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))


def trusted(state: Path) -> frozenset[str]:
    """Public keys (hex) whose bundles may be installed on this box. Raises BundleError for a damaged file."""
    folder = _folder(state)
    found = set(RELEASE_KEYS)
    for path in sorted(folder.glob("*.pub")) if folder.is_dir() else ():
        text = read_file(path, 256).decode(errors="replace").strip()
        if not _PUBLIC.fullmatch(text):
            raise BundleError(f"{path} holds no public key of 64 hex digits; take it away or mend it")
        found.add(text)
    return frozenset(found)


def trust(state: Path, public: str) -> Path:
    """Trust a key from now on; the file that says so. Raises ConfigError if it cannot be written."""
    folder = _folder(state)
    path = folder / f"{public[:16]}.pub"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(public + "\n", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return path


def _folder(state: Path) -> Path:
    return state / "models" / "trusted"
