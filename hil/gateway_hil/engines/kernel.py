"""The guest kernel of the bench uml: built once from Debian's source package, then found in the cache.

A build takes minutes, so its result is kept in ~/.cache/pole-gateway under a name made of all that goes into
it: the configuration (guest/uml.config), our edits of the source (guest/edits.py), and the package's version.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway_hil.engines import EngineError
from gateway_hil.guest.edits import EDITS, EditFailed, apply

__all__ = ["SOURCE", "UmlKernel", "alone", "cache_folder", "check_config"]

SOURCE: Final = Path("/usr/src/linux-source-6.12.tar.xz")
FRAGMENT: Final = Path(__file__).parent.parent / "guest" / "uml.config"
_PACKAGE: Final = "linux-source-6.12"
_TOOLS: Final = {"make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils"}
# Folders whose code no build for User-Mode Linux with our configuration reads; their Kconfig files it does.
# Two thirds of the source: unpacking and removing it would cost more than the compiler does for some of it.
_NO_CODE_OF: Final = (
    "arch/[!ux]*",
    "drivers/gpu/drm",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/media/dvb-frontends",
    "drivers/media/i2c",
    "drivers/media/pci",
    "drivers/media/platform",
    "drivers/media/tuners",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/pinctrl",
    "drivers/scsi",
    "drivers/staging",
    "sound/pci",
    "sound/soc",
    "tools/perf",
    "tools/testing",
)
_NOT_NEEDED: Final = (
    *(f"*/{folder}/*.[chS]" for folder in _NO_CODE_OF),
    "*/arch/[!ux]*/*.dts*",
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
)
_STEP: Final = re.compile(r"^  (CC|AS|LD|AR|HOSTCC|HOSTLD|GEN|CHK|UPD|SYM|WRAP)\b")
_STEPS: Final = 1640  # of a whole build, about
_SAY_EVERY_S: Final = 60.0


def cache_folder() -> Path:
    """Where built kernels are kept, for all checkouts of one user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pole-gateway"


class UmlKernel:
    """One kernel: what it is made of, and where the built one lies."""

    def __init__(self, fragment: Path = FRAGMENT, source: Path = SOURCE) -> None:
        self._fragment = fragment
        self._source = source

    def path(self) -> Path:
        """Where this kernel is, or will be once it is built. Raises EngineError if that cannot be known."""
        if platform.machine() != "x86_64":
            raise EngineError(
                f"User-Mode Linux runs on x86 only, and this machine is {platform.machine()}; "
                "the benches local and real work here"
            )
        if not self._source.exists():
            raise EngineError(
                f"there is no {self._source}: install {_PACKAGE} (Debian 12 has it in bookworm-security "
                "and in bookworm-backports; apt needs one of the two among its sources)"
            )
        return cache_folder() / f"uml-{self._digest()}" / "vmlinux"

    def built(self, say: Callable[[str], None]) -> Path:
        """The kernel's file, after a build if there is none yet. Raises EngineError."""
        path = self.path()
        if path.exists():
            return path
        missing = sorted(package for tool, package in _TOOLS.items() if shutil.which(tool) is None)
        if missing:
            raise EngineError(f"building the guest kernel needs {', '.join(missing)}: apt-get install them")
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent.with_suffix(".lock"), say):
            if not path.exists():
                self._build(path, say)
        return path

    def _digest(self) -> str:
        """Names all that goes into the kernel, in 16 hexadecimal digits."""
        whole = hashlib.sha256()
        for part in (_source_version(self._source), self._fragment.read_text(), repr(EDITS)):
            whole.update(part.encode() + b"\0")
        return whole.hexdigest()[:16]

    def _build(self, path: Path, say: Callable[[str], None]) -> None:
        started_s = time.monotonic()
        folder, log = path.parent.with_suffix(".building"), path.parent.with_suffix(".log")
        shutil.rmtree(folder, ignore_errors=True)  # of a build that was killed
        log.unlink(missing_ok=True)
        source, objects, made = (folder / name for name in ("source", "objects", "made"))
        try:
            for part in (source, objects, made):
                part.mkdir(parents=True)
            say(f"unpacking {self._source.name}")
            _unpack(self._source, source)
            try:
                apply(source)
            except EditFailed as error:
                raise EngineError(str(error)) from None
            make = ("nice", "make", "-C", str(source), "ARCH=um", f"O={objects}")
            _logged([*make, f"KCONFIG_ALLCONFIG={self._fragment}", "allnoconfig"], log, lambda line: None)
            check_config(self._fragment.read_text(), (objects / ".config").read_text())
            say(f"building the guest kernel with {os.cpu_count() or 1} CPUs: some minutes, only this once")
            _logged([*make, f"-j{os.cpu_count() or 1}", "vmlinux"], log, _Progress(say))
            subprocess.run(["strip", str(objects / "vmlinux")], check=True)
            (objects / "vmlinux").rename(made / "vmlinux")
            (objects / ".config").rename(made / "config")
            made.rename(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"the guest kernel is built ({time.monotonic() - started_s:.0f} s): {path}")


class _Progress:
    """Says how far a build is: on one line of a terminal, or once a minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._steps = 0
        self._started_s = self._said_s = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, line: str) -> None:
        """One line of make's output."""
        if not _STEP.match(line):
            return
        self._steps += 1
        now_s = time.monotonic()
        text = f"kernel: {self._steps} of about {_STEPS} steps, {now_s - self._started_s:.0f} s"
        if self._live:
            end = "\n" if " vmlinux" in line and "LD" in line else ""
            print(f"\r{text}\033[K", end=end, file=sys.stderr, flush=True)
        elif now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            self._say(text)


def check_config(fragment: str, config: str) -> None:
    """Every option asked for must be in the result: allnoconfig drops silently what lacks something.

    Raises EngineError naming the lost ones.
    """
    got = set(config.splitlines())
    asked = [line for line in fragment.splitlines() if line and not line.startswith("#")]
    lost = [line for line in asked if line not in got]
    if lost:
        raise EngineError(
            "the kernel's configuration lost what uml.config asks for (something it depends on is missing "
            "there): " + ", ".join(lost)
        )


def _source_version(source: Path) -> str:
    """The version of the source package; of a tarball from elsewhere, its size and date."""
    if source == SOURCE and shutil.which("dpkg-query"):
        told = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", _PACKAGE], capture_output=True, text=True, check=False
        )
        if told.returncode == 0 and told.stdout:
            return told.stdout
    about = source.stat()
    return f"{about.st_size} {about.st_mtime_ns}"


def _unpack(source: Path, folder: Path) -> None:
    command = ["tar", "-xJf", str(source), "-C", str(folder), "--strip-components=1", "--wildcards"]
    done = subprocess.run(
        [*command, *(f"--exclude={pattern}" for pattern in _NOT_NEEDED)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError(f"{source} cannot be unpacked: {done.stderr.strip()[-300:]}")


def _logged(command: list[str], log: Path, line: Callable[[str], None]) -> None:
    """Run a command of the build; its output goes into the log and, line by line, to `line`."""
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        file.write(f"$ {' '.join(command)}\n")
        tail: list[str] = []
        try:
            for said in process.stdout:
                file.write(said)
                tail = [*tail[-19:], said]
                line(said)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise EngineError(f"the kernel's build failed (all of it: {log}):\n{''.join(tail)}")


@contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock on a file: two builds of one kernel would only slow each other down."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is making this kernel; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
