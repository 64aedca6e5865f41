"""ThingsBoard Gateway's serial connector, its own class from its published package, with one device.

The module that would install pyserial, and one that wants a gateway's log, have a stand-in: no line goes
through either. Everything else, its own attempts to connect again among it, is as published.
"""

import logging
import sys
from types import ModuleType
from typing import Any

from benchmarks.serial.readers import Heard

_unused = ModuleType("tb_utility")
_unused.TBUtility = object  # type: ignore[attr-defined]
sys.modules["thingsboard_gateway.tb_utility.tb_utility"] = _unused

from thingsboard_gateway.extensions.serial import custom_serial_connector as theirs  # noqa: E402


class _Log(logging.Logger):
    def stop(self) -> None:
        """Its connector asks its log to."""


class _Converter:
    """What a user of it writes: bytes in, readings out."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    def convert(self, config: object, frame: bytes) -> bytes:
        """One of its messages."""
        del config
        self._heard(frame.rstrip(b"\r\n"))
        return frame


class _Gateway:
    """Takes what its connector hands on."""

    def send_to_storage(self, *ignored: object) -> None:
        """A reading on its way to its storage."""


def read(path: str, heard: Heard) -> None:
    """Read for ever."""
    theirs.init_logger = lambda *_, **__: _Log("connector", logging.CRITICAL + 1)
    connector: Any = theirs.SerialConnector(_Gateway(), {"id": "1", "name": "wind"}, "serial")
    device = {"name": "wind", "type": "default", "port": path, "baudrate": 9600}
    made = theirs.SerialDevice(
        device, _Converter(heard), connector.stopped, connector._log, connector._SerialConnector__uplink_queue
    )
    connector._SerialConnector__devices.append(made)
    connector._SerialConnector__load_devices = lambda: None  # it is there already
    connector.open()
    connector.join()
