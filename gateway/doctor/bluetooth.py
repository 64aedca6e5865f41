"""Bluetooth from the bottom up: package, adapter, switch, BlueZ, and whether it is the one that is meant."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gateway.doctor.asked import Asked, missing
from gateway.doctor.finding import Finding, wrong
from gateway.doctor.rights import joining
from gateway.errors import PortGone
from gateway.ports.radio import find_adapter
from gateway.scanning import BLUETOOTH, bluetooth_names

_PACKAGES: Final = ("bleak", "bleak_retry_connector", "dbus_fast")


def ble_ports(ports: Sequence[Asked], root: Path = Path("/")) -> Iterator[Finding]:
    """The ports of the plan, up to the first thing that stands in the way of all of them."""
    absent = missing("ble", "ble", _PACKAGES)
    if absent:
        yield from absent
        return
    from gateway.ports.bluezbus import NOT_ALLOWED, adapters_now

    names = bluetooth_names(root)
    if not names:
        mend = "plug one in; on a Raspberry Pi, take dtoverlay=disable-bt out of config.txt"
        yield Finding("ble", "wrong", f"{ports[0].names}: no Bluetooth adapter is here", mend)
        return
    for name in names:
        yield from _switch(name, root)
    try:
        found = asyncio.run(adapters_now())
    except PortGone as error:
        if str(error) == NOT_ALLOWED:
            yield Finding("ble", "wrong", NOT_ALLOWED.partition("; ")[0], joining("bluetooth"))
        else:
            yield wrong("ble", error)
        return
    yield Finding("ble", "ok", "bluetoothd answers")
    for port in ports:
        try:
            adapter = find_adapter(port.place, found)
            yield Finding("ble", "ok", f"{adapter.name} ({adapter.address}) is the port of {port.names}")
        except PortGone as error:
            yield port.gone(error)


def _switch(name: str, root: Path) -> Iterator[Finding]:
    """Whether an adapter is blocked: by a program, or by a key of this computer."""
    for switch in (root / BLUETOOTH / name).glob("rfkill*"):
        if _is_on(switch / "hard"):
            yield Finding(
                "ble", "wrong", f"{name} is blocked by a switch or key of this computer", "switch it on"
            )
        elif _is_on(switch / "soft"):
            yield Finding("ble", "wrong", f"{name} is blocked", "sudo rfkill unblock bluetooth")


def _is_on(file: Path) -> bool:
    try:
        return file.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False  # it was unplugged while we read
