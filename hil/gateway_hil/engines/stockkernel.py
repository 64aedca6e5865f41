"""Debian's stock kernel for the QEMU guest: fetched by package, with two modules of ours, kept by version.

Nothing is installed. gpio-sim is not in Debian's kernel, so it is built from the source package; dummy_hcd is
built once more with the edits that the UML guest's kernel has. Both take seconds, with the headers package.
"""

import hashlib
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_hil.engines import EngineError, modules
from gateway_hil.engines.debian import (
    SERIES,
    KernelPackages,
    NoPackage,
    fetch,
    newest_kernel,
    unpack,
    update_lists,
)
from gateway_hil.engines.modules import Module, Tree
from gateway_hil.guest import edits, edits_usb

# irq_to_desc is not exported to modules; what it returns can be had from functions that are.
_NO_HIDDEN_SYMBOL: Final = edits.Edit(
    "a simulated interrupt controller that needs no hidden symbol",
    "kernel/irq/irq_sim.c",
    (
        (
            "handle_simple_irq(irq_to_desc(irqnum));",
            "handle_simple_irq(irq_data_to_desc(irq_get_irq_data(irqnum)));",
        ),
    ),
)
_EDITS: Final = (_NO_HIDDEN_SYMBOL, *(edit for edit in edits.EDITS if edit.path == edits_usb.PATH))

_SOURCES: Final = (
    "drivers/gpio/gpio-sim.c",
    "drivers/gpio/gpiolib.h",
    "kernel/irq/irq_sim.c",
    edits_usb.PATH,
)

# The simulated interrupts are a library of the kernel that Debian leaves out, too: they go into gpio-sim.
_KBUILD: Final = f"""\
obj-m := gpio-sim.o dummy_hcd.o
gpio-sim-y := drivers/gpio/gpio-sim.o kernel/irq/irq_sim.o
dummy_hcd-y := {edits_usb.PATH.removesuffix(".c")}.o
ccflags-y += -DCONFIG_IRQ_SIM -DCONFIG_IRQ_SIM_MODULE
"""

# A line each: release, number of modules for the root, then names and parameters, in order.
_LIST: Final = "load.txt"

# Offsets in a bzImage. Source: Documentation/x86/boot.rst, "The real-mode kernel header".
_SETUP_SECTORS: Final = 0x1F1
_PAYLOAD_OFFSET: Final = 0x248
_PAYLOAD_LENGTH: Final = 0x24C
_SECTOR: Final = 512
_XZ: Final = b"\xfd7zXZ\0"


class BuildFailed(EngineError):
    """The modules of our own cannot be built; the text is the compiler's complaint."""


@dataclass(frozen=True, slots=True)
class StockKernel:
    """A kernel that is ready to boot: its release as `uname -r` says it, its image, its modules in order."""

    release: str
    image: Path
    for_root: tuple[Module, ...]  # loaded before the root file system is mounted
    for_ladder: tuple[Module, ...]


def prepare(cache: Path, say: Callable[[str], None]) -> StockKernel:
    """The newest stock kernel that apt knows: from the cache, or fetched and built now (half a minute).

    If apt has none, its lists are renewed, where we may; then a kernel that was kept earlier has to do.
    The caller holds the cache's lock. Raises NoPackage, NoSuchModule or BuildFailed.
    """
    try:
        return _newest(cache, say)
    except NoPackage as first:
        say(str(first))
        try:
            if os.geteuid() == 0:
                say("renewing apt's lists")
                update_lists()
                return _newest(cache, say)
        except NoPackage as second:
            say(str(second))
        kept = sorted(cache.glob(_kept("*")), key=lambda folder: folder.stat().st_mtime)
        if not kept:
            raise
        say(f"going on with the kernel that was kept from an earlier run: {kept[-1]}")
        return _load(kept[-1])


def _newest(cache: Path, say: Callable[[str], None]) -> StockKernel:
    packages = newest_kernel()
    kept = cache / _kept(packages.version)
    if not kept.is_dir():
        say(f"fetching Debian's kernel {packages.release}, its headers and its source: 225 MB")
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            done = _assemble(packages, Path(scratch), say)
            done.rename(kept)
        say(f"kernel {packages.release} is ready")
    return _load(kept)


def _kept(version: str) -> str:
    """The name of a kernel's folder in the cache."""
    return f"stock-{version}-{_digest()}"


def _digest() -> str:
    """What the folder's content depends on, besides the packages' version."""
    parts = (
        _EDITS,
        _SOURCES,
        _KBUILD,
        _LIST,
        modules.ROOT,
        modules.LADDER,
        modules.BUILT,
        modules.PARAMETERS,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _load(kept: Path) -> StockKernel:
    release, first, *lines = (kept / _LIST).read_text().splitlines()
    every = []
    for line in lines:
        name, _, parameters = line.partition(" ")
        every.append(Module(name, kept / f"{name}.ko", parameters))
    return StockKernel(release, kept / "vmlinux", tuple(every[: int(first)]), tuple(every[int(first) :]))


def _assemble(packages: KernelPackages, scratch: Path, say: Callable[[str], None]) -> Path:
    """Make the folder that is kept: image, modules, and the list of what to load. Returns it."""
    debs = scratch / "packages"
    debs.mkdir()
    fetch(packages.exactly(packages.image, *packages.headers, packages.source), debs)
    system = scratch / "system"
    for deb in sorted(debs.iterdir()):
        unpack(deb, system)
    shutil.rmtree(debs)
    say(f"building {' and '.join(modules.BUILT)} for it")
    source = scratch / "source"
    _take_sources(system / f"usr/src/linux-source-{SERIES}.tar.xz", source)
    build_modules(source, _headers(system, packages))
    done = scratch / "done"
    done.mkdir()
    image = (system / f"boot/vmlinuz-{packages.release}").read_bytes()
    (done / "vmlinux").write_bytes(uncompressed(image))
    tree = Tree(system / f"lib/modules/{packages.release}", source)
    for_root = tree.in_order(modules.ROOT)
    every = tree.in_order((*modules.ROOT, *modules.LADDER, *modules.BUILT))
    for module in every:
        shutil.copyfile(module.path, done / f"{module.name}.ko")
    lines = [packages.release, str(len(for_root))]
    lines += (f"{module.name} {module.parameters}".strip() for module in every)
    (done / _LIST).write_text("\n".join(lines) + "\n")
    return done


def _take_sources(archive: Path, into: Path) -> None:
    """Unpack the few files that are built. Raises BuildFailed if one is not in the archive."""
    wanted = {f"linux-source-{SERIES}/{name}": name for name in _SOURCES}
    with tarfile.open(archive, mode="r|xz") as members:
        for member in members:
            name = wanted.pop(member.name, None)
            content = members.extractfile(member) if name else None
            if name and content:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(content.read())
            if not wanted:
                return
    raise BuildFailed(f"linux-source-{SERIES} has no {', '.join(wanted.values())}")


def _headers(system: Path, packages: KernelPackages) -> Path:
    """The unpacked headers, made to find their other half where it is instead of below /usr/src."""
    headers = system / f"usr/src/linux-headers-{packages.release}"
    common = system / f"usr/src/{packages.headers[1]}"
    (headers / "Makefile").write_text(f"include {common}/Makefile\n")
    return headers


def build_modules(source: Path, headers: Path) -> None:
    """Edit the sources, build the modules next to them, strip them. Raises BuildFailed."""
    try:
        edits.apply(source, _EDITS)
    except edits.EditFailed as error:
        raise BuildFailed(str(error)) from error
    (source / "Kbuild").write_text(_KBUILD)
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "ARCH"}}
    command = ["make", "-s", "-C", str(headers), f"M={source}", "modules"]
    built = [str(source / f"{name}.ko") for name in modules.BUILT]
    for step in (command, ["strip", "--strip-debug", *built]):
        try:
            done = subprocess.run(
                step, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise BuildFailed(f"there is no {step[0]} here; as root: apt-get install gcc make") from None
        if done.returncode != 0:
            last = "\n".join(done.stderr.decode(errors="replace").splitlines()[-8:])
            raise BuildFailed(f"{step[0]} could not make {' and '.join(modules.BUILT)}:\n{last}")


def uncompressed(image: bytes) -> bytes:
    """The kernel that a bzImage unpacks itself to, which saves an emulated CPU two seconds at each boot.

    An image that is not packed with xz is returned as it is: it boots, too.
    """
    start = (image[_SETUP_SECTORS] + 1) * _SECTOR + int.from_bytes(
        image[_PAYLOAD_OFFSET : _PAYLOAD_OFFSET + 4], "little"
    )
    length = int.from_bytes(image[_PAYLOAD_LENGTH : _PAYLOAD_LENGTH + 4], "little")
    payload = image[start : start + length]
    if not payload.startswith(_XZ):
        return image
    return lzma.LZMADecompressor().decompress(payload)
