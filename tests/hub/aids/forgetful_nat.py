"""A relay between a box and its hub that can forget its connections, as a mobile network's NAT does."""

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from gateway.enrolment import split_endpoint


class ForgetfulNat:
    """Use it as a context manager. What it forgot stays open and silent; new connections are carried."""

    def __init__(self, hub: str) -> None:
        self._hub = split_endpoint(hub)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self._woken, self._wake = socket.socketpair()
        self._forget = self._stop = False
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="nat")

    def forget(self) -> None:
        """Drop the connections there are, without a word to either end."""
        self._forget = True
        self._wake.send(b"x")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._listener, self._woken, self._wake, *self._open):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while not self._stop:
                for key, _ in ready.select():
                    if key.fileobj is self._listener:
                        self._accept(ready)
                    elif key.fileobj is self._woken:
                        self._woken.recv(64)
                    elif key.fd in ready.get_map():
                        self._carry(ready, key)
                if self._forget:
                    self._forget = False
                    for key in list(ready.get_map().values()):
                        if key.data is not None:
                            ready.unregister(key.fileobj)

    def _accept(self, ready: selectors.BaseSelector) -> None:
        box, _ = self._listener.accept()
        hub = socket.create_connection(self._hub)
        self.accepted += 1
        self._open += [box, hub]
        ready.register(box, selectors.EVENT_READ, hub)
        ready.register(hub, selectors.EVENT_READ, box)

    def _carry(self, ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        try:
            content = key.fileobj.recv(65536)
            key.data.sendall(content)
        except OSError:
            content = b""
        if not content:
            for each in (key.fileobj, key.data):
                if each.fileno() in ready.get_map():
                    ready.unregister(each)
                each.close()
