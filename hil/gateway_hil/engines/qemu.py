"""The engine with Debian's stock kernel: what boxes run, in QEMU, on the processor itself or interpreted.

Runs as any user. The guest sees the host's files over 9p, read-only, under a layer of memory; the job's out
folder is a share of its own, without a cache, so that what the guest wrote is there when it dies.
"""

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway_hil.engines import INIT, EngineError, Job, Outcome, initramfs, read_outcome, write_job
from gateway_hil.engines.accelerator import TRIAL_S, Accelerator, choose
from gateway_hil.engines.kernel import alone, cache_folder
from gateway_hil.engines.stockkernel import StockKernel, prepare
from gateway_hil.engines.watch import watch

QEMU: Final = "qemu-system-x86_64"
_MACHINE: Final = ("-M", "q35", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none")
# panic=-1 with -no-reboot ends QEMU when the kernel panics.
_PARAMETERS: Final = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable gateway_engine=qemu"
_CPUS: Final = 2
_TRIAL_MIB: Final = 256
_TRIAL_WORD: Final = "the-guest-is-up"


def _share(tag: str, folder: Path, *, writable: bool) -> tuple[str, ...]:
    """A folder of the host as a 9p share. Commas in its path are doubled, as QEMU wants them."""
    path = str(folder).replace(",", ",,")
    access = "" if writable else ",readonly=on"
    # none: files belong to who runs QEMU, as no other user can give files away. remap: the host's root spans
    # several file systems, whose inode numbers must not meet in the guest.
    local = f"local,id={tag},path={path},security_model=none,multidevs=remap{access}"
    return ("-fsdev", local, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")


def arguments(
    kernel: StockKernel, archive: Path, accelerator: Accelerator, memory_mib: int, out: Path | None = None
) -> list[str]:
    """QEMU's command line for a guest that starts with this initramfs; `out` is its one writable share."""
    command = [QEMU, *_MACHINE, *accelerator.arguments]
    command += ["-smp", str(min(_CPUS, os.cpu_count() or 1)), "-m", str(memory_mib)]
    command += ["-kernel", str(kernel.image), "-initrd", str(archive), "-append", _PARAMETERS]
    command += ["-serial", "stdio", "-device", "virtio-rng-pci"]
    if out is not None:
        command += [*_share("root", Path("/"), writable=False), *_share("out", out.resolve(), writable=True)]
    return command


class Qemu:
    """Debian's stock kernel in QEMU. `prepare` first, then as many runs as you like."""

    name = "qemu"

    def __init__(self) -> None:
        self._kernel: StockKernel | None = None
        self._accelerator: Accelerator | None = None

    def prepare(self, say: Callable[[str], None]) -> None:
        """Have the kernel and know how to run it. Raises EngineError."""
        if platform.machine() != "x86_64":
            raise EngineError(
                f"the bench qemu runs this machine's own programs, for x86_64, not {platform.machine()}"
            )
        version = _qemu_version()
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / "qemu.lock", say):
            self._kernel = kernel = prepare(cache, say)
            self._accelerator = choose(cache, version, lambda way: _boots(kernel, way), say)

    def run(self, job: Job) -> Outcome:
        """Boot, run the job, power off. Raises EngineError."""
        if self._kernel is None or self._accelerator is None:
            raise EngineError("prepare the engine qemu before it runs a job")
        if job.time_travel:
            raise EngineError("the engine qemu cannot skip idle time; the engine uml can")
        write_job(job)
        with tempfile.TemporaryDirectory(prefix="gateway-qemu-") as folder:
            archive = Path(folder) / "initramfs"
            archive.write_bytes(initramfs.for_ladder(self._kernel, INIT))
            command = arguments(self._kernel, archive, self._accelerator, job.memory_mib, job.out)
            why, seconds = watch(command, job.out / "console.log", job.line, job.limit_s)
        return read_outcome(job, seconds, why)


def _boots(kernel: StockKernel, accelerator: Accelerator) -> bool:
    """Whether a guest reaches its first process in time."""
    heard: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gateway-qemu-") as folder:
        archive, console = Path(folder) / "initramfs", Path(folder) / "console"
        archive.write_bytes(initramfs.for_trial(_TRIAL_WORD))
        watch(arguments(kernel, archive, accelerator, _TRIAL_MIB), console, heard.append, TRIAL_S)
    return any(_TRIAL_WORD in text for text in heard)


def _qemu_version() -> str:
    """What QEMU says it is. Raises EngineError if there is none."""
    try:
        told = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise EngineError(f"there is no {QEMU} here; as root: apt-get install qemu-system-x86") from None
    return told.splitlines()[0]
