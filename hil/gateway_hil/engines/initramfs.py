"""The QEMU guest's first root file system: busybox, the modules to load, and the script that loads them."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from gateway_hil.engines import EngineError
from gateway_hil.engines.cpio import Archive
from gateway_hil.engines.modules import Module
from gateway_hil.engines.stockkernel import StockKernel

BUSYBOX: Final = Path("/bin/busybox")
_INTERPRETER: Final = b"/lib64/ld-linux"  # a program that says this near its start is linked dynamically
_HEADERS_END: Final = 4096

# What the accelerator's trial boots: says a word and ends.
_TRIAL: Final = """\
#!/bin/busybox sh
echo {word}
/bin/busybox mount -t proc proc /proc
echo o >/proc/sysrq-trigger
while :; do /bin/busybox sleep 1; done
"""


class NoBusybox(EngineError):
    """There is no busybox that runs without libraries; the text says how to get one."""


def for_ladder(kernel: StockKernel, init: Path) -> bytes:
    """What the ladder's guest starts with; `init` goes on, from the host's files. Raises NoBusybox."""
    archive = _with_busybox()
    script = resources.files("gateway_hil.guest").joinpath("initramfs.sh").read_bytes()
    archive.file("init", script, mode=0o755)
    archive.file("next", f"{init}\n".encode())
    for folder in ("lower", "layer", "root"):
        archive.folder(folder)
    for name, modules in (("root", kernel.for_root), ("ladder", kernel.for_ladder)):
        archive.file(f"modules/{name}", _listed(modules).encode())
        for module in modules:
            archive.file(f"modules/{module.name}.ko", module.path.read_bytes())
    return archive.packed()


def for_trial(word: str) -> bytes:
    """What a guest starts with that shall only print a word. Raises NoBusybox."""
    archive = _with_busybox()
    archive.file("init", _TRIAL.format(word=word).encode(), mode=0o755)
    return archive.packed()


def _listed(modules: Iterable[Module]) -> str:
    """One module a line: name, then parameters."""
    return "".join(f"{module.name} {module.parameters}".strip() + "\n" for module in modules)


def _with_busybox() -> Archive:
    try:
        busybox = BUSYBOX.read_bytes()
    except FileNotFoundError:
        busybox = b""
    if not busybox or _INTERPRETER in busybox[:_HEADERS_END]:
        raise NoBusybox(f"{BUSYBOX} is missing or needs libraries; as root: apt-get install busybox-static")
    archive = Archive()
    archive.file("bin/busybox", busybox, mode=0o755)
    for folder in ("proc", "sys", "dev"):
        archive.folder(folder)
    archive.character_device("dev/console", 5, 1)
    return archive
