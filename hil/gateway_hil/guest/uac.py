"""A USB microphone by configfs: the gadget's uac2 function, whose card on the gadget's side plays into it."""

from pathlib import Path
from typing import Final

from gateway.ports.soundcards import LISTING
from gateway_hil.guest.gadget import Function, Gadget

_CLASS: Final = Path("/sys/class/sound")
_SAMPLE_OCTETS: Final = 2


def microphone_gadget(
    vendor: int, product: int, serial: str, rate_hz: int, channels: int, controller: str | None = None
) -> Gadget:
    """A gadget that is a microphone only: `p_` is what it plays to the host, `c_` what it would capture."""
    attributes = {
        "p_chmask": (1 << channels) - 1,
        "p_srate": rate_hz,
        "p_ssize": _SAMPLE_OCTETS,
        "c_chmask": 0,
    }
    return Gadget(
        vendor,
        product,
        serial,
        [Function("uac2.mic", attributes)],
        model="emulated microphone",
        device_class=(0xEF, 2, 1),
        controller=controller,
    )


def gadget_card(controller: str) -> str:
    """ALSA's name of the card that plays into the gadget on this controller. Raises OSError without one."""
    for card in sorted(_CLASS.glob("card*")):
        if controller in (card / "device").resolve().parts:
            return f"hw:{card.name.removeprefix('card')},0"
    listed = LISTING.read_text(encoding="utf-8") if LISTING.exists() else "no sound in this kernel"
    raise FileNotFoundError(f"no sound card belongs to {controller}; there are: {listed}")
