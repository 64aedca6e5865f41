"""Which sound card a port means: numbers go to whichever card was found first, ids and USB names stay."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import PortGone
from gateway.ports.url import usb_name
from gateway.ports.usb import UsbIdentity, usb_identity

CLASS: Final = Path("/sys/class/sound")
LISTING: Final = Path("/proc/asound/cards")
NODES: Final = Path("/dev/snd")
_CARD: Final = re.compile(r"card(\d+)")
_CAPTURE: Final = re.compile(r"pcmC\d+D(\d+)c")
# " 0 [Loopback       ]: Loopback - Loopback", and below it the long name.
_LISTED: Final = re.compile(r"^ *(\d+) \[.*\n *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SoundCard:
    """A card as the kernel found it; `captures` are the numbers of what it can record from."""

    number: int
    id: str
    name: str
    driver: str
    usb: UsbIdentity | None
    captures: tuple[int, ...]

    @property
    def place(self) -> str:
        """What to write after "alsa:": the USB name where it has one, else the card's id."""
        return str(self.usb) if self.usb is not None else f"card/{self.id}"

    def node(self, capture: int) -> Path:
        """What is opened to record from one of `captures`."""
        return NODES / f"pcmC{self.number}D{capture}c"


def cards(folder: Path = CLASS, listing: Path = LISTING) -> list[SoundCard]:
    """Every sound card that can record, by number.

    From sysfs: a new card's nodes appear there before it is in the listing, which only gives its long name.
    """
    names = _long_names(listing)
    found = []
    for entry in _names(folder):
        match, card = _CARD.fullmatch(entry), folder / entry
        captures = sorted(int(m[1]) for m in map(_CAPTURE.fullmatch, _names(card)) if m is not None)
        if match is None or not captures:
            continue
        try:
            name = (card / "id").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # it was unplugged while we read
        number, driver = int(match[1]), (card / "device" / "driver").resolve().name
        usb = usb_identity(card / "device")
        found.append(SoundCard(number, name, names.get(number, name), driver, usb, tuple(captures)))
    return sorted(found, key=lambda card: card.number)


def find_card(place: str, found: Sequence[SoundCard]) -> tuple[SoundCard, int]:
    """The card that a place names, and which of its captures. Raises PortGone if there is not exactly one."""
    name = usb_name(place)
    wanted, _, capture = place.removeprefix("card/").partition(",")
    if name is not None:
        fitting = [card for card in found if card.usb is not None and card.usb.fits(name)]
    else:
        fitting = [card for card in found if card.id == wanted]
    if not fitting:
        raise PortGone(f"no sound card {place} is plugged in; check its plug, or run `gateway scan`")
    if len(fitting) > 1:
        sockets = ", ".join(f"{card.usb} in socket {card.usb.socket}" for card in fitting if card.usb)
        raise PortGone(
            f"{len(fitting)} sound cards are {place}: {sockets}; add the serial number "
            "(alsa:usb-VID:PID-SERIAL), or name one by its id (alsa:card/ID)"
        )
    card = fitting[0]
    number = int(capture) if name is None and capture else card.captures[0]
    if number not in card.captures:
        raise PortGone(f"card {card.id} records from {', '.join(map(str, card.captures))}, not {number}")
    return card, number


def user_of(node: Path) -> str:
    """Which process has this open, as "arecord (pid 812)"; empty if that is not for this user to see."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link.readlink() == node for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # it ended, or is another user's
    return ""


def look() -> list[tuple[str, int, int]]:
    """A cheap picture of all sound nodes; it differs once a card came or went, or a right changed."""
    seen = []
    for name in sorted(_names(NODES)):
        try:
            status = (NODES / name).stat()
        except OSError:
            continue
        seen.append((name, status.st_ino, status.st_ctime_ns))
    return seen


def _long_names(listing: Path) -> dict[int, str]:
    try:
        listed = listing.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}  # this kernel has no sound
    return {int(number): name.strip() for number, name in _LISTED.findall(listed)}


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
