"""The throw-away child that times one network: `python -m gateway.modeltimer ROUNDS <model >report`.

It prints one object of JSON. A network that the lint or the runtime refuses gives {"refused": why}. What
else runs on the machine disturbs single answers, so it is the calmest of some goes that counts. CPU time is
only told by answer over all goes: some kernels count it in steps longer than an answer takes.
"""

import gateway.lean  # noqa: F401  # isort: skip

import json
import sys
import time
from typing import Final

from gateway.confine import bytes_of, give_up_rights, limit
from gateway.errors import BundleError

MEMORY_MIB: Final = 256
CPU_S: Final = 30
_WARM_UP: Final = 10
_GOES: Final = 4
_SEED: Final = 20


def main() -> int:
    """Do it; 0, also when the network is refused."""
    give_up_rights()
    import numpy as np  # threads of its own may begin here, which unshare(2) forbids

    from gateway.inference import Runner
    from gateway.modellint import lint

    rounds, model = int(sys.argv[1]), sys.stdin.buffer.read()
    limit(MEMORY_MIB, CPU_S)
    before = bytes_of("VmHWM")
    try:
        lint(model)
        runner = Runner(model)
        x = np.random.default_rng(_SEED).uniform(-1.0, 1.0, runner.input_shape).astype(np.float32)
        for _ in range(_WARM_UP):
            runner.run(x)
        goes_ms = np.empty((_GOES, rounds))
        cpu_ns = time.process_time_ns()
        for n in np.ndindex(_GOES, rounds):
            begun_ns = time.monotonic_ns()
            runner.run(x)
            goes_ms[n] = (time.monotonic_ns() - begun_ns) / 1e6
        cpu_ms = (time.process_time_ns() - cpu_ns) / 1e6
    except BundleError as error:
        print(json.dumps({"refused": str(error)}))
        return 0
    facts = runner.info()
    report = {
        "runtime": f"{facts.runtime} {facts.version}",
        "machine": facts.machine,
        "operators": facts.operators,
        "delegated": facts.delegated,
        "memory_mib": round((bytes_of("VmHWM") - before) / 2**20, 1),
        "cpu_ms": round(cpu_ms / goes_ms.size, 4),
        "median_ms": round(float(np.median(goes_ms, axis=1).min()), 4),
        "p99_ms": round(float(np.quantile(goes_ms, 0.99, axis=1).min()), 4),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
