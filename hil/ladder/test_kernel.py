"""What every other test of the ladder relies on in a guest: kernel, files, clocks, arithmetic."""

import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway_hil.bench import Bench, Capability

OUT = Path("/run/out")  # the one folder of the host that a guest may write to
TRACE = Path(__file__).with_name("written-by-a-guest")
KERNELS = {"uml": r"6\.12\.\d+.*", "qemu": r"6\.1\.0-\d+-amd64"}

PROMISED = {
    Capability.SERIAL,
    Capability.USB_SERIAL,
    Capability.USB_FTDI,
    Capability.BLE,
    Capability.GPIO,
    Capability.ALSA,
    Capability.USB_ALSA,
    Capability.V4L2,
    Capability.USB_V4L2,
    Capability.NETWORK,
}

CLOCKS = {
    "monotonic": time.CLOCK_MONOTONIC,
    "boottime": time.CLOCK_BOOTTIME,
    "realtime": time.CLOCK_REALTIME,
}

DIED = 1 << 7  # of /proc/sys/kernel/tainted; source: Documentation/admin-guide/tainted-kernels.rst
# gpiolib says this when a chip goes while one of its lines is watched for edges, as in one of our tests.
KNOWN_WARNINGS = ("Trying to free already-free IRQ", "removing non-empty directory 'irq/")

# Fourier transforms of one noise, over and over, against each other: prints a digest of all of them.
ARITHMETIC = """
import hashlib, sys
import numpy as np
noise = np.random.default_rng(7).standard_normal(4096)
first = np.fft.rfft(noise)
for _ in range(int(sys.argv[1])):
    again = np.fft.rfft(noise)
    assert again.tobytes() == first.tobytes(), "the same sum came out differently"
    assert np.allclose(np.fft.irfft(again), noise, rtol=0, atol=1e-12), "there and back is not where it began"
print(hashlib.sha256(first.round(9).tobytes()).hexdigest())
"""


@pytest.fixture
def guest(bench: Bench) -> Bench:
    """The bench, if there is a guest; on the others there is nothing to look at."""
    if bench.name not in KERNELS:
        pytest.skip(f"the bench {bench.name} has no guest")
    return bench


def test_the_kernel_is_the_one_that_this_bench_promises(guest: Bench, note: Callable[[str], None]) -> None:
    note(f"Linux {platform.release()}, {os.cpu_count()} CPUs")
    assert re.fullmatch(KERNELS[guest.name], platform.release())
    assert ("Debian" in platform.version()) == (guest.name == "qemu")


def test_the_guest_can_do_all_that_its_bench_promises(guest: Bench) -> None:
    # Debian's stock kernel is not loaded with device-mapper: what hangs on it needs virtual time, too.
    missing = (PROMISED | ({Capability.DISK} if guest.name == "uml" else set())) - guest.capabilities
    assert not missing, "; ".join(guest.why_not(capability) for capability in sorted(missing))


def test_the_kernel_has_not_complained(guest: Bench) -> None:
    tainted = int(Path("/proc/sys/kernel/tainted").read_text())
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    # What a warning says stands before or after its line "WARNING", as the kernel's version has it.
    warned = [part[:500] for part in log.split("[ cut here ]")[1:]]
    assert not [told for told in warned if not any(known in told for known in KNOWN_WARNINGS)], log
    assert not tainted & DIED, log


def test_what_a_guest_writes_does_not_reach_the_host(guest: Bench) -> None:
    assert not TRACE.exists(), f"an earlier guest wrote {TRACE} to the host's disk"
    TRACE.write_text(f"written in a guest of the bench {guest.name}; it must be gone with it\n")
    assert TRACE.exists()
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    of_host = {place for _, place, kind, *_ in mounts if kind in {"9p", "hostfs"}}
    assert of_host == {str(OUT)}
    assert [kind for _, place, kind, *_ in mounts if place == "/"][-1] == "overlay"


def test_results_reach_the_out_folder(guest: Bench) -> None:
    path = OUT / "test-kernel.tmp"
    with path.open("wb") as file:
        file.write(b"result")
        file.flush()
        os.fsync(file.fileno())
    path.replace(OUT / "test-kernel")
    assert (OUT / "test-kernel").read_bytes() == b"result"
    (OUT / "test-kernel").unlink()


def test_processes_find_what_they_need(guest: Bench) -> None:
    os.close(os.memfd_create("ladder"))
    for descriptor in os.openpty():
        os.close(descriptor)
    with Path("/dev/shm/ladder").open("wb") as file:
        file.write(b"shared")
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


@pytest.mark.parametrize("clock", CLOCKS)
def test_clocks_run_as_fast_as_one_sleeps(guest: Bench, note: Callable[[str], None], clock: str) -> None:
    start_ns = time.clock_gettime_ns(CLOCKS[clock])
    time.sleep(0.5)
    passed_s = (time.clock_gettime_ns(CLOCKS[clock]) - start_ns) / 1e9
    note(f"a sleep of 0.5 s took {passed_s:.4f} s")
    assert 0.499 <= passed_s <= 0.5 + 0.1 * guest.slowness


def test_the_guest_knows_the_date(guest: Bench) -> None:
    """Site files, certificates and receivers' dates are judged by it."""
    assert time.time() > Path(__file__).stat().st_mtime - 1


def test_sums_come_out_the_same_while_others_calculate(guest: Bench, note: Callable[[str], None]) -> None:
    """A kernel that mixes up the vector registers of two processes would show as tests that fail at times."""
    rounds = "300" if guest.slowness < 5 else "100"
    command = [sys.executable, "-c", ARITHMETIC, rounds]
    start_s = time.monotonic()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=30 * guest.slowness)[0].strip() for process in running]
    note(f"three processes, {rounds} transforms of 4096 each: {time.monotonic() - start_s:.1f} s")
    assert [process.returncode for process in running] == [0, 0, 0], told
    assert len(set(told)) == 1


@pytest.mark.time_travel
@pytest.mark.timeout(2 * 86_400)
@pytest.mark.needs("time-travel")
def test_a_day_passes_on_all_clocks_alike(guest: Bench) -> None:
    before_s = {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
    time.sleep(86_400)
    passed_s = {name: time.clock_gettime(clock) - before_s[name] for name, clock in CLOCKS.items()}
    assert all(86_400 <= seconds < 86_401 for seconds in passed_s.values()), passed_s
