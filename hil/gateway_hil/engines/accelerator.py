"""Whether QEMU may run the guest on the processor itself, found out by booting one and remembered.

A /dev/kvm that is there proves nothing: within virtual machines there are some with which no stock kernel
reaches its first process. What was found holds for one host kernel and one QEMU.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRIAL_S: Final = 15.0  # how long a guest may take to its first process; with KVM that is about a second
DOOR: Final = Path("/dev/kvm")
_FILE: Final = "accelerator.json"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How the guest's instructions are run, and QEMU's arguments for it."""

    name: str
    arguments: tuple[str, ...]


KVM: Final = Accelerator("kvm", ("-accel", "kvm", "-cpu", "host"))
# Interpreted. The named extensions are those that numpy and the inference runtimes expect of any machine.
TCG: Final = Accelerator(
    "tcg", ("-accel", "tcg,thread=multi", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt")
)


def choose(
    cache: Path,
    qemu: str,
    boots: Callable[[Accelerator], bool],
    say: Callable[[str], None],
    *,
    door: Path = DOOR,
) -> Accelerator:
    """KVM if a guest boots with it, TCG otherwise. `boots` tries it; `qemu` is QEMU's version.

    `boots` is called only if the door opens and nothing is remembered for this kernel and this QEMU.
    """
    if not _opens(door):
        say(f"{door} is not there or not ours to open, so the guest is interpreted (tcg)")
        return TCG
    about = f"{os.uname().release} {os.uname().version} / {qemu}"
    remembered = _remembered(cache)
    if about not in remembered:
        say(f"trying whether a guest boots with {door} (at most {TRIAL_S:g} s)")
        remembered[about] = boots(KVM)
        # A file of its own, renamed: another run may be reading it.
        fresh = cache / f"{_FILE}.{os.getpid()}"
        fresh.write_text(json.dumps(remembered, indent=1) + "\n")
        fresh.replace(cache / _FILE)
    if remembered[about]:
        say(f"the guest runs on the processor itself (kvm): one booted within {TRIAL_S:g} s")
        return KVM
    say(f"no guest boots with {door} here, so it is interpreted (tcg); {cache / _FILE} remembers this")
    return TCG


def _opens(door: Path) -> bool:
    try:
        os.close(os.open(door, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _remembered(cache: Path) -> dict[str, bool]:
    """What earlier trials found; nothing, if that is not to be read."""
    try:
        found = json.loads((cache / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {about: answer for about, answer in found.items() if isinstance(answer, bool)}
