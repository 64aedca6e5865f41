"""The box's own folder: can it be written, does it last, does it know its hub?"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gateway.doctor.finding import Finding
from gateway.doctor.rights import user_name
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.plan import Plan


def state_folder(plan: Plan) -> Iterator[Finding]:
    """The state folder: may be written, survives a power cut, has room for the spool."""
    state = plan.state
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        mend = f"sudo install -d -o {user_name()} -m 700 {state}"
        yield Finding("state", "wrong", f"{there} cannot be written", mend)
        return
    kind = filesystem_of(there)
    if kind in FORGETFUL:
        text = f"{state} is on {kind}: what it keeps is lost at a power cut"
        yield Finding("state", "note", text, "name a folder on a disk in the site file")
    else:
        yield Finding("state", "ok", f"{state} can be written and is on {kind}")
    free_mib = shutil.disk_usage(there).free >> 20
    need_mib = sum(plan.spool.quota_mib)
    used_mib = sum(file.stat().st_size for file in (state / "spool").rglob("*") if file.is_file()) >> 20
    if free_mib + used_mib < need_mib:
        text = f"{free_mib} MiB are free, the spool may grow by {need_mib - used_mib} MiB"
        yield Finding("state", "wrong", text, "free some space, or lower quota_mib under [spool]")


def enrolment(state: Path) -> Finding:
    """Whether the box knows its hub. Without one it keeps its records."""
    if (state / "enrolment.json").exists():
        return Finding("hub", "ok", "this box is enrolled")
    text = "this box is not enrolled; it keeps its records until it is"
    return Finding("hub", "note", text, "on the hub: gateway hub token; then here the line it prints")
