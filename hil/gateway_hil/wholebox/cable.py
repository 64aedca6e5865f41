"""A cable between this network namespace and a new one: a veth pair, which costs nothing while it is idle.

For hours of virtual time; `gateway_hil.linkemulator` is the link with a rate, a delay and losses.
"""

import os
import subprocess
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from gateway_hil.netns import Namespace

_NEAR: Final = "cable0"
_FAR: Final = "cable1"


class Cable:
    """Use as a context manager. `far` is the namespace at its other end. Needs CAP_NET_ADMIN."""

    near_address: Final = "198.18.1.1"  # RFC 2544: for benchmarks of networks
    far_address: Final = "198.18.1.2"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.far = Namespace()
            stack.callback(self.far.close)
            there = f"/proc/{os.getpid()}/fd/{self.far.fd}"
            _ip("link", "add", _NEAR, "type", "veth", "peer", "name", _FAR, "netns", there)
            stack.callback(_ip, "link", "delete", _NEAR)
            _ip("address", "add", f"{self.near_address}/30", "dev", _NEAR)
            self.far.run("ip", "address", "add", f"{self.far_address}/30", "dev", _FAR)
            self.far.run("ip", "link", "set", _FAR, "up")
            self.unplug(False)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def unplug(self, unplugged: bool = True) -> None:
        """Pull it out at this end: the kernel sees it at once. `unplug(False)` puts it back."""
        _ip("link", "set", _NEAR, "down" if unplugged else "up")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
