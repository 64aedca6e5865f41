"""An archive in the format that Linux unpacks as its first root file system: cpio "newc"; needs no root.

Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

import stat
from pathlib import PurePosixPath
from typing import Final

_MAGIC: Final = b"070701"
_LAST: Final = "TRAILER!!!"
_ALIGNED: Final = 4


class Archive:
    """Files, folders and character devices, all of root's; folders above a file come by themselves."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._number = 0
        self._folders: set[str] = set()

    def folder(self, path: str) -> None:
        """A folder, and those above it. Does nothing for one that is there."""
        for above in (*reversed(PurePosixPath(path).parents), PurePosixPath(path)):
            name = str(above)
            if name != "." and name not in self._folders:
                self._folders.add(name)
                self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """A file with this content."""
        self.folder(str(PurePosixPath(path).parent))
        self._entry(path, stat.S_IFREG | mode, content)

    def character_device(self, path: str, major: int, minor: int) -> None:
        """A device node, for what the first process needs before it has mounted /dev."""
        self.folder(str(PurePosixPath(path).parent))
        self._entry(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def packed(self) -> bytes:
        """The whole archive, uncompressed: an emulated CPU unpacks that fastest."""
        done = bytes(self._bytes)
        self._entry(_LAST, 0)
        whole, self._bytes = bytes(self._bytes), bytearray(done)
        return whole

    def _entry(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        """Header, name and content, each up to the next multiple of four.

        The header is thirteen numbers of eight hexadecimal digits: inode, mode, user, group, links, time,
        size, device of the file system (two), device of the node (two), length of the name, checksum.
        """
        self._number += 1
        encoded = name.encode() + b"\0"
        size, (major, minor) = len(content), device
        fields = (self._number, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(encoded), 0)
        for part in (_MAGIC + b"".join(b"%08X" % value for value in fields) + encoded, content):
            self._bytes += part
            self._bytes += bytes(-len(self._bytes) % _ALIGNED)
