"""Tries the hub's own door before it opens: a made-up key must be turned away.

CURVE without a working ZAP handler admits any key, silently. A hub in that state looks healthy, so
it is not enough to believe that the handler was started.
"""

from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from gateway.errors import HubError

_WAIT_MS: Final = 10_000
_REFUSED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_ADMITTED: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED


def check_door(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    hub_key: str,
    announce: Callable[[str], None] = lambda key: None,
) -> None:
    """Connect to `endpoint` with a fresh key. Raises HubError unless the hub refuses it.

    `announce` is told the key first, so that the refusal need not be reported as a stranger's.
    """
    public, secret = zmq.curve_keypair()
    announce(public.decode())
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.curve_serverkey = hub_key.encode()
    monitor = socket.get_monitor_socket(_REFUSED | _ADMITTED)
    try:
        socket.connect(endpoint.replace("//0.0.0.0:", "//127.0.0.1:"))
        if not monitor.poll(_WAIT_MS):
            raise HubError(
                f"self-test: no answer from our own socket at {endpoint}; is the address this machine's?"
            )
        if recv_monitor_message(monitor)["event"] != _REFUSED:
            raise HubError(
                "self-test: a made-up key was let in, so the allow-list does not work; not starting"
            )
    finally:
        socket.disable_monitor()
        monitor.close()
        socket.close()
