"""Which variant of a bundle runs best on this box: measured once, remembered by bundle, runtime and machine.

That hangs on the network, the runtime and the processor: on an x86 core the shipped gunshot model takes three
times as long in int8 as in float32, with tflite-runtime 2.14 (whose XNNPACK takes only float32) and with
ai-edge-litert 2.3; elsewhere it may be otherwise. So a box measures: roughly when a bundle is admitted,
which is enough for most, and on request closely, every network in a child of its own (`gateway.modeltimer`),
on one thread.
"""

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.admission import TIMES_BUDGET, Admitted
from gateway.bundle import Bundle
from gateway.errors import BundleError
from gateway.inference import runtime_tag

ROUNDS: Final = 300
_TIMEOUT_S: Final = 60.0
_KEPT_ENVIRONMENT: Final = ("PYTHONPATH", "PYTHONHOME", "GATEWAY_TFLITE")
_REMEMBERED: Final = 64  # measurements that are kept; the oldest go


@dataclass(frozen=True, slots=True)
class NetTimes:
    """What one network took: CPU time by answer, median and 99th percentile of wall time in the calmest go,
    and memory above an empty process.
    """

    variant: str
    look: str
    runtime: str
    machine: str
    operators: int
    delegated: int
    memory_mib: float
    cpu_ms: float
    median_ms: float
    p99_ms: float

    def allowed_ms(self, bundle: Bundle) -> float:
        """What the bundle's budget lets this look take on a box, by the rule of `gateway.admission`."""
        return bundle.manifest.budget.latency_ms[self.look] * TIMES_BUDGET


def measure(bundle: Bundle, rounds: int = ROUNDS) -> list[NetTimes]:
    """Time every variant and look of a bundle. Raises BundleError if one does not run."""
    return [
        _measure(bundle, variant, look.name, rounds)
        for variant in bundle.manifest.variants
        for look in bundle.manifest.looks
    ]


def choose(bundle: Bundle, times: list[NetTimes]) -> str:
    """The variant that computes all looks in the least time. Raises BundleError if none is in its budget."""
    cost: dict[str, float] = {}
    for each in times:
        late = each.p99_ms > each.allowed_ms(bundle)
        cost[each.variant] = cost.get(each.variant, 0.0) + (float("inf") if late else each.median_ms)
    best = min(cost, key=lambda variant: cost[variant])
    if cost[best] == float("inf"):
        said = "; ".join(
            f"{each.variant} {each.look} {each.p99_ms:.2f} ms of {each.allowed_ms(bundle):g}"
            for each in times
            if each.p99_ms > each.allowed_ms(bundle)
        )
        raise BundleError(f"{bundle.manifest.name} is too slow for this box (99 of 100 within): {said}")
    return best


def remember(bundle: Bundle, variant: str, times: list[NetTimes], state: Path) -> None:
    """Note the choice in the box's state. Raises BundleError if the disk refuses."""
    path = _bench_path(state)
    kept = _read(path)
    kept.pop(_key(bundle), None)  # so that it goes to the end
    kept[_key(bundle)] = {"variant": variant, "nets": [asdict(each) for each in times]}
    beside = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(dict(list(kept.items())[-_REMEMBERED:])) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise BundleError(f"{path} cannot be written: {error.strerror}") from error


def chosen_variant(bundle: Bundle, state: Path, admitted: Admitted) -> str:
    """The variant to run here: the one that `bench` found best, unless it is too slow by now to be admitted;
    else the one that was fastest when the bundle was admitted.
    """
    kept = _read(_bench_path(state)).get(_key(bundle))
    variant = kept.get("variant") if isinstance(kept, dict) else None
    return str(variant) if variant in admitted.variants else admitted.fastest()


def _measure(bundle: Bundle, variant: str, look: str, rounds: int) -> NetTimes:
    name = f"{bundle.manifest.name} {look}.{variant}"
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    try:
        # -P: a folder named like one of our packages in the current directory must not shadow it.
        child = subprocess.run(
            [sys.executable, "-P", "-m", "gateway.modeltimer", str(rounds)],
            input=bundle.net(variant, look),
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"{name} did not answer {rounds} times within {_TIMEOUT_S:.0f} s") from None
    if child.returncode != 0:
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
        raise BundleError(f"{name} took its process down ({how}); it must not be run")
    try:
        report = json.loads(child.stdout)
        if "refused" in report:
            raise BundleError(f"{name}: {report['refused']}")
        return NetTimes(variant, look, **report)
    except (ValueError, TypeError) as error:
        raise BundleError(f"{name}: its process reported what is no measurement ({error})") from error


def _bench_path(state: Path) -> Path:
    return state / "models" / "bench.json"


def _key(bundle: Bundle) -> str:
    return f"{bundle.manifest.hash}/{runtime_tag()}/{platform.machine()}"


def _read(path: Path) -> dict[str, Any]:
    """What was measured before; nothing if the file is not there or damaged: it is only measured again."""
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_bytes())
        if isinstance(kept, dict):
            return kept
    return {}
