"""What the bench changes in Linux before it builds its guest kernel: small, scripted edits of the source.

Each is written against Debian's linux-source-6.12. An edit whose place does not look exactly as expected
fails and says which: a kernel that was half changed must never be built.
"""

import dataclasses
from pathlib import Path

from gateway_hil.guest import edits_usb

__all__ = ["EDITS", "Edit", "EditFailed", "apply"]


class EditFailed(Exception):
    """The source is not the one that an edit was written for."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """Texts to replace in one file, each of which stands there exactly once."""

    why: str
    path: str
    swaps: tuple[tuple[str, str], ...]

    def changed(self, text: str) -> str:
        """The file's text after this edit. Raises EditFailed."""
        for old, new in self.swaps:
            found = text.count(old)
            if found != 1:
                first = next(line for line in old.splitlines() if line.strip()).strip()
                raise EditFailed(
                    f"{self.path}: the text to change ('{first} …') is there {found} times, not once: "
                    f"the edit '{self.why}' was written for another source of Linux and must be adapted"
                )
            text = text.replace(old, new)
        return text


# Registers of the guest's processes are saved through ptrace into a buffer on the kernel's stack. On a host
# with AMX they take 11 KiB; the stock buffer holds 2.6 KiB and the guest panics ("ptrace set fp regs
# failed"). The stack must grow with it: CONFIG_KERNEL_STACK_ORDER in uml.config.
_REGISTERS = Edit(
    "room for the vector registers of CPUs with AMX",
    "arch/x86/um/user-offsets.c",
    (("DEFINE_LONGS(HOST_FP_SIZE, 2696);", "DEFINE_LONGS(HOST_FP_SIZE, 12288);"),),
)

# Stock Linux offers it as a module only; the guest has none.
_I2C_STUB = Edit(
    "the I2C stub built in",
    "drivers/i2c/Kconfig",
    (
        (
            'config I2C_STUB\n\ttristate "I2C/SMBus Test Stub"\n\tdepends on m\n',
            'config I2C_STUB\n\ttristate "I2C/SMBus Test Stub"\n',
        ),
    ),
)

_ISOCHRONOUS = Edit(
    "isochronous transfers between USB gadgets and the emulated USB host",
    edits_usb.PATH,
    edits_usb.ISOCHRONOUS,
)

_QUIET = Edit(
    "an emulated USB host that sleeps while nothing can move",
    edits_usb.PATH,
    edits_usb.QUIET,
)

EDITS = (_REGISTERS, _I2C_STUB, _ISOCHRONOUS, _QUIET)


def apply(source: Path, edits: tuple[Edit, ...] = EDITS) -> None:
    """Edit an unpacked kernel source in place; all edits are tried before the first file is written."""
    texts: dict[str, str] = {}
    for edit in edits:
        if edit.path not in texts:
            try:
                texts[edit.path] = (source / edit.path).read_text()
            except FileNotFoundError:
                raise EditFailed(
                    f"there is no {edit.path} in {source}, so this is no kernel source"
                ) from None
        texts[edit.path] = edit.changed(texts[edit.path])
    for path, text in texts.items():
        (source / path).write_text(text)
