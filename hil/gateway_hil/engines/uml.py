"""The engine uml: a User-Mode Linux kernel, which is an ordinary process of this machine. Needs no root.

Its root is the host's, read-only, through hostfs; a layer in memory takes what is written. With time travel
its clocks skip the time in which nothing happens: a day of waiting takes seconds.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway_hil.engines import INIT, EngineError, Job, Outcome, last_lines, read_outcome, write_job
from gateway_hil.engines.kernel import UmlKernel
from gateway_hil.engines.watch import watch

__all__ = ["Uml", "known_end"]

# dummy_hcd.num: USB sockets for gadgets. jent_mod_init is the jitter RNG, which measures how long things take
# and so, under time travel, burns 48 s of CPU at each boot. quiet: the kernel's log comes back as dmesg.log.
_PARAMETERS: Final = (
    "rootfstype=hostfs",
    "root=/dev/root",
    "rootflags=/",
    "ro",
    "con=null",
    "con0=fd:0,fd:1",
    "quiet",
    "loglevel=3",
    "panic=-1",
    "initcall_blacklist=jent_mod_init",
    "i2c_stub.chip_addr=0x48",
    "vivid.n_devs=1",
    "vivid.node_types=1",
    "dummy_hcd.num=6",
)
_MIB: Final = 1024 * 1024
# Looked at for room; the kernel makes a file there and unlinks it at once.
_MEMORY_FOLDERS: Final = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108

# What a console shows, and what that means to the person at the host.
_KNOWN_ENDS: Final = (
    (
        ("ptrace", "PTRACE_", "check_ptrace", "SECCOMP"),
        "User-Mode Linux traces its processes, and ptrace is forbidden or broken here (a container's seccomp "
        "profile?); allow it, for Docker with --cap-add=SYS_PTRACE, or use the bench qemu",
    ),
    (
        ("PROT_EXEC", "noexec", "not enough space", "Failed to create physical memory", "Bus error"),
        "the guest's memory is a file, and no temporary folder here is big enough and may be executed from; "
        "set TMPDIR to one",
    ),
    (("Out of memory", "out of memory"), "the guest ran out of memory"),
)


class Uml:
    """Boots guests of one kernel."""

    name = "uml"

    def __init__(self, kernel: UmlKernel | None = None) -> None:
        self._kernel = kernel or UmlKernel()

    def prepare(self, say: Callable[[str], None]) -> None:
        """Build the kernel if the cache has none. Raises EngineError."""
        self._kernel.built(say)

    def run(self, job: Job) -> Outcome:
        """Boot, run the job, power off. Raises EngineError if there is no kernel or no room for memory."""
        kernel = self._kernel.path()
        if not kernel.exists():
            raise EngineError("the guest kernel is not built yet; `gateway hil run --bench uml` builds it")
        write_job(job)
        console = job.out / "console.log"
        with tempfile.TemporaryDirectory(prefix="gateway-uml-") as name:
            command = _command(kernel, job, Path(name))
            memory = {"TMPDIR": _memory_folder(job.memory_mib)}
            why, seconds = watch(command, console, job.line, job.limit_s, memory)
        meaning = known_end(console)
        return read_outcome(job, seconds, f"{meaning}; {why}" if meaning else why)


def _command(kernel: Path, job: Job, folder: Path) -> list[str]:
    """The kernel's command line. Words of it cannot hold spaces; a folder with short names helps."""
    (folder / "init.sh").symlink_to(INIT)
    (folder / "out").symlink_to(job.out.resolve())
    if " " in str(folder):
        raise EngineError(f"the guest kernel cannot be told of {folder}: set TMPDIR to a path without spaces")
    command = [str(kernel), f"mem={job.memory_mib}M", *_PARAMETERS, f"uml_dir={folder}/", "umid=guest"]
    if job.time_travel:
        command.append("time-travel")
    # Words that the kernel does not know become its first process's environment.
    return [
        *command,
        "init=/bin/sh",
        "gateway_engine=uml",
        f"gateway_out={folder}/out",
        "--",
        f"{folder}/init.sh",
    ]


def _memory_folder(memory_mib: int) -> str:
    """Where the guest's memory can lie: a folder with room, from which pages may be executed."""
    wished = os.environ.get("TMPDIR")
    for folder in (wished, *_MEMORY_FOLDERS):
        if folder is None or not os.access(folder, os.W_OK):
            continue
        about = os.statvfs(folder)
        if not about.f_flag & os.ST_NOEXEC and about.f_bavail * about.f_frsize >= memory_mib * _MIB:
            return folder
    raise EngineError(
        f"no temporary folder has room for the guest's {memory_mib} MiB of memory and allows execution "
        f"(tried TMPDIR, {', '.join(_MEMORY_FOLDERS)}): set TMPDIR to one that does"
    )


def known_end(console: Path) -> str:
    """What the end of a console means for a person at the host; empty if it is nothing known."""
    end = last_lines(console)
    for signs, meaning in _KNOWN_ENDS:
        if any(sign in end for sign in signs):
            return meaning
    return ""
