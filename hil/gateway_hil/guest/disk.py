"""A small disk with ext4 on it whose faults are the kernel's own: a loop device under device-mapper.

    with FaultyDisk(folder) as disk:         # mounted at `folder`
        disk.sync_errors()                   # what the page cache writes back to files comes to nothing: EIO
        disk.sync_errors(False)

Programs on it run unchanged: the errors come from below the file system. Sources: the kernel's
Documentation/admin-guide/device-mapper/ (dm-flakey, dm-dust, dm-log-writes), mount(8), ext4(5),
Documentation/admin-guide/sysrq.rst, Documentation/filesystems/fiemap.rst.
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway_hil.bench import CannotHere
from gateway_hil.faults import FaultVerbs

__all__ = ["FaultyDisk", "extents", "mounted", "run", "why_no_disk"]

_SECTOR: Final = 512
_PAGE: Final = 4096
_MIB: Final = 1 << 20
_FIEMAP: Final = 0xC020_660B  # _IOWR('f', 11, struct fiemap)
_FIEMAP_HEAD: Final = struct.Struct("<QQIIII")  # start, length, flags, mapped, count, reserved
_FIEMAP_EXTENT: Final = struct.Struct(
    "<QQQQQIIII"
)  # logical, physical, length, 2 reserved, flags, 3 reserved
_EXTENTS_MAX: Final = 256
_SETTLE_S: Final = 10.0
_LET_GO_S: Final = 1.0  # an unmount waits for what a dead process had open
_TOOLS: Final = {"losetup": "mount", "dmsetup": "dmsetup", "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs"}


def why_no_disk() -> str:
    """Why there can be no such disk here; empty if there can."""
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        return f"{', '.join(missing)} must be installed"
    nodes = ("/dev/mapper/control", "/dev/loop-control")
    lost = [node for node in nodes if not Path(node).exists()]
    return f"this kernel has no {', '.join(lost)}" if lost else ""


class FaultyDisk(FaultVerbs):
    """Use as a context manager; mounted at `folder` while entered. Each verb takes False to end the fault.

    `mib` is its size. With `writes`, a file, every write to the device is noted there (dm-log-writes).
    """

    def __init__(self, folder: Path, *, mib: int = 64, writes: Path | None = None, seed: int = 0) -> None:
        self.folder = folder
        self.sectors = mib * _MIB // _SECTOR
        self._mib = mib
        self._writes = writes
        self._chance = random.Random(seed)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with self._opened as stack:
            # In memory: a file of the host would be slower, and no more of a disk.
            beneath = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="disk-")
            stack.callback(beneath.close)
            self.image = Path(beneath.name)
            os.truncate(beneath.name, self._mib * _MIB)
            self._beneath = _loop(stack, self.image)
            run(
                "mkfs.ext4",
                "-q",
                "-b",
                str(_PAGE),
                "-m",
                "0",
                "-e",
                "remount-ro",
                "-J",
                "size=4",
                self._beneath,
            )
            self._log = None if self._writes is None else _loop(stack, self._writes)
            self._name = f"disk{os.getpid()}-{self.image.name[-8:]}"
            self._table = self._well()
            run("dmsetup", "create", self._name, "--noudevsync", "--table", self._table)
            stack.callback(run, "dmsetup", "remove", "--noudevsync", "--deferred", self._name)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.mount()
            # Lazily: what a test that failed left open there must not hide why it failed.
            stack.callback(run, "umount", "--lazy", str(self.folder))
            stack.callback(self._heal)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    # ---- the verbs ----

    def disk_full(self, full: bool = True) -> None:
        """Not a byte is left; what belongs to files stays theirs."""
        ballast = self.folder / "ballast"
        if not full:
            ballast.unlink(missing_ok=True)
            return
        with ballast.open("ab") as file:
            size = file.tell()
            while free := _free(self.folder):
                try:
                    os.posix_fallocate(file.fileno(), size, free)
                    size += free
                except OSError:  # extents want a block of their own
                    if free <= _PAGE:
                        break
                    os.posix_fallocate(file.fileno(), size, free - _PAGE)
                    size += free - _PAGE
                os.fsync(file.fileno())

    def read_only(self, on: bool = True) -> None:
        """Mounted read-only under whoever has files open there (the kernel's emergency remount), and back."""
        if on:
            others = _mounted_to_write() - {self.folder}
            Path("/proc/sysrq-trigger").write_text("u")  # it takes all that lie on block devices
            until(lambda: not {self.folder, *others} & _mounted_to_write(), f"{self.folder} is read-only")
            for other in others:
                run("mount", "-o", "remount,rw", str(other))
        else:
            run("mount", "-o", "remount,rw", str(self.folder))

    def write_errors(self, on: bool = True) -> None:
        """No write reaches the medium, so ext4 gives up its journal and makes itself read-only.

        Ending it mends the medium only; then the file system needs `mend`.
        """
        if on:
            self._load(self._of("flakey", "0 1 1 error_writes"))
        else:
            self._heal()

    def sync_errors(self, on: bool = True, *, below: Path | None = None) -> None:
        """Writing back to the files that are there now fails, first told by fsync; ext4 itself goes on.

        `below` limits it to files in one folder: a bad region of the medium.
        """
        if not on:
            self._heal()
            return
        bad = [span for path in _files(below or self.folder) for span in extents(path)]
        self._load(self._patched(bad))

    def bad_page(self, count: int = 1, *, below: Path | None = None) -> None:
        """So many pages of the files there can no longer be read, until written again. Not undone by time."""
        whole = [span for path in _files(below or self.folder) for span in extents(path)]
        pages = [at for start, length in whole for at in range(start, start + length, _PAGE // _SECTOR)]
        self._load(self._of("dust", str(_PAGE)))
        for at in self._chance.sample(pages, min(count, len(pages))):
            self._tell("addbadblock", str(at * _SECTOR // _PAGE))
        self._tell("enable")
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def gone(self, away: bool = True) -> None:
        """Pulled out: nothing can be read or written. Ending it plugs it in; it then needs `mend`."""
        if away:
            self._load(f"0 {self.sectors} error")
            Path("/proc/sys/vm/drop_caches").write_text("3")
        else:
            self._heal()

    # ---- what is no fault ----

    def mend(self) -> None:
        """What a reboot does after an aborted journal: unmount, check, mount. Nobody may use it."""
        self._unmount()
        run("e2fsck", "-p", str(self._node), may_fail=(1,))
        self.mount()

    def mark(self, text: str) -> None:
        """Put a mark among the writes that are noted: what came before is before it there, too."""
        self._tell("mark", text)

    @property
    def is_read_only(self) -> bool:
        """Whether the kernel has it mounted read-only."""
        return bool(os.statvfs(self.folder).f_flag & os.ST_RDONLY)

    # ---- device-mapper ----

    @property
    def _node(self) -> Path:
        """The kernel's own name for it: there is no udev to make one below /dev/mapper."""
        columns = ("info", "--columns", "--noheadings", "--options", "minor")
        return Path(f"/dev/dm-{run('dmsetup', *columns, self._name).strip()}")

    def _well(self) -> str:
        if self._log is not None:
            return f"0 {self.sectors} log-writes {self._beneath} {self._log}"
        return self._of("linear")

    def _of(self, target: str, words: str = "") -> str:
        return f"0 {self.sectors} {self._piece(target, 0, words)}"

    def _piece(self, target: str, start: int, words: str = "") -> str:
        return f"{target} {self._beneath} {start} {words}".rstrip()

    def _patched(self, bad: Sequence[tuple[int, int]]) -> str:
        """A table in which these spans of sectors answer nothing.

        Not dm-flakey: it fails flushes, which are for the whole disk, and so the journal with them.
        """
        lines, at = [], 0
        for start, length in sorted(bad):
            if start > at:
                lines.append(f"{at} {start - at} {self._piece('linear', at)}")
            lines.append(f"{start} {length} error")
            at = start + length
        if at < self.sectors:
            lines.append(f"{at} {self.sectors - at} {self._piece('linear', at)}")
        return "\n".join(lines)

    def _load(self, table: str) -> None:
        """Put another table in place, under whatever is being written."""
        self._table = table
        run("dmsetup", "suspend", "--noudevsync", "--nolockfs", "--noflush", self._name)
        run("dmsetup", "load", "--noudevsync", self._name, stdin=table)
        run("dmsetup", "resume", "--noudevsync", self._name)

    def _heal(self) -> None:
        if self._table != self._well():  # the same again would begin a new log of writes
            self._load(self._well())

    def _tell(self, *words: str) -> None:
        run("dmsetup", "message", self._name, "0", *words)

    def mount(self) -> None:
        """Mount it, after it was unmounted."""
        run("mount", "-t", "ext4", "-o", "noatime", str(self._node), str(self.folder))

    def _unmount(self) -> None:
        self._heal()
        end_s = time.monotonic() + _LET_GO_S
        while True:
            try:
                run("umount", str(self.folder))
                return
            except OSError as error:
                # The kernel drops a dead process's last references in its own time; who is seen is too many.
                holders = list(_holders(self.folder))
                if holders or time.monotonic() > end_s:
                    raise OSError(f"{error}; held by {'; '.join(holders) or 'nobody who is seen'}") from None
            time.sleep(0.01)


def _holders(folder: Path) -> Iterator[str]:
    """Which processes have something open below a folder: pid, command line, and what."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):  # it ended just now
            links = [process / "cwd", process / "root", *process.glob("task/*/fd/*")]
            links += process.glob("map_files/*")
            opened = {link.readlink() for link in links if link.is_symlink()}
            if below := [str(each) for each in sorted(opened) if each.is_relative_to(folder)]:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield f"{process.name} ({words.strip() or 'dying'}): {', '.join(below)}"


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """An image with ext4, mounted while the block runs; what its journal holds is replayed first."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        device = _loop(stack, image)
        run("mount", "-t", "ext4", "-o", "noatime", device, str(folder))
        stack.callback(run, "umount", str(folder))
        yield


def extents(path: Path) -> Iterator[tuple[int, int]]:
    """Where a file's content lies on its device: (first sector, number of sectors)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        room = bytearray(_FIEMAP_HEAD.size + _EXTENTS_MAX * _FIEMAP_EXTENT.size)
        _FIEMAP_HEAD.pack_into(room, 0, 0, 2**64 - 1, 0, 0, _EXTENTS_MAX, 0)
        fcntl.ioctl(fd, _FIEMAP, room)
    finally:
        os.close(fd)
    mapped = _FIEMAP_HEAD.unpack_from(room)[3]
    for index in range(mapped):
        at = _FIEMAP_HEAD.size + index * _FIEMAP_EXTENT.size
        _, physical, length, *_ = _FIEMAP_EXTENT.unpack_from(room, at)
        if physical:
            yield physical // _SECTOR, length // _SECTOR


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root) / name
            if path.is_file() and not path.is_symlink() and name != "ballast":
                yield path


def _mounted_to_write() -> set[Path]:
    """Where file systems of disks are mounted and may be written."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines())
    return {Path(at) for what, at, _, options, *_ in lines if what[:7] == "/dev/dm" and options[:2] == "rw"}


def _free(folder: Path) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


def _loop(stack: ExitStack, file: Path) -> str:
    """A loop device on a file, until the stack unwinds."""
    device = run("losetup", "--find", "--show", str(file)).strip()
    stack.callback(run, "losetup", "--detach", device)
    return device


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for what the kernel does in its own time. Raises TimeoutError."""
    end = time.monotonic() + _SETTLE_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_SETTLE_S:.0f} s: {what}")
        time.sleep(0.01)


def run(*words: str, stdin: str = "", may_fail: tuple[int, ...] = ()) -> str:
    """Run a command of the system; what it printed. Raises OSError with its complaint."""
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise CannotHere(f"there is no {words[0]} here") from None
    if done.returncode not in {0, *may_fail}:
        raise OSError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
