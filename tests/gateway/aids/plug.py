"""The far end of a pty, to be pulled and pushed in again."""

import os
import tty
from pathlib import Path


class Plug:
    """The far end of a pty behind a fixed path, as a USB device behind a udev link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.push()

    def push(self) -> None:
        self.fd, slave = os.openpty()
        tty.setraw(slave)
        beside = self.path.with_suffix(".new")
        beside.symlink_to(os.ttyname(slave))
        beside.rename(self.path)
        os.close(slave)

    def pull(self) -> None:
        self.path.unlink()
        os.close(self.fd)
        self.fd = -1

    def says(self, octets: bytes) -> None:
        os.write(self.fd, octets)

    def hears(self) -> bytes:
        return os.read(self.fd, 4096)
