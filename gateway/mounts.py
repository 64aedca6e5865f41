"""What kind of file system a folder is on: some forget everything when the power goes."""

import os
from pathlib import Path
from typing import Final

FORGETFUL: Final = frozenset({"tmpfs", "ramfs", "overlay"})  # an overlay's upper layer is often in memory


def filesystem_of(path: Path) -> str:
    """Type of the file system that holds `path`, as /proc/self/mountinfo (proc(5)) names it."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = "unknown"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split(" ")[2] == wanted:
                found = after.split(" ")[0]
    return found
