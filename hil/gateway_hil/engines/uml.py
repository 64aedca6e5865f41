"""The engine uml: a User-Mode Linux kernel, which is an ordinary process of this machine. Needs no root.

Its root is the host's, read-only, through hostfs; a layer in memory takes what is written. With time travel
its clocks skip the time in which nothing happens: a day of waiting takes seconds.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from gateway_hil.engines import INIT, EngineError, Job, Outcome, last_lines, read_outcome, write_job
from gateway_hil.engines.kernel import UmlKernel

__all__ = ["Uml", "why_it_ended"]

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
_READ_SIZE: Final = 65536

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
        with tempfile.TemporaryDirectory(prefix="gateway-uml-") as name:
            command = _command(kernel, job, Path(name))
            environment = {
                "PATH": os.environ.get("PATH", os.defpath),
                "TMPDIR": _memory_folder(job.memory_mib),
            }
            started_s = time.monotonic()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            assert process.stdout is not None
            try:
                in_time = _follow(process.stdout, job, started_s + job.limit_s)
            finally:
                _end(process)
        why = "" if in_time else f"the guest was stopped after {job.limit_s:.0f} s, its limit of wall time; "
        console = job.out / "console.log"
        return read_outcome(
            job, time.monotonic() - started_s, why + why_it_ended(console, process.returncode)
        )


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


def _follow(output: IO[bytes], job: Job, end_s: float) -> bool:
    """Keep the console until it closes; False if time is up before."""
    rest = b""
    with (job.out / "console.log").open("wb", buffering=0) as log, selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while (left_s := end_s - time.monotonic()) > 0:
            if not ready.select(left_s):
                break
            some = os.read(output.fileno(), _READ_SIZE)
            if not some:
                return True
            log.write(some)
            *lines, rest = (rest + some).split(b"\n")
            if job.line is not None:
                for line in lines:
                    job.line(line.decode(errors="replace").rstrip("\r"))
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of the guest is left, whatever happened: its kernel and its processes are one group here."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def why_it_ended(console: Path, returncode: int | None) -> str:
    """What a console says about an end without a result, for the person who waited for one."""
    end = last_lines(console)
    said = f"its console ended with:\n{end}" if end else "its console said nothing"
    for signs, meaning in _KNOWN_ENDS:
        if any(sign in end for sign in signs):
            return f"the guest left no result: {meaning}; {said}"
    return f"the guest left no result (status {returncode}); {said}"
