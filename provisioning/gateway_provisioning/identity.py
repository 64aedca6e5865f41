"""A box's identity: two key pairs, made on the box, written once, never sent anywhere."""

from dataclasses import replace
from pathlib import Path

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.keys import BoxKeys, keys_path, read_box_keys, write_box_keys


def make_keys(box: str) -> BoxKeys:
    """Fresh keys for a box."""
    public, secret = zmq.curve_keypair()
    sign = Ed25519PrivateKey.generate()
    return BoxKeys(
        box=box,
        curve_public=public.decode(),
        curve_secret=secret.decode(),
        sign_public=sign.public_key().public_bytes_raw().hex(),
        sign_secret=sign.private_bytes_raw().hex(),
    )


def ensure_keys(state: Path, box: str) -> BoxKeys:
    """The keys in a state folder, made if there are none, under the name `box`.

    They are on the disk before anybody hears of them, so a box that loses power or the hub's answer
    half-way asks again with the same keys. Raises ConfigError if they cannot be read or written.
    """
    path = keys_path(state)
    keys = replace(read_box_keys(path), box=box) if path.exists() else make_keys(box)
    write_box_keys(path, keys)
    return keys


def sign(keys: BoxKeys, statement: bytes) -> bytes:
    """The box's Ed25519 signature, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(keys.sign_secret)).sign(statement)
