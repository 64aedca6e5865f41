"""The box's own folder: can it be written, does it last, has it room, does it know its hub?"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding
from gateway.doctor.rights import user_name
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.plan import Plan

# Overwriting a file's blocks in place is what saves the card; these write each page elsewhere instead.
_COPYING: Final = frozenset({"btrfs", "f2fs", "zfs", "bcachefs"})


def state_folder(plan: Plan) -> Iterator[Finding]:
    """The state folder: may be written, survives a power cut, has room for the spool."""
    state = plan.state
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    if is_read_only(there):
        text = f"{there} is on a disk that is mounted read-only, as the kernel does after errors"
        yield Finding("state", "wrong", text, "look at dmesg; the card may be dying: replace it")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        mend = f"sudo install -d -o {user_name()} -m 700 {state}"
        yield Finding("state", "wrong", f"{there} cannot be written", mend)
        return
    kind = filesystem_of(there)
    if kind in FORGETFUL:
        text = f"{state} is on {kind}: what it keeps is lost at a power cut"
        yield Finding("state", "note", text, "name a folder on a disk in the site file")
    elif kind in _COPYING:
        text = f"{state} is on {kind}, which wears a card out faster than ext4"
        yield Finding("state", "note", text, "give it a partition of its own with ext4")
    else:
        yield Finding("state", "ok", f"{state} can be written and is on {kind}")
    used = sum(file.stat().st_size for file in (state / "spool").rglob("*") if file.is_file())
    disk = shutil.disk_usage(there)
    yield from room(plan, disk.total >> 20, disk.free >> 20, used >> 20)


def is_read_only(folder: Path) -> bool:
    """Whether the file system of a folder is mounted read-only."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def room(plan: Plan, total_mib: int, free_mib: int, used_mib: int) -> Iterator[Finding]:
    """Whether the lanes' quotas, or at least their floors, fit on the disk beside the reserve."""
    spool = plan.spool
    reserve_mib = spool.reserve_bytes(total_mib << 20) >> 20
    may_use_mib = free_mib + used_mib
    floors_mib, quotas_mib = sum(map(min, spool.floor_mib, spool.quota_mib)), sum(spool.quota_mib)
    if may_use_mib < floors_mib:
        text = f"{free_mib} MiB are free; the spool's floors alone take {floors_mib - used_mib} MiB more"
        yield Finding("state", "wrong", text, "free some space, or lower floor_mib under [spool]")
    elif may_use_mib < quotas_mib + reserve_mib:
        text = f"{free_mib} MiB are free, the spool may grow by {quotas_mib - used_mib} MiB"
        if reserve_mib:
            text += f" and leaves {reserve_mib} MiB free"
        yield Finding("state", "wrong", text, "free some space, or lower quota_mib under [spool]")


def enrolment(state: Path) -> Finding:
    """Whether the box knows its hub. Without one it keeps its records."""
    if (state / "enrolment.json").exists():
        return Finding("hub", "ok", "this box is enrolled")
    text = "this box is not enrolled; it keeps its records until it is"
    return Finding("hub", "note", text, "on the hub: gateway hub token; then here the line it prints")
