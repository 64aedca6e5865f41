"""Keys as files: JSON, mode 0600, and not read at all when others could have read or changed them.

A box has two keys, both made on it and never leaving it: a CURVE pair for the transport and an
Ed25519 pair for signatures. Public CURVE keys are Z85 text everywhere (ZeroMQ RFC 32), the form
libzmq itself uses; Ed25519 keys are hex.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

BOX_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_HEX_KEY: Final = re.compile(r"[0-9a-f]{64}")
_FILE_MAX: Final = 65536


@dataclass(frozen=True, slots=True)
class BoxKeys:
    """A box's own two key pairs (keys/box.json). CURVE keys are Z85 text, Ed25519 keys hex."""

    box: str
    curve_public: str
    curve_secret: str = field(repr=False)
    sign_public: str
    sign_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where a box is enrolled (enrolment.json): the hub's endpoint, and its pinned public keys.

    `hub_key` is CURVE (Z85), `hub_sign` Ed25519 (hex): "" in a file from before hubs signed commands.
    """

    box: str
    hub: str
    hub_key: str
    hub_sign: str = ""


def keys_path(state: Path) -> Path:
    """The box's key file in its state folder."""
    return state / "keys" / "box.json"


def enrolment_path(state: Path) -> Path:
    """The file that says which hub the box belongs to; it appears when the box is enrolled."""
    return state / "enrolment.json"


def read_box_keys(path: Path) -> BoxKeys:
    """Read keys/box.json. Raises ConfigError if it is missing, readable by others or damaged."""
    plain = read_private_json(path, "run `gateway enrol HUB TOKEN` on this box first")
    keys = BoxKeys(**_texts(plain, path, BoxKeys))
    if not (is_curve_key(keys.curve_public) and is_curve_key(keys.curve_secret)):
        raise ConfigError(f"{path} holds no CURVE key pair; {_remake(path)}")
    if not (_HEX_KEY.fullmatch(keys.sign_public) and _HEX_KEY.fullmatch(keys.sign_secret)):
        raise ConfigError(f"{path} holds no Ed25519 key pair; {_remake(path)}")
    return keys


def write_box_keys(path: Path, keys: BoxKeys) -> None:
    """Write keys/box.json, whole or not at all."""
    write_private_json(path, asdict(keys))


def read_enrolment(path: Path) -> Enrolment:
    """Read enrolment.json. Raises ConfigError if it is missing, readable by others or damaged."""
    plain = read_private_json(path, "run `gateway enrol HUB TOKEN` on this box first")
    plain.setdefault("hub_sign", "")
    enrolment = Enrolment(**_texts(plain, path, Enrolment))
    is_signing_key = not enrolment.hub_sign or _HEX_KEY.fullmatch(enrolment.hub_sign)
    if not (is_curve_key(enrolment.hub_key) and is_signing_key):
        raise ConfigError(f"{path} holds no hub key; {_remake(path)}")
    return enrolment


def write_enrolment(path: Path, enrolment: Enrolment) -> None:
    """Write enrolment.json, whole or not at all: core watches for it while running."""
    write_private_json(path, asdict(enrolment))


def read_private_json(path: Path, if_missing: str) -> dict[str, Any]:
    """Read a JSON object from a file that only its owner may read.

    Raises ConfigError if it is missing (`if_missing` says what to do), open to others or damaged.
    """
    try:
        with path.open("rb") as file:
            # The mode of the file that was opened, not of whatever the name stands for a moment later.
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path} is open to other users; mend it with: chmod 600 {path}")
            plain = json.loads(file.read(_FILE_MAX))
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; {if_missing}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); {_remake(path)}") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} is damaged (no JSON object); {_remake(path)}")
    return plain


def write_private_json(path: Path, plain: dict[str, Any]) -> None:
    """Write a JSON object, mode 0600, so that after a power cut the old or the new file is there.

    Raises ConfigError if the folder cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    try:
        _make_private(path.parent)
        beside.unlink(missing_ok=True)
        # O_EXCL: nobody can have put a file or link of theirs where the secret is about to be written.
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(plain, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, mode 0700: mkdir's `parents` opens those to everybody."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def is_curve_key(text: str) -> bool:
    """Whether the text is a 32-byte key in Z85."""
    try:
        return len(z85_decode(text)) == 32
    except ValueError:
        return False


def z85_encode(raw: bytes) -> str:
    """Bytes (a multiple of 4) as Z85 text, ZeroMQ RFC 32."""
    if len(raw) % 4:
        raise ValueError("Z85 needs a multiple of 4 bytes")
    out = []
    for at in range(0, len(raw), 4):
        word = int.from_bytes(raw[at : at + 4], "big")
        out += [_Z85[word // 85**power % 85] for power in (4, 3, 2, 1, 0)]
    return "".join(out)


def z85_decode(text: str) -> bytes:
    """Bytes from Z85 text. Raises ValueError for anything else."""
    if len(text) % 5:
        raise ValueError("Z85 text comes in groups of 5 characters")
    out = b""
    for at in range(0, len(text), 5):
        word = 0
        for character in text[at : at + 5]:
            word = word * 85 + _Z85.index(character)
        if word > 0xFFFF_FFFF:
            raise ValueError("a Z85 group is out of range")
        out += word.to_bytes(4, "big")
    return out


def _texts(plain: dict[str, Any], path: Path, shape: type[BoxKeys] | type[Enrolment]) -> dict[str, str]:
    names = list(shape.__dataclass_fields__)
    wrong = [name for name in names if not isinstance(plain.get(name), str)]
    if wrong:
        raise ConfigError(f"{path} is damaged ({', '.join(wrong)} missing); {_remake(path)}")
    if not BOX_NAME.fullmatch(plain["box"]):
        raise ConfigError(f"{path} is damaged (box name {plain['box']!r:.50}); {_remake(path)}")
    return {name: plain[name] for name in names}


def _remake(path: Path) -> str:
    return f"move {path} away and enrol this box again with a token made for its name"
