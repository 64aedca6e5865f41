"""A FlatBuffer from a stranger, read without trusting one offset in it.

The format is that of flatbuffers.dev/internals: tables with vtables, vectors and strings behind unsigned
offsets, all little-endian. Whatever does not fit inside the bytes is a BadBuffer. As parts may be shared,
a small file can claim to hold any number of them: what is handed out altogether is limited too.
"""

import struct
from typing import Final

PARTS_MAX: Final = 200_000  # tables
ITEMS_MAX: Final = 1_000_000  # numbers in vectors, letters in strings
_SIZES: Final = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8}


class BadBuffer(ValueError):
    """The bytes are not the FlatBuffer they claim to be."""


class FlatBuffer:
    """The bytes, and how much was read of them so far."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self._parts = PARTS_MAX
        self._items = ITEMS_MAX

    def root(self, identifier: bytes) -> "Table":
        """The outermost table. Raises BadBuffer if the file identifier differs."""
        if len(self.content) < 16 or self.content[4:8] != identifier:
            raise BadBuffer(f"it does not begin as a {identifier.decode()} file does")
        return self.table(0)

    def table(self, slot: int) -> "Table":
        """The table that the offset at `slot` leads to."""
        self._parts -= 1
        if self._parts < 0:
            raise BadBuffer(f"it has more than {PARTS_MAX} parts")
        return Table(self, self.follow(slot))

    def follow(self, slot: int) -> int:
        """Where the offset at `slot` leads to."""
        at = slot + int(self.number(slot, "I"))
        if at % 4:
            raise BadBuffer("an offset leads between its parts")
        return at

    def number(self, at: int, kind: str) -> float:
        """One number of a `struct` kind."""
        if at < 0 or at + _SIZES[kind] > len(self.content):
            raise BadBuffer("it is cut short")
        value: float = struct.unpack_from(f"<{kind}", self.content, at)[0]
        return value

    def vector(self, slot: int, size: int) -> tuple[int, int]:
        """Start and number of the items (of `size` bytes each) of the vector that the offset leads to."""
        at = self.follow(slot)
        count = int(self.number(at, "I"))
        if at + 4 + count * size > len(self.content):
            raise BadBuffer("it is cut short")
        return at + 4, count

    def take(self, count: int) -> None:
        """Note that so many items are being read."""
        self._items -= count
        if self._items < 0:
            raise BadBuffer(f"it has more than {ITEMS_MAX} numbers besides its weights")


class Table:
    """One table. Every reading raises BadBuffer if the bytes are not there."""

    __slots__ = ("_at", "_flat", "_size", "_slots", "_vtable")

    def __init__(self, flat: FlatBuffer, at: int) -> None:
        self._flat, self._at = flat, at
        self._vtable = at - int(flat.number(at, "i"))
        if self._vtable % 2:
            raise BadBuffer("a table's layout lies between its parts")
        size = int(flat.number(self._vtable, "H"))
        self._size = int(flat.number(self._vtable + 2, "H"))
        if size < 4 or size % 2 or self._vtable + size > len(flat.content):
            raise BadBuffer("a table's layout is none")
        if self._size < 4 or at + self._size > len(flat.content):
            raise BadBuffer("a table reaches beyond the end of the file")
        self._slots = (size - 4) // 2

    def has(self, field: int) -> bool:
        """Whether the field is there, and is not left at its default."""
        return self._slot(field, 1) != 0

    def number(self, field: int, kind: str, default: float = 0) -> float:
        """A number of a `struct` kind."""
        slot = self._slot(field, _SIZES[kind])
        return self._flat.number(slot, kind) if slot else default

    def whole(self, field: int, kind: str, default: int = 0) -> int:
        """A whole number of a `struct` kind."""
        return int(self.number(field, kind, default))

    def table(self, field: int) -> "Table | None":
        """The table a field leads to."""
        slot = self._slot(field, 4)
        return self._flat.table(slot) if slot else None

    def tables(self, field: int, most: int) -> list["Table"]:
        """The tables of a vector of at most so many; without the field there are none."""
        slot = self._slot(field, 4)
        if not slot:
            return []
        start, count = self._flat.vector(slot, 4)
        if count > most:
            raise BadBuffer(f"it has {count} parts of one kind, and {most} are the most allowed")
        return [self._flat.table(start + 4 * n) for n in range(count)]

    def numbers(self, field: int, kind: str) -> tuple[float, ...]:
        """The numbers of a vector; without the field there are none."""
        slot = self._slot(field, 4)
        if not slot:
            return ()
        start, count = self._flat.vector(slot, _SIZES[kind])
        self._flat.take(count)
        return struct.unpack_from(f"<{count}{kind}", self._flat.content, start)

    def wholes(self, field: int, kind: str) -> tuple[int, ...]:
        """The whole numbers of a vector."""
        return tuple(int(value) for value in self.numbers(field, kind))

    def text(self, field: int) -> str:
        """A string; what is no UTF-8 is replaced."""
        slot = self._slot(field, 4)
        if not slot:
            return ""
        start, count = self._flat.vector(slot, 1)
        self._flat.take(count)
        return bytes(self._flat.content[start : start + count]).decode(errors="replace")

    def bytes_in(self, field: int) -> memoryview:
        """The bytes of a vector, where they lie."""
        slot = self._slot(field, 4)
        if not slot:
            return memoryview(b"")
        start, count = self._flat.vector(slot, 1)
        return self._flat.content[start : start + count]

    def _slot(self, field: int, size: int) -> int:
        """Where a field of so many bytes lies, or 0."""
        if field >= self._slots:
            return 0
        offset = int(self._flat.number(self._vtable + 4 + 2 * field, "H"))
        if offset == 0:
            return 0
        if offset < 4 or offset + size > self._size:
            raise BadBuffer("a field lies outside of its table")
        return self._at + offset
