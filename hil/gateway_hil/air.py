"""The radio's air, in this process: who sends is heard by all controllers that scan, and can be connected to.

A Bumble link (https://google.github.io/bumble) with what our tests need mended, on one event loop. Under a
guest's kernel it runs in a thread of its own (`AirThread`) and one of its controllers is the adapter of
BlueZ; in unit tests it runs on the test's loop, and `gateway_hil.bumbleradio` is the adapter.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from bumble import hci, ll
from bumble.controller import Connection, Controller
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

T = TypeVar("T")

_MENDED: Final = "0.0.236"
_CALL_TIMEOUT_S: Final = 60.0


class _Link(LocalLink):
    """Bumble's link labels data with the sender's random address, also on connections of a public one."""

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        connection = sender_controller.le_connections.get(destination_address)
        if transport != PhysicalTransport.LE or connection is None:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        receiver = self.find_le_controller(destination_address)
        if receiver is not None:
            asyncio.get_running_loop().call_soon(
                receiver.on_link_acl_data, connection.self_address, transport, data
            )


class AirController(Controller):
    """A controller that claims only what Bumble's does: else Linux waits 20 s for events of Bluetooth 5."""

    le_features = Controller.le_features & ~(
        hci.LeFeatureMask.LL_PRIVACY
        | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
        | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.deaf = False

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        """Advertisements reach the host unless the controller's receiver hangs."""
        if not self.deaf:
            super().on_advertising_pdu(pdu)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> Any:
        """What switching off and on comes down to: it frees a receiver that hung, and forgets the scan."""
        self.deaf = False
        self.le_scan_enable = False
        return super().on_hci_reset_command(command)


class Air:
    """The air on a running event loop. All methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if version("bumble") != _MENDED:
            raise RuntimeError(
                f"gateway_hil.air mends Bumble {_MENDED}, this is {version('bumble')}: see whether its "
                "LocalLink.send_acl_data and Controller.le_features still need it, then change the version"
            )
        self.loop = loop
        self.link = _Link()  # type: ignore[no-untyped-call]

    def do(self, act: Callable[[], T]) -> T:
        """Call a function on the loop, and give what it returned."""
        try:
            is_here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            is_here = False
        if is_here:
            return act()

        async def acting() -> T:
            return act()

        return self.wait(acting())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; not from the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_CALL_TIMEOUT_S)

    def advertise(self, address: str, octets: bytes, *, public: bool = True) -> None:
        """One advertisement, as of a device that can be connected to; 31 bytes at most. On the loop only."""
        assert len(octets) <= 31, f"{len(octets)} bytes do not fit into a legacy advertisement"
        kind = hci.Address.PUBLIC_DEVICE_ADDRESS if public else hci.Address.RANDOM_DEVICE_ADDRESS
        packet = ll.AdvInd(advertiser_address=hci.Address(address, kind), data=octets)
        for controller in self.link.controllers:
            self.loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def cut(self, address: str) -> int:
        """End all connections of a device without a word, as lost radio does; how many. On the loop only."""
        cut = 0
        for controller in self.link.controllers:
            ends: list[Connection] = list(controller.le_connections.values())
            for end in ends:
                if address.upper() in {_plain(end.self_address), _plain(end.peer_address)}:
                    controller.on_le_disconnected(end, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
                    cut += 1
        return cut // 2


class AirThread:
    """A thread with an event loop and an `Air` on it. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="air", daemon=True)
        self.air = Air(self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.air.wait(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _plain(address: hci.Address) -> str:
    return str(address.to_string(with_type_qualifier=False)).upper()
