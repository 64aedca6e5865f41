"""What dm-log-writes noted of a disk: every write as it was done, and the states a power cut may leave.

Format: drivers/md/dm-log-writes.c of the kernel. A page-sized head (magic, version, number of entries,
sector size), then entries: a head of one sector (sector, sectors, flags, length), a mark's text in it, a
write's content behind it. All little-endian. A flush is noted behind the writes that it makes durable.
"""

import os
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAGIC: Final = 0x6A736677736872
_HEAD: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Write:
    """One entry. `at` is an offset on the disk, `found_at` and `length` where its content is in the log."""

    at: int
    found_at: int
    length: int
    flushes: bool  # makes all before it durable
    durable: bool  # is so itself, as soon as it is done (FUA)
    mark: str = ""


class DiskLog:
    """A log, read back when its disk is unmounted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            magic, _, count, self._unit = _HEAD.unpack(file.read(_HEAD.size))
            if magic != _MAGIC:
                raise ValueError(f"{path} is no log of dm-log-writes")
            self.entries = list(self._read(file.fileno(), count))

    def _read(self, fd: int, count: int) -> Iterator[Write]:
        at = self._unit
        for _ in range(count):
            head = os.pread(fd, self._unit, at)
            sector, sectors, flags, length = _ENTRY.unpack_from(head)
            at += self._unit
            size = 0 if flags & (_DISCARD | _MARK) else sectors * self._unit
            mark = head[_ENTRY.size : _ENTRY.size + length].split(b"\0")[0].decode() if flags & _MARK else ""
            durable = bool(flags & _FUA)
            yield Write(sector * self._unit, at, size, bool(flags & _FLUSH), durable, mark)
            at += size

    def states(self, chance: random.Random, count: int) -> Iterator["CutState"]:
        """So many power cuts, drawn by chance, in order of time."""
        cuts = sorted(chance.randrange(len(self.entries) + 1) for _ in range(count))
        for cut in cuts:
            flushed = max((n for n in range(cut) if self.entries[n].flushes), default=-1) + 1
            # What was done and not flushed, and what was on its way: any of it may be there, or a part.
            end = next(
                (n for n in range(cut, len(self.entries)) if self.entries[n].flushes), len(self.entries)
            )
            loose = [
                entry
                for n, entry in enumerate(self.entries[flushed:end], flushed)
                if (n < cut and entry.durable) or chance.random() < 0.5
            ]
            if chance.random() < 0.5:  # caches of disks write in any order, too
                chance.shuffle(loose)
            yield CutState(self, cut, self.entries[:flushed], loose, chance.random() < 0.5)

    def marks_before(self, cut: int) -> list[str]:
        """Texts of the marks that were set before a cut, and the first one behind it as the last."""
        before = [entry.mark for entry in self.entries[:cut] if entry.mark]
        after = next((entry.mark for entry in self.entries[cut:] if entry.mark), "")
        return [*before, after]

    def apply(self, entries: Sequence[Write], image: Path) -> None:
        """Write these entries into a disk's image."""
        with self._path.open("rb") as log, image.open("r+b") as disk:
            for entry in entries:
                if entry.length:
                    content = os.pread(log.fileno(), entry.length, entry.found_at)
                    os.pwrite(disk.fileno(), content, entry.at)


@dataclass(frozen=True, slots=True)
class CutState:
    """A power cut before entry `cut`: what had been flushed, and what else happens to be there."""

    log: DiskLog
    cut: int
    flushed: Sequence[Write]
    loose: Sequence[Write]
    torn: bool

    def onto(self, image: Path, chance: random.Random) -> None:
        """Bring an image with the flushed part on it into this state."""
        loose = list(self.loose)
        if self.torn and loose and not loose[-1].durable and loose[-1].length > _SECTOR:
            last = loose.pop()
            part = chance.randrange(last.length // _SECTOR) * _SECTOR
            loose.append(Write(last.at, last.found_at, part, flushes=False, durable=False))
        self.log.apply(loose, image)


_SECTOR: Final = 512
