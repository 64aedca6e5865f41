"""Ask a worker to do something, through its command socket (`gateway.commandsocket`), and wait for it."""

import socket
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.errors import PortGone
from gateway.link import socket_path

TIMEOUT_S: Final = 10.0
OVERRULED: Final = 2  # in the place of True: a lamp's wish is noted, and a stronger one comes first
_ANSWER_MAX: Final = 4096  # bytes


def ask(path: Path, request: list[Any], sensor: str, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
    """Send a request; whether it was done (or OVERRULED), and a text for a person.

    Raises PortGone without an answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as worker:
            worker.settimeout(timeout_s)
            worker.connect(socket_path(path))
            worker.send(msgpack.packb(request))
            answer = worker.recv(_ANSWER_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        raise PortGone(
            f"nothing serves {sensor!r} at the moment ({path}); is `gateway run` running?"
        ) from None
    except TimeoutError:
        raise PortGone(f"{sensor!r} did not answer within {timeout_s:.0f} s; its port may be gone") from None
    except OSError as error:
        raise PortGone(f"{sensor!r} cannot be asked at {path}: {error.strerror or error}") from None
    try:
        done, text = msgpack.unpackb(answer)
        return int(done), str(text)
    except (ValueError, TypeError):
        raise PortGone(f"the worker of {sensor!r} stopped while it was asked; see its log") from None
