"""Orders: what a hub's owner has a box do, as signed bytes. Pure; docs/wire.md has it for other languages.

An order is made and signed where the hub's key is, kept by the hub until the box answers or it
expires, and carried as the content of a `gateway.wire.Command`:

    [1, box, id (8 bytes), not after (wall clock, whole seconds), name, {argument: whole number}]

The signature (Ed25519, RFC 8032) is over `signed(content)`: the prefix keeps it from ever being taken for a
signature of something else. The content is checked only after it, so a stranger's bytes reach no parser
but msgpack's.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from gateway.errors import WireError
from gateway.keys import BOX_NAME
from gateway.lampcommands import FLASH_MAX_S, FOR_MAX_S, PERIOD_MAX_S, RAMP_MAX_S
from gateway.reading import NAME, BoxCommand
from gateway.wire import COMMAND_MAX

VERSION: Final = 1
ID_SIZE: Final = 8
LIFE_MAX_S: Final = 7 * 86_400  # a box must remember what it did until it expires
_PREFIX: Final = b"pole-gateway order 1\0"
_TIME_MAX: Final = 2**40
_NUMBER_MAX: Final = 2**53

# Of which lamp: a sensor's number in that measure table. A hub's wish of a lamp always has an end.
_LAMP: Final = {"table": (0, 2**48 - 1), "sensor": (1, 65_535)}

# What each command takes, all of it required, with bounds.
ARGUMENTS: Final[Mapping[BoxCommand, Mapping[str, tuple[int, int]]]] = {
    BoxCommand.PING: {},
    # Below 100 bytes/s a single frame takes most of a minute; 0 s ends a throttle at once.
    BoxCommand.THROTTLE: {"bytes_per_s": (100, 100_000_000), "for_s": (0, LIFE_MAX_S)},
    BoxCommand.RELOAD: {},
    BoxCommand.LAMP: {**_LAMP, "level": (0, 100), "ramp_s": (0, RAMP_MAX_S), "for_s": (1, FOR_MAX_S)},
    BoxCommand.FLASH: {**_LAMP, "period_s": (2, PERIOD_MAX_S), "for_s": (1, FLASH_MAX_S)},
    BoxCommand.AUTO: _LAMP,
}
LAMP_ORDERS: Final = (BoxCommand.LAMP, BoxCommand.FLASH, BoxCommand.AUTO)


@dataclass(frozen=True, slots=True)
class Order:
    """One command to one box. `not_after_s` is wall time; `id` is drawn anew for each."""

    box: str
    id: bytes
    not_after_s: int
    name: str
    arguments: Mapping[str, int] = field(default_factory=dict)

    @property
    def command(self) -> BoxCommand:
        """Which of the closed list it is; UNKNOWN for any other name."""
        known = {command.name.lower(): command for command in ARGUMENTS}
        return known.get(self.name, BoxCommand.UNKNOWN)

    def wrong_arguments(self) -> str:
        """What is wrong with its arguments, for a person; "" if they fit its command."""
        wanted = ARGUMENTS.get(self.command, {})
        if self.arguments.keys() != wanted.keys():
            needs = " and ".join(wanted) or "no arguments"
            return f"{self.name} takes {needs}, not {', '.join(self.arguments) or 'none'}"
        for name, (least, most) in wanted.items():
            if not least <= self.arguments[name] <= most:
                return f"{name} of {self.name} must lie in {least}..{most}, not {self.arguments[name]}"
        return ""


def new_order(box: str, name: str, arguments: Mapping[str, int], life_s: float) -> Order:
    """An order with a fresh id that expires so many seconds from now."""
    return Order(box, secrets.token_bytes(ID_SIZE), int(time.time() + life_s), name, dict(arguments))


def table_number(table_id: bytes) -> int:
    """A measure table's id as the whole number that an order can hold: its first 6 bytes, big-endian."""
    return int.from_bytes(table_id[:6], "big")


def pack_order(order: Order) -> bytes:
    """The content to be signed. Raises WireError("too_long")."""
    fields = [VERSION, order.box, order.id, order.not_after_s, order.name, dict(order.arguments)]
    content: bytes = msgpack.packb(fields)
    if len(content) > COMMAND_MAX:
        raise WireError("too_long", f"an order of {len(content)} bytes")
    return content


def signed(content: bytes) -> bytes:
    """What the signature is over."""
    return _PREFIX + content


def unpack_order(content: bytes) -> Order:
    """Read an order. Raises WireError for anything that is not one; its command and box are not judged."""
    if len(content) > COMMAND_MAX:
        raise WireError("too_long", f"an order of {len(content)} bytes")
    try:
        plain = msgpack.unpackb(
            content,
            max_str_len=64,
            max_bin_len=64,
            max_array_len=16,
            max_map_len=8,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError("malformed", f"an order that is no msgpack ({type(error).__name__})") from error
    # Texts of errors are made of short, flat values only: a list nested deep enough ends its own repr.
    if type(plain) is not list or not plain or type(plain[0]) is not int:
        raise WireError("malformed", "an order is an array that begins with its version")
    if plain[0] != VERSION:
        raise WireError("order_version", f"this box reads orders of version {VERSION}")
    if len(plain) < 6:
        raise WireError("malformed", "an order has six fields")
    return _order(*plain[1:6])


def _order(box: Any, order_id: Any, not_after_s: Any, name: Any, arguments: Any) -> Order:
    if type(box) is not str or not BOX_NAME.fullmatch(box):
        raise WireError("malformed", "an order names its box")
    if type(order_id) is not bytes or len(order_id) != ID_SIZE:
        raise WireError("malformed", f"an order's id has {ID_SIZE} bytes")
    if type(not_after_s) is not int or not 0 < not_after_s < _TIME_MAX:
        raise WireError("malformed", "an order expires at a whole second")
    if type(name) is not str or not NAME.fullmatch(name) or type(arguments) is not dict:
        raise WireError("malformed", "an order has a name and arguments")
    for key, value in arguments.items():
        if type(key) is not str or not NAME.fullmatch(key):
            raise WireError("malformed", "an argument has a name")
        if type(value) is not int or abs(value) >= _NUMBER_MAX:
            raise WireError("malformed", "an argument is a whole number")
    return Order(box, order_id, not_after_s, name, arguments)
