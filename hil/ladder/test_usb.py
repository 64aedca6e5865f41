"""The emulated USB bus itself: while nothing moves on it, it must cost nothing, or virtual days take days."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serial

from gateway_hil.bench import Bench
from gateway_hil.emulators import Gnss

pytestmark = pytest.mark.needs("usb-serial")

LOOKED_S, FOUND_S = 2.0, 10.0
STOCK_HZ = 8000  # what an unedited kernel does while a serial port is open: a look each 125 µs
QUIET_HZ = 100


def timers() -> int:
    """High-resolution timers that went off since the guest's start."""
    row = next(line for line in Path("/proc/softirqs").read_text().splitlines() if "HRTIMER" in line)
    return sum(map(int, row.split()[1:]))


def node_of(gps: Gnss) -> Path:
    """The host's tty of an emulator, which is there a moment after its gadget was configured."""
    deadline = time.monotonic() + FOUND_S
    while True:
        try:
            return gps.wire.path
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_an_open_port_on_which_nothing_comes_wakes_nobody(
    bench: Bench, plug: Callable[..., Any], note: Callable[[str], None]
) -> None:
    if bench.name != "uml":
        pytest.skip("only the kernel of the bench uml has the edit that this is about")
    gps = plug(Gnss, every_s=1000)
    with serial.Serial(str(node_of(gps))):
        before, started_s = timers(), time.monotonic()
        time.sleep(LOOKED_S)
        rate = (timers() - before) / (time.monotonic() - started_s)
    note(f"an idle open port: {rate:.0f} timers a second, {STOCK_HZ} in a stock kernel")
    assert rate < QUIET_HZ
