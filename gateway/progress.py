"""How far a worker has dealt with what its port heard, in a file that outlives the worker.

16 bytes, mapped into memory: 8 bytes of the boot id, then a u64 (little-endian) of CLOCK_MONOTONIC
in nanoseconds. The next worker of the port reads it and knows since when the port was deaf.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

_FILE: Final = struct.Struct("<8sQ")


class Progress:
    """The progress file of one port. `before_ns` is what the worker before this one left, in this boot."""

    def __init__(self, path: Path, boot: bytes) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(fd).st_size != _FILE.size:
                os.ftruncate(fd, 0)
                os.posix_fallocate(fd, 0, _FILE.size)  # a full disk fails here, not at a store into the map
            self._map = mmap.mmap(fd, _FILE.size)
        finally:
            os.close(fd)
        written_in, ns = _FILE.unpack(self._map)
        self.before_ns: int | None = ns if written_in == boot and ns > 0 else None
        if self.before_ns is None:
            self._map[:] = _FILE.pack(boot, 0)
        # One aligned 8-byte store: a worker killed at any moment leaves the old value or the new one.
        # Native order, which is little-endian on everything this runs on.
        self._words = memoryview(self._map).cast("Q")

    def set(self, ns: int) -> None:
        """Everything heard up to this time has been dealt with."""
        self._words[1] = ns

    def close(self) -> None:
        """Unmap the file; its content stays."""
        self._words.release()
        self._map.close()
