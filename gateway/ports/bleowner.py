"""One scanner an adapter: whoever holds its name scans, another process learns who that is.

Two that scan through one adapter disturb each other's filters and connections. The name is an abstract
socket, so the kernel frees it when its owner dies, however it dies.
"""

import errno
import socket
import struct
from pathlib import Path
from typing import Final

from gateway.errors import PortGone

_NAME: Final = "\0pole-gateway/ble/"
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: ucred of unix(7)


def own_adapter(address: str) -> socket.socket:
    """Take the adapter with this address; closing the socket gives it back.

    Raises PortGone, naming the owner, while another process has it.
    """
    owned = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        owned.bind(_NAME + address.upper())
        owned.listen(1)
    except OSError as error:
        owned.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortGone(
            f"the adapter {address} is in use by {_owner(address)}; one program may scan through it: "
            "put all its sensors on one port, or stop the other"
        ) from None
    return owned


def _owner(address: str) -> str:
    """The process that has the adapter, for people."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(1.0)
            asking.connect(_NAME + address.upper())
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(raw)[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "another process"
    return f"process {pid} ({' '.join(word for word in words if word)[:160]})"
