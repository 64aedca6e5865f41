"""Whether this guest computes right: a fault of its registers must have a name, not be a test that flickers.

User-Mode Linux saves the vector registers of its processes through ptrace. Where that goes wrong (a host with
wider registers than the kernel was built for), numbers change when processes take turns. So two processes
compute side by side, and each knows what must come out.
"""

import os
import sys

import numpy as np

from gateway.bundle import find_bundle, load_bundle
from gateway.errors import BundleError, ConfigError
from gateway.inference import load_runner, runtime_installed

_MODEL = "gunshot"
_SIZE = 1024
_ROUNDS = 60
_TOLERANCE = 1e-9  # of an amplitude of 512: sums of doubles in another order differ by 1e-12


def spectrum_is_right(wave_number: int) -> bool:
    """Whether the transform of a cosine is as on paper: two lines of half its length, else nothing."""
    found = np.fft.fft(np.cos(2 * np.pi * wave_number * np.arange(_SIZE) / _SIZE))
    found[[wave_number, -wave_number]] -= _SIZE / 2
    return bool(np.abs(found).max() < _TOLERANCE)


def product_is_right() -> bool:
    """Whether a rotation by a quarter, taken four times over, is none at all; in single precision."""
    quarter = np.zeros((64, 64), np.float32)
    quarter[np.arange(64), np.arange(64) ^ 1] = np.where(np.arange(64) % 2, 1, -1)
    whole = quarter @ quarter @ quarter @ quarter
    return bool(np.array_equal(whole, np.eye(64, dtype=np.float32)))


def model_is_right() -> bool:
    """Whether the shipped model gives its golden answers; so, too, if nothing here can run models."""
    try:
        if runtime_installed() is None:
            return True
        bundle = load_bundle(find_bundle(_MODEL))
        for look in bundle.manifest.looks:
            load_runner(bundle, look.name, "f32")
    except (BundleError, ConfigError) as error:
        print(f"guest: {error}", flush=True)
        return False
    return True


def _rounds() -> bool:
    return all(spectrum_is_right(1 + n) and product_is_right() for n in range(_ROUNDS))


def computes_right() -> bool:
    """Two processes at once, each with all rounds."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _rounds() else 1)
    here = _rounds() and model_is_right()
    _, status = os.waitpid(child, 0)
    return here and status == 0


def main() -> int:
    """Check, then become the command given as arguments."""
    if not computes_right():
        print(
            "guest: this kernel mixes up the vector registers of its processes: nothing computed in here can "
            "be trusted. Rebuild it on this machine, or use the bench qemu",
            flush=True,
        )
        return 1
    if len(sys.argv) > 1:
        os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  our own command line
    return 0


if __name__ == "__main__":
    sys.exit(main())
