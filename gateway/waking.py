"""What wakes the uplink's thread besides its sockets: new records, an enrolment, a network that changed.

A box that cannot reach its hub waits longer and longer between two tries. It need not wait when the
kernel says that a link came up or an address was given (rtnetlink(7)), or when the box was enrolled.
Where the kernel refuses a watch, the thread looks by itself now and then.
"""

import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final

import zmq

from gateway.keys import enrolment_path, keys_path
from gateway.watch import Watch

LOOK_S: Final = 1.0  # between two looks at the enrolment where files cannot be watched
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_: LINK, IPV4_IFADDR, _ROUTE, IPV6_IFADDR, _ROUTE
_READ_SIZE: Final = 65536


class Waker:
    """Made and closed by whoever owns the thread; `wake` may be called from any thread."""

    def __init__(self, state: Path) -> None:
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._folders = (state, keys_path(state).parent, enrolment_path(state).parent)
        self._files = _watch()
        self._is_blind = False  # to one of the folders at least
        self._network = _network()
        self._watch_folders()

    @property
    def sees_files(self) -> bool:
        """Whether an enrolment is told; otherwise look every LOOK_S."""
        return self._files is not None and not self._is_blind

    def register(self, poller: zmq.Poller) -> None:
        """Have a poller wait for everything."""
        poller.register(self._woken, zmq.POLLIN)
        if self._files is not None:
            poller.register(self._files.fileno(), zmq.POLLIN)
        if self._network is not None:
            poller.register(self._network.fileno(), zmq.POLLIN)

    def wake(self) -> None:
        """Something new is in the spool."""
        os.eventfd_write(self._woken, 1)

    def heard(self, ready: dict[Any, int]) -> bool:
        """Take in what the poller found; True if the network changed, so that trying again is worth while."""
        if self._woken in ready:
            os.eventfd_read(self._woken)
        if self._files is not None and self._files.fileno() in ready:
            self._files.changes()
            self._watch_folders()  # the keys' folder may have been made only now
        if self._network is None or self._network.fileno() not in ready:
            return False
        with contextlib.suppress(OSError):  # none left, or more came than the kernel could hold
            while self._network.recv(_READ_SIZE):
                pass
        return True

    def close(self) -> None:
        """Let go of the descriptors, when nobody will call `wake` any more."""
        os.close(self._woken)
        if self._files is not None:
            self._files.close()
        if self._network is not None:
            self._network.close()

    def _watch_folders(self) -> None:
        self._is_blind = False
        for folder in self._folders:
            if self._files is not None:
                try:
                    self._files.add(folder)
                except FileNotFoundError:  # not there yet; the folder above tells when it is
                    continue
                except OSError:  # no watch left for this user, or no right to look into it
                    self._is_blind = True


def _watch() -> Watch | None:
    try:
        return Watch()
    except OSError:
        return None


def _network() -> socket.socket | None:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    except OSError:  # a sandbox without it
        return None
    try:
        sock.bind((0, _GROUPS))
    except OSError:
        sock.close()
        return None
    return sock
