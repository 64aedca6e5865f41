"""How much memory hangs on an object: for tests that say it is bounded."""

import sys
from collections import deque
from collections.abc import Mapping, Set
from typing import Any

_ATOMS = (int, float, str, bytes, bytearray, bool, type(None))


def weigh(thing: Any, *without: Any) -> int:
    """Bytes of all that is reachable through containers and attributes, but for what is in `without`."""
    seen = {id(other) for other in without}
    total = 0
    to_do = [thing]
    while to_do:
        item = to_do.pop()
        if id(item) in seen or isinstance(item, type) or callable(item):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, _ATOMS):
            continue
        if isinstance(item, Mapping):
            to_do += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | deque | Set):
            to_do += item
        to_do += getattr(item, "__dict__", {}).values()
        for kind in type(item).__mro__:
            slots = getattr(kind, "__slots__", ())
            to_do += [getattr(item, slot) for slot in slots if hasattr(item, slot)]
    return total
