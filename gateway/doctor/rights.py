"""May this user open it? If not, which group would let them."""

import grp
import os
import pwd
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding

# For devices that belong to root alone: the group that systems usually give them.
_GROUPS: Final = {"serial": "dialout", "gpio": "gpio", "alsa": "audio", "v4l2": "video"}


def may_open(device: Path) -> bool:
    """Whether this user may read and write a device."""
    return os.access(device, os.R_OK | os.W_OK)


def device_rights(check: str, device: Path, what: str) -> Finding:
    """Whether this user may read and write a device, and which group would let them."""
    if may_open(device):
        return Finding(check, "ok", f"{device} ({what}) can be opened")
    try:
        gid = device.stat().st_gid
    except FileNotFoundError:
        text = f"{device} ({what}) is not there, though the kernel has it"
        return Finding(check, "wrong", text, f"in a container, hand it in (docker: --device {device})")
    user = user_name()
    text = f"{device} ({what}) may not be opened by {user}"
    if gid == 0:
        return Finding(check, "wrong", text, _give_away(check, device))
    group = _group_name(gid)
    if user in _members(gid):
        return Finding(check, "wrong", f"{text} in this session", f"log out and in again, or: newgrp {group}")
    return Finding(check, "wrong", text, joining(group))


def joining(group: str) -> str:
    """The line with which this user joins a group."""
    return f"sudo usermod -aG {group} {user_name()}, then log out and in again"


def user_name() -> str:
    """Who asks."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _give_away(check: str, device: Path) -> str:
    """For a device that is root's alone. Chips of GPIO lines stay so on most systems: they need a rule."""
    group = _GROUPS[check]
    if check != "gpio":
        return f"sudo chgrp {group} {device}; sudo chmod 660 {device}"
    rule = 'SUBSYSTEM=="gpio", GROUP="gpio", MODE="0660"'
    write = f"echo '{rule}' | sudo tee /etc/udev/rules.d/60-gpio.rules"
    return f"sudo groupadd -f {group}; {write}; sudo udevadm trigger --subsystem-match=gpio"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except KeyError:
        return []
