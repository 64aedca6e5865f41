"""BlueZ's adapters over D-Bus: which there are, switching one on, and being told when one goes.

bleak scans and connects, but says nothing of adapters that come and go, nor of a bluetoothd that was
restarted. This is the little that is missing, on a connection of its own.
Source: org.bluez.Adapter in BlueZ's doc/, org.freedesktop.DBus.ObjectManager in the D-Bus specification.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Any, Final

from dbus_fast import BusType, DBusError, Message, MessageFlag, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.errors import AuthError

from gateway.errors import PortGone
from gateway.ports.radio import BleAdapter

NOT_ALLOWED: Final = "this user may not use BlueZ; add it to the group bluetooth"
_BLUEZ: Final = "org.bluez"
_ADAPTER: Final = "org.bluez.Adapter1"
_DEVICE: Final = "org.bluez.Device1"
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_DBUS: Final = "org.freedesktop.DBus"
_CALL_TIMEOUT_S: Final = 10.0
_RULES: Final = (
    f"type='signal',sender='{_BLUEZ}',interface='{_OBJECTS}',path='/'",
    f"type='signal',sender='{_BLUEZ}',interface='{_PROPERTIES}',arg0='{_ADAPTER}'",
    f"type='signal',sender='{_DBUS}',interface='{_DBUS}',member='NameOwnerChanged',arg0='{_BLUEZ}'",
)


async def adapters_now() -> list[BleAdapter]:
    """All adapters that BlueZ knows now, by name. Raises PortGone, with advice, when BlueZ is not there."""
    bus = BluezBus(lambda name, why: None)
    try:
        return await bus.adapters()
    finally:
        await bus.close()


class BluezBus:
    """BlueZ, seen from its adapters. Every method raises PortGone, with advice, when BlueZ is not there.

    `lost(name, why)` is told of an adapter that went away or was switched off, and with an empty name when
    that holds for all of them.
    """

    def __init__(self, lost: Callable[[str, str], None]) -> None:
        self._lost = lost
        self._bus: MessageBus | None = None
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def adapters(self) -> list[BleAdapter]:
        """All adapters that BlueZ knows now, by name."""
        self._changed.clear()  # also if it fails: else whoever waits for a change would ask on and on
        objects = await self._objects()
        return sorted(
            (
                BleAdapter(path.rpartition("/")[2], interfaces[_ADAPTER]["Address"].value.upper())
                for path, interfaces in objects.items()
                if _ADAPTER in interfaces
            ),
            key=lambda adapter: adapter.name,
        )

    async def switch(self, name: str, on: bool) -> None:
        """Switch an adapter on or off; nothing happens if it is so already."""
        await self._call(
            f"/org/bluez/{name}", _PROPERTIES, "Set", "ssv", [_ADAPTER, "Powered", Variant("b", on)]
        )

    async def let_go(self, name: str, addresses: Collection[str]) -> None:
        """End connections to these devices that nobody in this process made.

        BlueZ keeps a connection whose program was killed, and a device that is connected does not advertise:
        nobody would ever hear it again.
        """
        for path, interfaces in (await self._objects()).items():
            device = interfaces.get(_DEVICE)
            if device is None or not path.startswith(f"/org/bluez/{name}/") or not device["Connected"].value:
                continue
            if device["Address"].value.upper() in addresses:
                with contextlib.suppress(PortGone):  # it went by itself
                    await self._call(path, _DEVICE, "Disconnect")

    async def changed(self, timeout_s: float) -> None:
        """Wait until an adapter or BlueZ came or went since `adapters` was asked, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None and self._watching is not None:
            self._bus.disconnect()
            await self._watching
            self._bus = None

    async def _objects(self) -> dict[str, dict[str, dict[str, Variant]]]:
        """All that BlueZ has: properties by path and interface."""
        objects: dict[str, dict[str, dict[str, Variant]]]
        (objects,) = await self._call("/", _OBJECTS, "GetManagedObjects")
        return objects

    async def _call(
        self, path: str, interface: str, member: str, signature: str = "", body: list[Any] | None = None
    ) -> list[Any]:
        bus = await self._connected()
        message = Message(
            destination=_BLUEZ,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
            flags=MessageFlag.NO_AUTOSTART,
        )
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                reply = await bus.call(message)
        except (TimeoutError, OSError, EOFError, DBusError) as error:
            raise PortGone(
                f"BlueZ does not answer ({str(error) or 'time over'}); restart bluetooth"
            ) from error
        assert reply is not None
        if reply.message_type is MessageType.ERROR:
            raise PortGone(_advice(reply))
        return list(reply.body)

    async def _connected(self) -> MessageBus:
        if self._bus is not None and self._bus.connected:
            return self._bus
        bus = MessageBus(bus_type=BusType.SYSTEM)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):  # its socket may be there, and nobody behind it
                await bus.connect()
                bus.add_message_handler(self._take)
                for rule in _RULES:
                    await bus.call(
                        Message(
                            destination=_DBUS,
                            path="/org/freedesktop/DBus",
                            interface=_DBUS,
                            member="AddMatch",
                            signature="s",
                            body=[rule],
                        )
                    )
        except (AuthError, TimeoutError, OSError, EOFError, DBusError) as error:
            bus.disconnect()
            raise PortGone(
                f"D-Bus cannot be reached ({str(error) or 'no answer'}); is dbus installed and running? "
                "BLE needs it and bluez"
            ) from error
        self._bus = bus
        self._watching = asyncio.get_running_loop().create_task(self._watch(bus))
        return bus

    async def _watch(self, bus: MessageBus) -> None:
        with contextlib.suppress(OSError, EOFError, DBusError):  # why it ended does not matter
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._changed.set()
        self._lost("", "D-Bus went away; waiting until it is back")

    def _take(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.body[0] == _BLUEZ:
            self._changed.set()
            if not message.body[2]:
                self._lost("", "bluetoothd stopped; waiting until it runs again")
        elif message.member == "InterfacesAdded" and _ADAPTER in message.body[1]:
            self._changed.set()
        elif message.member == "InterfacesRemoved" and _ADAPTER in message.body[1]:
            self._changed.set()
            self._lost(message.body[0].rpartition("/")[2], "the Bluetooth adapter went away; check its plug")
        elif message.member == "PropertiesChanged" and message.body[0] == _ADAPTER and message.path:
            powered = message.body[1].get("Powered")
            if powered is not None and not powered.value:
                self._lost(message.path.rpartition("/")[2], "the Bluetooth adapter was switched off")


def _advice(reply: Message) -> str:
    """What a person can do about an error that BlueZ or the bus answered with."""
    name = reply.error_name or ""
    said = str(reply.body[0]) if reply.body else name
    if name.endswith((".ServiceUnknown", ".NameHasNoOwner")):
        return "bluetoothd is not running; install bluez and start it: systemctl start bluetooth"
    if name.endswith(".AccessDenied"):
        return NOT_ALLOWED
    if name.endswith((".UnknownObject", ".UnknownMethod")):
        return "the Bluetooth adapter went away; check its plug"
    if "rfkill" in said or name.endswith(".Blocked"):
        return "Bluetooth is blocked on this box; rfkill unblock bluetooth"
    return f"BlueZ refused ({said})"
