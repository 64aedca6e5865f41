"""Enrolment: the address a hub hands out, the one-time token, and the two messages between box and hub.

A box connects to the hub's enrol socket (the fleet port + 1) with its own CURVE key, against the
hub key it got in the address, so nobody in between can read the token or pose as the hub. It asks
once and gets one answer, each a msgpack array in one ZeroMQ frame:

    [1, "N", token, box, curve public (Z85), sign public (32 B), nonce (16 B), signature (64 B)]
    [1, "Y", box, name of the hub, sign public (32 B)]      or      [1, "X", code, text]

The CURVE key is proven by the connection itself (its ZAP User-Id must equal the key in the
request), the Ed25519 key by the signature over `statement`. The hub's Ed25519 key, which the box pins
for commands, comes over a connection that only the owner of the hub key can answer. Asking again with
the same keys, because an answer got lost, gives the same answer.
"""

import base64
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from gateway.errors import ConfigError, WireError
from gateway.keys import BOX_NAME, is_curve_key, z85_decode, z85_encode

VERSION: Final = 1
REQUEST_MAX: Final = 4096
_ADDRESS: Final = re.compile(r"(tcp://[A-Za-z0-9.-]{1,253}:[0-9]{1,5})/([A-Za-z0-9_-]{43})")
_ENDPOINT: Final = re.compile(r"tcp://([A-Za-z0-9.-]{1,253}):([0-9]{1,5})")
# Crockford's base32: no I, L, O or U, so that a code read over the phone or in bad light survives.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
TOKEN_ID: Final = 4  # characters that name the token; the other 8 are its secret, 40 bits
_TOKEN_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What a box must be told of its hub: the fleet endpoint and the public key (Z85) to pin."""

    endpoint: str
    key: str

    def __str__(self) -> str:
        packed = base64.urlsafe_b64encode(z85_decode(self.key)).decode().rstrip("=")
        return f"{self.endpoint}/{packed}"

    @property
    def enrol_endpoint(self) -> str:
        """Where to enrol: the next port."""
        return next_port(self.endpoint)


@dataclass(frozen=True, slots=True)
class Request:
    """A box asks to be enrolled. `signature` is Ed25519 over `statement`."""

    token: str
    box: str
    curve_public: str
    sign_public: bytes
    nonce: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The box is on the allow-list. `sign_public` is the hub's Ed25519 key; b"" from a hub without one."""

    box: str
    hub: str
    sign_public: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """The box is not enrolled. `text` is for the person at the box."""

    code: str
    text: str


Answer = Accepted | Refused


def parse_address(text: str) -> HubAddress:
    """Read the address that `gateway hub token` prints. Raises ConfigError."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is no hub address; copy it from `gateway hub token`: "
            "tcp://HOST:PORT/KEY, where KEY has 43 characters"
        )
    endpoint, packed = match.groups()
    split_endpoint(endpoint)
    return HubAddress(endpoint, z85_encode(base64.urlsafe_b64decode(packed + "=")))


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of "tcp://host:port". Raises ConfigError, also where the next port would not exist."""
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or not 1 <= int(match[2]) <= 65534:
        raise ConfigError(
            f"{endpoint!r} is no endpoint; write it as tcp://HOST:PORT with PORT from 1 to 65534"
        )
    return match[1], int(match[2])


def next_port(endpoint: str) -> str:
    """The same host, one port up. Raises ConfigError."""
    host, port = split_endpoint(endpoint)
    return f"tcp://{host}:{port + 1}"


def new_token() -> str:
    """Twelve random characters: 4 that name the token, 8 that are secret (40 bits, 5 tries)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_TOKEN_LENGTH))


def show_token(token: str) -> str:
    """A token as people write it: 7F3K-9QXM-2TBD."""
    return "-".join(token[at : at + 4] for at in range(0, _TOKEN_LENGTH, 4))


def parse_token(text: str) -> str:
    """A token as a person typed it, in its one true form. Raises ConfigError."""
    token = text.upper().translate(_READ_AS)
    if len(token) != _TOKEN_LENGTH or set(token) - set(_ALPHABET):
        raise ConfigError("this is no token; a token has 12 letters and digits, like 7F3K-9QXM-2TBD")
    return token


def statement(hub_key: str, box: str, curve_public: str, nonce: bytes) -> bytes:
    """The bytes a box signs. The hub's key is in it, so a request is of no use at another hub."""
    packed: bytes = msgpack.packb(["pole-gateway enrolment 1", hub_key, box, curve_public, nonce])
    return packed


def pack_request(request: Request) -> bytes:
    """The request as bytes."""
    packed: bytes = msgpack.packb(
        [
            VERSION,
            "N",
            request.token,
            request.box,
            request.curve_public,
            request.sign_public,
            request.nonce,
            request.signature,
        ]
    )
    return packed


def unpack_request(frame: bytes) -> Request:
    """Read a request. Raises WireError for anything that is not one."""
    _, token, box, curve_public, sign_public, nonce, signature = _fields(frame, ("N",), 6)[:7]
    if not (isinstance(token, str) and len(token) == _TOKEN_LENGTH and set(token) <= set(_ALPHABET)):
        raise WireError("malformed", "token")
    if not (isinstance(box, str) and BOX_NAME.fullmatch(box)):
        raise WireError("malformed", "box name")
    if not (isinstance(curve_public, str) and is_curve_key(curve_public)):
        raise WireError("malformed", "curve key")
    for value, length in ((sign_public, 32), (nonce, 16), (signature, 64)):
        if not isinstance(value, bytes) or len(value) != length:
            raise WireError("malformed", f"not {length} bytes")
    return Request(token, box, curve_public, sign_public, nonce, signature)


def pack_answer(answer: Answer) -> bytes:
    """The answer as bytes."""
    if isinstance(answer, Accepted):
        fields = [VERSION, "Y", answer.box, answer.hub, answer.sign_public]
    else:
        fields = [VERSION, "X", answer.code, answer.text]
    packed: bytes = msgpack.packb(fields)
    return packed


def unpack_answer(frame: bytes) -> Answer:
    """Read an answer. Raises WireError for anything that is not one."""
    letter, first, second, *later = _fields(frame, ("Y", "X"), 2)
    if not (isinstance(first, str) and isinstance(second, str)):
        raise WireError("malformed", "not text")
    if letter == "X":
        return Refused(first, second[:300])
    sign_public = later[0] if later else b""
    if type(sign_public) is not bytes or len(sign_public) not in (0, 32):
        raise WireError("malformed", "the hub's signing key is not 32 bytes")
    return Accepted(first, second, sign_public)


def _fields(frame: bytes, letters: tuple[str, ...], count: int) -> list[Any]:
    if len(frame) > REQUEST_MAX:
        raise WireError("too_long", f"{len(frame)} bytes")
    try:
        plain = msgpack.unpackb(frame, max_str_len=512, max_bin_len=64, max_array_len=16, max_map_len=0)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError("malformed", str(error)) from error
    if not isinstance(plain, list) or len(plain) < 2 + count:
        raise WireError("malformed", "not an array, or too short")
    # A text of what came is made of short, flat values only: a list nested deep enough ends its own repr.
    if type(plain[0]) is not int or plain[0] != VERSION:
        raise WireError("version", f"this end speaks {VERSION}")
    if plain[1] not in letters:
        raise WireError("unknown_letter")
    return plain[1:]
