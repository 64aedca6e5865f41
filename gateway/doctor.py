"""What this machine can and cannot read, and the one line that mends each thing that is wrong.

Every check looks and changes nothing; none opens a device, so it can run beside a working box.
`root` stands for the root of the file system, so that tests can show it another machine.
"""

import grp
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gateway.catalogue import catalogue
from gateway.clock import NOT_KNOWN_US, ClockSource, ClockState, SystemClock
from gateway.compile import compiled
from gateway.errors import ConfigError, PortGone
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.plan import Plan
from gateway.ports.adapters import adapters, find_device
from gateway.ports.url import parse_port

State = Literal["ok", "note", "wrong"]

_RUNTIMES: Final = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_IMPORT_TIMEOUT_S: Final = 60.0
_OTHER_BUSES: Final = (
    ("ble", "Bluetooth adapter", "sys/class/bluetooth", "hci*"),
    ("gpio", "GPIO chip", "dev", "gpiochip*"),
    ("alsa", "sound card that records", "dev/snd", "pcm*c"),
    ("v4l2", "camera", "dev", "video*"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is what to type or do, empty where nothing is to be done."""

    check: str
    state: State
    text: str
    mend: str = ""


def examine(site: Path | None) -> Iterator[Finding]:
    """Everything, in the order in which to mend it. `site` is the site file, if there is one."""
    yield python_version(sys.version_info[:2], sys.maxsize)
    yield from extras()
    yield from drivers()
    plan = None
    if site is None:
        yield Finding("site file", "note", "there is none here", "gateway init")
    else:
        try:
            plan = compiled(site)
            yield Finding("site file", "ok", f"{site} is right: {len(plan.sensors)} sensors")
        except ConfigError as error:
            yield Finding("site file", "wrong", str(error), f"edit {site}, then: gateway check {site}")
    yield from serial_ports(plan)
    yield from other_buses()
    yield clock(SystemClock().state())
    if plan is not None:
        yield from state_folder(plan)
        yield enrolment(plan.state)


def python_version(version: tuple[int, int], largest: int) -> Finding:
    """Python 3.11 to 3.13 on a 64-bit system."""
    text = f"{version[0]}.{version[1]} on a {'64' if largest > 2**32 else '32'}-bit system"
    if largest <= 2**32:
        return Finding("python", "wrong", text, "install a 64-bit system; no 32-bit packages are made")
    if not (3, 11) <= version < (3, 14):
        return Finding("python", "wrong", text, "use Python 3.11, 3.12 or 3.13")
    return Finding("python", "ok", text)


def extras() -> Iterator[Finding]:
    """The optional packages: a model runtime, and readers of sound and Bluetooth."""
    yield runtime(_RUNTIMES)
    for extra, module, purpose in (
        ("audio", "soundfile", "replay sound"),
        ("ble", "bleak", "hear Bluetooth"),
    ):
        if importlib.util.find_spec(module) is None:
            mend = f"pip install 'pole-gateway[{extra}]'"
            yield Finding(extra, "note", f"{module} is not installed: this box cannot {purpose}", mend)
        else:
            yield Finding(extra, "ok", f"{module} is installed")


def runtime(modules: tuple[str, ...]) -> Finding:
    """The first model runtime that can be imported; tried in a child, because a wrong one crashes."""
    broken = []
    for module in modules:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            continue
        child = subprocess.run(
            [sys.executable, "-P", "-c", f"import numpy, {module}"],
            capture_output=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
        if child.returncode == 0:
            return Finding("models", "ok", f"{module.partition('.')[0]} runs them")
        broken.append(f"{module.partition('.')[0]} is installed but cannot be imported")
    mend = "pip install 'pole-gateway[inference]'"
    if broken:
        return Finding("models", "wrong", "; ".join(broken), mend)
    return Finding("models", "note", "no runtime is installed: sensors run without their models", mend)


def drivers() -> Iterator[Finding]:
    """Installed drivers; a broken one is worth a note, an error only where the site file uses it."""
    try:
        rows = catalogue()
    except ConfigError as error:
        yield Finding("drivers", "wrong", str(error), "uninstall what is named")
        return
    for row in rows:
        if "error" in row:
            yield Finding("drivers", "note", row["error"], f"mend or uninstall {row['distribution']}")
    good = [row["name"] for row in rows if "error" not in row]
    yield Finding("drivers", "ok" if good else "wrong", f"{len(good)} installed: {', '.join(good)}")


def serial_ports(plan: Plan | None) -> Iterator[Finding]:
    """Adapters that are plugged in, ports the site file names, and whether this user may open them."""
    devices = {adapter.device: str(adapter) for adapter in adapters()}
    for port in plan.ports if plan else ():
        url = parse_port(port.url)
        if url.scheme != "serial":
            continue
        names = " and ".join(sensor.name for sensor in port.sensors)
        try:
            devices[find_device(url.place)] = f"port of {names}"
        except PortGone as error:
            yield Finding("serial", "wrong", f"{names}: {error}", f"plug it in, or correct {port.url}")
    for device, what in devices.items():
        yield device_rights(Path(device), what)
    if not devices:
        yield Finding("serial", "note", "no serial adapter is plugged in")


def device_rights(device: Path, what: str) -> Finding:
    """Whether this user may read and write a device, and which group would let them."""
    if os.access(device, os.R_OK | os.W_OK):
        return Finding("serial", "ok", f"{device} ({what}) can be opened")
    gid = device.stat().st_gid
    group = _group_name(gid)
    user = _user_name()
    text = f"{device} ({what}) may not be opened by {user}"
    if gid == 0:
        return Finding("serial", "wrong", text, f"sudo chgrp dialout {device}; sudo chmod 660 {device}")
    if user in _members(gid):
        return Finding(
            "serial", "wrong", f"{text} in this session", f"log out and in again, or: newgrp {group}"
        )
    return Finding("serial", "wrong", text, f"sudo usermod -aG {group} {user}, then log out and in again")


def other_buses(root: Path = Path("/")) -> Iterator[Finding]:
    """Buses besides serial lines: is one there, and can this version open it?"""
    for scheme, what, folder, pattern in _OTHER_BUSES:
        names = sorted(path.name for path in (root / folder).glob(pattern))
        if not names:
            yield Finding(scheme, "note", f"no {what} is here")
        else:
            yield Finding(scheme, "ok", f"{', '.join(names)}")


def clock(state: ClockState) -> Finding:
    """How well the wall clock is known. Records are right later even where it is not."""
    error = "unknown error" if state.error_us == NOT_KNOWN_US else f"error under {state.error_us / 1e6:.3g} s"
    if state.source is ClockSource.NONE:
        text = "nothing says that the clock is right; records are dated anew once something does"
        return Finding("clock", "wrong", text, "sudo timedatectl set-ntp true")
    if state.source is ClockSource.RTC:
        text = f"nothing keeps it right now ({error})"
        return Finding("clock", "note", text, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", f"kept right by {state.source.name} ({error})")


def state_folder(plan: Plan) -> Iterator[Finding]:
    """The state folder: may be written, survives a power cut, has room for the spool."""
    state = plan.state
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        mend = f"sudo install -d -o {_user_name()} -m 700 {state}"
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


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except KeyError:
        return []
