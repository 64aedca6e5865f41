"""Emulated devices that speak the bytes of the real ones: each is the inverse of its driver's decoder.

    with Gnss() as gps:
        ...  # open gps.path as a serial port
        gps.unplug()

They are written from the devices' documents and share no code with the drivers, so that a mistake in
one shows in the other. They prove protocol and life cycle; noise, timing and radio they do not.
"""

from typing import Final

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.bthome import BthomeThermometer
from gateway_hil.emulators.gnss import Gnss
from gateway_hil.emulators.gnss_log import GnssLog
from gateway_hil.emulators.gy39 import Gy39
from gateway_hil.emulators.relay_lamp import RelayLamp
from gateway_hil.emulators.sds011 import Sds011
from gateway_hil.emulators.truth import Shown, Truthful

EMULATORS: Final = "gateway.emulators"  # the entry points: an emulator by its driver's name

SERIAL: dict[str, type[SerialEmulator]] = {
    "gnss": Gnss,
    "gy39": Gy39,
    "relay-lamp": RelayLamp,
    "sds011": Sds011,
}

__all__ = [
    "EMULATORS",
    "SERIAL",
    "BthomeThermometer",
    "Gnss",
    "GnssLog",
    "Gy39",
    "RelayLamp",
    "Sds011",
    "SerialEmulator",
    "Shown",
    "Truthful",
]
