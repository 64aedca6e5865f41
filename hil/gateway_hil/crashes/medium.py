"""A disk in memory that knows what is on its medium and what is only in the cache.

A file has two contents: what a read shows, and what a power cut would leave for certain; between
them, page by page, every version written since the last sync. A folder likewise has its names now,
its names on the medium, and the changes since, in order.
"""

import errno
import os
from random import Random
from typing import Final

PAGE: Final = 4096
SECTOR: Final = 512  # what a disk writes whole or not at all, unless the page is being programmed
_ZEROS: Final = bytes(PAGE)


class File:
    """A file's pages. The last one is padded with zeros beyond `size`."""

    __slots__ = ("dirty", "size", "stable", "unreadable", "view")

    def __init__(self, size: int, pages: list[bytes]) -> None:
        self.size = size
        self.view = pages
        self.stable = pages[:]
        self.dirty: dict[int, list[bytes]] = {}  # page -> its versions since the last sync, oldest first
        self.unreadable: set[int] = set()

    @classmethod
    def zeros(cls, size: int) -> "File":
        """A file of zeros that are on the medium."""
        return cls(size, [_ZEROS] * -(-size // PAGE))

    def copy(self) -> "File":
        """A file in the same state."""
        twin = File(self.size, self.view[:])
        twin.stable = self.stable[:]
        twin.dirty = {page: versions[:] for page, versions in self.dirty.items()}
        twin.unreadable = set(self.unreadable)
        return twin

    def read(self, size: int, at: int) -> bytes:
        """Up to `size` bytes from offset `at`. Raises OSError (EIO) for an unreadable page."""
        end = min(at + size, self.size)
        if at >= end:
            return b""
        first, last = at // PAGE, (end - 1) // PAGE
        if self.unreadable and not self.unreadable.isdisjoint(range(first, last + 1)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        base = first * PAGE
        if first == last:
            return self.view[first][at - base : end - base]
        return b"".join(self.view[first : last + 1])[at - base : end - base]

    def write(self, content: bytes, at: int) -> None:
        """Into the cache; it makes the file longer where it must."""
        end = at + len(content)
        while len(self.view) * PAGE < end:
            self.view.append(_ZEROS)
            self.stable.append(_ZEROS)
        self.size = max(self.size, end)
        done = 0
        while done < len(content):
            page, start = divmod(at + done, PAGE)
            part = content[done : done + PAGE - start]
            if len(part) < PAGE:
                old = self.view[page]
                part, done = old[:start] + part + old[start + len(part) :], done + len(part)
            else:
                done += PAGE
            self.view[page] = part
            self.dirty.setdefault(page, []).append(part)
            self.unreadable.discard(page)

    def grow(self, size: int) -> None:
        """Make it as long as that with zeros that are on the medium."""
        missing = -(-size // PAGE) - len(self.view)
        self.view += [_ZEROS] * missing
        self.stable += [_ZEROS] * missing
        self.size = size

    def sync(self) -> None:
        """What is in the cache and counts as dirty is now on the medium."""
        for page in self.dirty:
            self.stable[page] = self.view[page]
        self.dirty.clear()

    def forget(self, at: int, size: int) -> None:
        """Drop clean pages from the cache: they are read from the medium again."""
        for page in range(at // PAGE, min(-(-(at + size) // PAGE), len(self.view))):
            if page not in self.dirty:
                self.view[page] = self.stable[page]

    def sync_fails(self, draw: Random) -> None:
        """Part of it reached the medium, all of it counts as clean: no later sync writes it (fsyncgate)."""
        for page, versions in self.dirty.items():
            if draw.random() < 0.5:
                self.stable[page] = sectors(self.stable[page], versions, draw)
        self.dirty.clear()


class Folder:
    """A folder's names. A change is a list of (name, what it stands for then, None for nothing)."""

    __slots__ = ("names", "pending", "stable")

    def __init__(self, names: "dict[str, Node] | None" = None) -> None:
        self.names: dict[str, Node] = names or {}
        self.stable = dict(self.names)
        self.pending: list[tuple[tuple[str, Node | None], ...]] = []

    def change(self, *names: "tuple[str, Node | None]") -> None:
        """Change names in one step, on the medium after the next sync."""
        apply(self.names, names)
        self.pending.append(names)

    def sync(self) -> None:
        """All names are on the medium."""
        self.stable = dict(self.names)
        self.pending.clear()


Node = File | Folder


def apply(names: dict[str, Node], change: tuple[tuple[str, Node | None], ...]) -> None:
    """Carry out one change of names."""
    for name, node in change:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def sectors(stable: bytes, versions: list[bytes], draw: Random) -> bytes:
    """A page of which every sector is as it was, or of any version since."""
    if len(versions) == 1:
        # One write under way, the usual case: a prefix, a suffix, a hole, or any mixture of two pages.
        mask = draw.choice((0x0F, 0x01, 0x7F, 0xFE, 0xF0, draw.getrandbits(8)))
        choice = [versions[0] if mask >> n & 1 else stable for n in range(PAGE // SECTOR)]
    else:
        all_of_them = [stable, *versions]
        choice = [draw.choice(all_of_them) for _ in range(PAGE // SECTOR)]
    return b"".join(page[n * SECTOR : (n + 1) * SECTOR] for n, page in enumerate(choice))
