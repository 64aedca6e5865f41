"""What a process gives up before it runs code that may be hostile or broken: rights, network, files, memory.

For a throw-away child, right after it has started; nothing of it can be taken back. A seccomp filter would
be stricter; this needs no list of system calls that ages with the C library (docs/decisions/015).
"""

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38  # prctl(2)
_CLONE_NEWUSER: Final = 0x10000000  # unshare(2)
_CLONE_NEWNET: Final = 0x40000000
NO_NETWORK: Final = "no network"
_FILES_MORE: Final = 16  # a runtime looks into /proc and /sys for what the processor can do


def give_up_rights() -> str:
    """No new privileges, no core file, no file written, no network where the kernel lets go of it.

    What became of the network: NO_NETWORK, or words that say why it stays. To be called while there is
    one thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):  # root needs no namespace of users
        if libc.unshare(flags) == 0:
            return NO_NETWORK
    return f"the network stays in reach: this machine forbids it ({os.strerror(ctypes.get_errno())})"


def limit(memory_mib: int, cpu_s: int) -> None:
    """From here on: so much memory, so many seconds of computing more; no process, hardly a file more."""
    memory = bytes_of("VmSize") + (memory_mib << 20)
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_DATA, bytes_of("VmData") + (memory_mib << 20))
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s, more=1)  # SIGXCPU; SIGKILL
    _lower(resource.RLIMIT_NOFILE, _highest_file() + 1 + _FILES_MORE)
    _lower(resource.RLIMIT_NPROC, 0)


def _lower(what: int, to: int, more: int = 0) -> None:
    """The soft limit to `to`, the hard one to `more` above it; none above what it is by now."""
    _, hard = resource.getrlimit(what)
    most = to + more if hard == resource.RLIM_INFINITY else min(to + more, hard)
    resource.setrlimit(what, (min(to, most), most))


def _highest_file() -> int:
    return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


def peak_afresh() -> int:
    """Begin `peak_bytes` anew, with what this process holds now; that figure.

    Where the kernel does not let go of the old peak (proc(5), clear_refs), it stays, and counts.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")
    return peak_bytes()


def peak_bytes() -> int:
    """The most memory this process has held: since `peak_afresh`, or else since its start."""
    return bytes_of("VmHWM")


def bytes_of(field: str) -> int:
    """One of the sizes in /proc/self/status, such as VmHWM."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) << 10
    raise OSError(f"/proc/self/status has no {field}")
