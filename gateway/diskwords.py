"""What a disk's refusal means to whoever stands before the box: the kernel's error in a person's words."""

import errno
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MEANINGS: Final = {
    errno.ENOSPC: "free some space, or lower quota_mib under [spool]",
    errno.EDQUOT: "raise this user's quota, or lower quota_mib under [spool]",
    errno.EROFS: "remounted read-only, as the kernel does after errors: the card may be dying; replace it",
    errno.EIO: "it cannot be read or written, so it is probably dying: replace it",
    errno.ENODEV: "it is gone: is it still plugged in?",
    errno.ENXIO: "it is gone: is it still plugged in?",
    errno.ENOENT: "the folder is gone: is its disk still plugged in and mounted?",
    errno.ESTALE: "the folder is gone: is its disk still mounted?",
    errno.EACCES: "this user may not write there: correct the folder's owner",
    errno.EPERM: "this user may not write there: correct the folder's owner",
}


def why_refused(error: OSError, doing: str = "write") -> str:
    """What the disk said, and what to do about it."""
    said = f"the disk refuses to {doing} ({error.strerror or error})"
    meaning = _MEANINGS.get(error.errno or 0, "look at `dmesg` for what the kernel says of it")
    return f"{said}; {meaning}"
