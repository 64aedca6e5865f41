"""The hub's folder: its name and endpoints, its keys, its databases, and the lock of the one that runs.

hub.json           name, bind, endpoint
keys/hub.json      CURVE and Ed25519 keys, and the pepper of token digests (0600)
hub.sqlite         allow-list and tokens            gateway.hub.registry
journal.sqlite     what boxes sent, as they sent it   gateway.hub.journal
index.sqlite       the same, readable; can be deleted and is rebuilt   gateway.hub.index
status.json        counters of the running hub
run.lock           held by the process that runs the hub
"""

import fcntl
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.enrolment import HubAddress, next_port, split_endpoint
from gateway.errors import ConfigError, HubError
from gateway.keys import is_curve_key, read_private_json, write_private_json

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ENDING_S: Final = 0.5
_BIND: Final = re.compile(r"tcp://[^/\s]+:[0-9]+")


@dataclass(frozen=True, slots=True)
class HubKeys:
    """The hub's keys: CURVE pair (Z85), Ed25519 pair (hex), and the pepper for token digests (hex)."""

    curve_public: str
    curve_secret: str = field(repr=False)
    sign_public: str
    sign_secret: str = field(repr=False)
    pepper: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HubFolder:
    """A hub's folder, opened: where everything is, and what hub.json says."""

    path: Path
    name: str
    bind: str  # what the fleet socket binds; the enrol socket binds the next port
    endpoint: str  # what boxes connect to

    @property
    def registry(self) -> Path:
        """Allow-list and tokens."""
        return self.path / "hub.sqlite"

    @property
    def journal(self) -> Path:
        """What boxes sent, as they sent it."""
        return self.path / "journal.sqlite"

    @property
    def index(self) -> Path:
        """Readable records; rebuilt from the journal when deleted."""
        return self.path / "index.sqlite"

    @property
    def status(self) -> Path:
        """Counters of the running hub."""
        return self.path / "status.json"

    @property
    def enrol_bind(self) -> str:
        """What the enrol socket binds."""
        return next_port(self.bind)

    def keys(self) -> HubKeys:
        """The hub's keys. Raises ConfigError if they are missing, open to others or damaged."""
        path = self.path / "keys" / "hub.json"
        plain = read_private_json(path, "restore it from your backup; boxes pin this key")
        names = list(HubKeys.__dataclass_fields__)
        if any(not isinstance(plain.get(name), str) for name in names):
            raise ConfigError(f"{path} is damaged; restore it from your backup")
        keys = HubKeys(**{name: plain[name] for name in names})
        if not (is_curve_key(keys.curve_public) and is_curve_key(keys.curve_secret)):
            raise ConfigError(f"{path} holds no CURVE key pair; restore it from your backup")
        return keys

    def address(self) -> HubAddress:
        """What a box must know: the endpoint and the hub's public key."""
        return HubAddress(self.endpoint, self.keys().curve_public)

    def runs(self) -> bool:
        """Whether a hub runs on this folder: a process holds the lock and has put its pid into it."""
        try:
            with (self.path / "run.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return bool((self.path / "run.lock").read_bytes().strip())
        except OSError:
            return False
        return False

    @contextmanager
    def locked(self, wait_s: float = 0.0, *, runs: bool = False) -> Iterator[None]:
        """Hold the folder as the process that runs the hub (`runs`) or that brings its index up to date.

        Raises HubError if another process still holds it after `wait_s`; a running hub, whose pid is
        in the file, is waited for no longer than it may take to end.
        """
        began = time.monotonic()
        with (self.path / "run.lock").open("a+b", buffering=0) as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    pid = os.pread(file.fileno(), 20, 0).decode(errors="replace").strip()
                    if time.monotonic() - began >= (min(wait_s, _ENDING_S) if pid else wait_s):
                        who = f" (pid {pid})" if pid else ""
                        text = f"a hub is already running in {self.path}{who}; stop it first"
                        raise HubError(text) from None
                    time.sleep(0.05)
            file.truncate(0)
            if runs:
                file.write(f"{os.getpid()}\n".encode())
            yield


def create(path: Path, bind: str, endpoint: str | None, name: str) -> HubFolder:
    """Make a new hub folder with fresh keys. Raises ConfigError if it exists or an argument is wrong."""
    if (path / "hub.json").exists():
        raise ConfigError(f"{path} already holds a hub; start it with: gateway hub run {path}")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no hub name; use a-z, 0-9 and -, at most 32, starting with a letter")
    host, port = _split_bind(bind)
    endpoint = endpoint or f"tcp://{_reachable(host)}:{port}"
    split_endpoint(endpoint)
    public, secret = zmq.curve_keypair()
    sign = Ed25519PrivateKey.generate()
    keys = {
        "curve_public": public.decode(),
        "curve_secret": secret.decode(),
        "sign_public": sign.public_key().public_bytes_raw().hex(),
        "sign_secret": sign.private_bytes_raw().hex(),
        "pepper": secrets.token_hex(32),
    }
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o750)
        write_private_json(path / "keys" / "hub.json", keys)
        # hub.json last: a folder that has it is complete.
        beside = path / "hub.json.new"
        beside.write_text(json.dumps({"name": name, "bind": bind, "endpoint": endpoint}, indent=1) + "\n")
        os.replace(beside, path / "hub.json")
    except OSError as error:
        raise ConfigError(f"cannot make a hub in {path}: {error.strerror}") from error
    return HubFolder(path, name, bind, endpoint)


def open_folder(path: Path) -> HubFolder:
    """Open an existing hub folder. Raises ConfigError if there is none or it is damaged."""
    try:
        plain = json.loads((path / "hub.json").read_text(encoding="utf-8"))
        folder = HubFolder(path, plain["name"], plain["bind"], plain["endpoint"])
        _split_bind(folder.bind)
        split_endpoint(folder.endpoint)
    except FileNotFoundError:
        raise ConfigError(f"there is no hub in {path}; make one with: gateway hub init {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path / 'hub.json'}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path / 'hub.json'} is damaged ({error})") from error
    return folder


def _split_bind(bind: str) -> tuple[str, int]:
    if not isinstance(bind, str) or not _BIND.fullmatch(bind):
        raise ConfigError(f"{bind!r} cannot be bound; write it as tcp://0.0.0.0:7711")
    return split_endpoint(bind)


def _reachable(host: str) -> str:
    """The address of this machine that boxes most likely reach, if `host` says "all of them"."""
    if host != "0.0.0.0":  # noqa: S104  (compared, not bound)
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: only a route look-up, nothing is sent
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
