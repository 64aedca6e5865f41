"""Which modules of the stock kernel its guest loads, in which order, and with which parameters."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_hil.engines import EngineError

# To reach the root file system and to say more than the console can. Loaded before anything else.
ROOT: Final = ("virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay")

# What the ladder needs. Bluetooth's pairing takes ciphers, and random numbers from drbg: without those the
# kernel finds its own elliptic curves broken. BlueZ reaches the ciphers through AF_ALG.
LADDER: Final = (
    *("configfs", "libcomposite", "usb_f_acm", "usb_f_serial", "usb_f_fs", "usb_f_uac2", "usb_f_uvc"),
    *("cdc_acm", "ftdi_sio", "snd_usb_audio", "uvcvideo"),
    *("sha3_generic", "jitterentropy_rng", "sha512_generic", "ctr", "drbg"),
    *("cmac", "ecb", "algif_hash", "algif_skcipher"),
    *("hci_vhci", "uhid"),
    *("snd_aloop", "vivid"),
    *("i2c_dev", "i2c_stub"),
    *("veth", "tun", "sch_netem"),
    *("virtio_blk", "crc32c_generic", "ext4"),
)

# Ours: not in Debian's kernel, or changed.
BUILT: Final = ("dummy_hcd", "gpio-sim")

# As the kernel command line of the UML guest says them.
PARAMETERS: Final[Mapping[str, str]] = {
    "dummy_hcd": "num=6",
    "vivid": "n_devs=1 node_types=0x1",
    "i2c_stub": "chip_addr=0x48",
}

_DEPENDS = re.compile(rb"(?:^|\0)depends=([\w,-]*)\0")


class NoSuchModule(EngineError):
    """A module that the ladder needs is not in this kernel; the text names it."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module file, and what it is loaded with."""

    name: str
    path: Path
    parameters: str = ""


def plain(name: str) -> str:
    """A module's name as the kernel says it: it takes "-" and "_" for the same."""
    return name.replace("-", "_")


def depends(content: bytes) -> tuple[str, ...]:
    """What a module file (.ko) says that it depends on."""
    found = _DEPENDS.search(content)
    return tuple(filter(None, found[1].decode().split(","))) if found else ()


class Tree:
    """The modules of one kernel: /lib/modules/RELEASE, and further folders with modules of our own.

    A module that stands in two of the folders is taken from the last one.
    """

    def __init__(self, root: Path, *further: Path) -> None:
        self._files = {
            plain(path.stem): path for folder in (root, *further) for path in sorted(folder.rglob("*.ko"))
        }
        names = (root / "modules.builtin").read_text().splitlines()
        self._built_in = {plain(Path(name).stem) for name in names}

    def in_order(self, wanted: Iterable[str]) -> list[Module]:
        """The wanted modules and all that they depend on, each after what it needs.

        What is built into this kernel is left out. Raises NoSuchModule.
        """
        order: dict[str, Module] = {}
        for name in wanted:
            self._add(plain(name), order, for_whom="the ladder")
        return list(order.values())

    def _add(self, name: str, order: dict[str, Module], *, for_whom: str) -> None:
        if name in order or name in self._built_in:
            return
        path = self._files.get(name)
        if path is None:
            raise NoSuchModule(f"this kernel has no module {name}, which {for_whom} needs")
        for other in depends(path.read_bytes()):
            self._add(plain(other), order, for_whom=name)
        order[name] = Module(name, path, PARAMETERS.get(name, ""))
