"""Network namespaces and TUN interfaces, kept alive by open files: nothing to clean up after a crash.

A namespace is made by a thread of its own, so that this process stays where it is; processes get into it by
`nsenter`, sockets by `entered`. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN: root, or the root of a user
namespace (`unshare --user --map-root-user --net`). Sources: network_namespaces(7), setns(2), and
https://docs.kernel.org/networking/tuntap.html
"""

import contextlib
import ctypes
import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x4000_0000
_TUNSETIFF: Final = 0x4004_54CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace of its own, with `lo` up; or, `here`, that of the calling thread."""

    def __init__(self, *, here: bool = False) -> None:
        self.fd = _open_own() if here else _in_thread(_make)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace while the block runs; sockets made there stay there."""
        before = _open_own()
        try:
            _call("setns", self.fd, _CLONE_NEWNET)
            yield
        finally:
            _call("setns", before, _CLONE_NEWNET)
            os.close(before)

    def command(self, *words: str) -> list[str]:
        """The words that run a command in the namespace, for as long as this process lives."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.fd}", "--", *words]

    def run(self, *words: str, within_s: float = 30.0) -> str:
        """Run a command in the namespace; what it printed. Raises OSError with its complaint if it fails."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=within_s, check=False
        )
        if done.returncode != 0:
            raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def popen(self, *words: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command in the namespace; options as for subprocess.Popen."""
        return subprocess.Popen(self.command(*words), **options)

    def open_tun(self, name: str, address: str, *, mtu: int = 1500) -> int:
        """Make a TUN interface with an address such as "192.0.2.1/30", bring it up; its non-blocking file.

        The interface goes when the file is closed.
        """
        with self.entered():
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
                # Nobody solicits routers here: the counters are to be those of the test's own packets.
                switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
                if switch.exists():
                    switch.write_text("1", "ascii")
            except BaseException:
                os.close(fd)
                raise
        try:
            self.run("ip", "address", "add", address, "dev", name)
            self.run("ip", "link", "set", name, "mtu", str(mtu), "up")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Let go of it; it ends with the last process in it."""
        os.close(self.fd)


def why_not() -> str:
    """Why this process cannot make namespaces with TUN interfaces; empty if it can."""
    try:
        namespace = Namespace()
    except OSError as error:
        return f"it may not make network namespaces ({error.strerror}); be root, or use unshare -Urn"
    try:
        os.close(namespace.open_tun("probe", "192.0.2.1/30"))
    except OSError as error:
        return f"it cannot make a TUN interface: {error}"
    finally:
        namespace.close()
    return ""


def _make() -> int:
    _call("unshare", _CLONE_NEWNET)
    fd = _open_own()
    try:
        subprocess.run(
            ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "--", "ip", "link", "set", "lo", "up"],
            check=True,
            capture_output=True,
        )
    except subprocess.CalledProcessError as error:
        os.close(fd)
        raise OSError(f"cannot bring up lo: {error.stderr.decode().strip()}") from error
    except OSError:
        os.close(fd)
        raise
    return fd


def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _in_thread(do: Callable[[], T]) -> T:
    """Do it in a thread of its own, whose namespaces die with it."""
    results: list[T] = []
    errors: list[OSError] = []

    def body() -> None:
        try:
            results.append(do())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
