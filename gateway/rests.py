"""Until when the rules of a port rest, in a file that outlives the worker.

Without it a worker that dies of what its rule does would do it again at each start, and what `gateway check`
prints as the most that rules can do in a minute would not hold. Mapped into memory: 8 bytes of the boot id,
8 of what the rules are, then for each rule a u64 of CLOCK_MONOTONIC in nanoseconds, in native order. Other
rules, or another boot, begin rested.
"""

import mmap
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gateway.plan import RulePlan

_HEAD_SIZE: Final = 16


def kept_rests(path: Path, boot: bytes, rules: Sequence[RulePlan]) -> memoryview:
    """A number for each rule, for `gateway.rules.Rules`; what is stored there, the next worker finds.

    One store is one aligned word: a worker that is killed leaves the old number or the new one. Raises
    OSError if there is no room for the file.
    """
    head = boot + blake2b(repr(tuple(rules)).encode(), digest_size=8).digest()
    size = _HEAD_SIZE + 8 * len(rules)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, 0)
            os.posix_fallocate(fd, 0, size)  # a full disk fails here, not at a store into the map
        map_ = mmap.mmap(fd, size)
    finally:
        os.close(fd)
    if map_[:_HEAD_SIZE] != head:
        map_[:] = head + bytes(size - _HEAD_SIZE)
    return memoryview(map_).cast("Q")[_HEAD_SIZE // 8 :]
