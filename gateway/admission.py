"""Whether a model may run on this box: tried in a throw-away child first, where it can break nothing.

The child (`gateway.trial`) has no rights, no network, little memory and little time, and its heap checks
itself. A model is linted, loaded, asked its golden questions, run 50 times on random numbers (a slow one
less often, ten times at least), asked again, and destroyed. The verdict is kept by bundle, runtime, numpy
and machine; a refusal puts the version in quarantine. On one box one trial runs at a time, and the workers
that waited for it go by its verdict.
"""

import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gateway.bundle import Bundle
from gateway.errors import ConfigError
from gateway.inference import runtime_tag
from gateway.log import say
from gateway.modelmark import ModelName
from gateway.modelstore import ModelStore, mark_of
from gateway.tryout import TIMEOUT_S, NetTrial, NotTried, Refused, Tensor, TrialReport, try_nets

# Budgets are a fast x86 core's. Of whatever kind a box's core is, it may take ten times as long.
TIMES_BUDGET: Final = 10.0
_TURN_S: Final = TIMEOUT_S  # waiting for another's trial, from its start to its end
_FRESH_S: Final = 10.0  # after a longer wait a trial of one's own has no time: a worker must not be silent
_POLL_S: Final = 0.1
_log = logging.getLogger("model")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A bundle that may run here. `variants` leaves out those that are too slow on this box; `median_ms` and
    `p99_ms` are by "variant/look".
    """

    model: ModelName
    runtime: str
    machine: str
    network: str
    variants: tuple[str, ...]
    median_ms: Mapping[str, float]
    p99_ms: Mapping[str, float]
    peak_mib: float

    def fastest(self) -> str:
        """The variant whose looks took the least time together."""
        cost = dict.fromkeys(self.variants, 0.0)
        for name, median_ms in self.median_ms.items():
            variant = name.partition("/")[0]
            if variant in cost:
                cost[variant] += median_ms
        return min(cost, key=lambda variant: cost[variant])


def model_name(bundle: Bundle) -> ModelName:
    """What a mark or a quarantine calls this bundle."""
    return ModelName(bundle.manifest.name, bundle.manifest.version, bundle.manifest.hash)


def admit(bundle: Bundle, state: Path | None = None) -> Admitted:
    """Let a bundle run on this box, or raise Refused (a BundleError) and put it in quarantine.

    With the box's `state` folder a bundle is tried once for each runtime, numpy and machine, and no two at
    a time. Raises BundleError if it could not be tried: NotTried if in a while it may.
    """
    model = model_name(bundle)
    if state is None:
        return _tried(bundle, model, None)
    if (known := _known(state, model)) is not None:
        return known
    with _turn(state) as waited_s:
        if (known := _known(state, model)) is not None:  # by whoever's turn was before
            return known
        if waited_s > _FRESH_S:
            raise NotTried(f"{model} was not tried: other models were, for {waited_s:.0f} s")
        admitted = _tried(bundle, model, state)
        _keep_verdict(_verdict_path(state, model), admitted)
        return admitted


def _tried(bundle: Bundle, model: ModelName, state: Path | None) -> Admitted:
    bundle.check_front_end()
    try:
        return judged(bundle, try_nets(trials(bundle)))
    except Refused as refused:
        if state is not None and refused.is_proven:
            _put_away(state, model, str(refused))
        raise Refused(f"{model}: {refused}", is_proven=refused.is_proven) from refused


def _known(state: Path, model: ModelName) -> Admitted | None:
    """The verdict of an earlier trial; None if there is none. Raises Refused for what is in quarantine."""
    if (mark := ModelStore(state).quarantined(model.digest)) is not None:
        raise Refused(f"{model} is in quarantine: {mark.reason}")
    return _read_verdict(_verdict_path(state, model))


@contextmanager
def _turn(state: Path) -> Iterator[float]:
    """The right to try a model on this box; how long it was waited for, in seconds.

    Raises NotTried if it does not come. A disk that has no room for the lock costs only that trials may
    make each other late.
    """
    begun_s = time.monotonic()
    path = state / "models" / ".trial.lock"
    fd = None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # To read is enough for a lock, and whoever installs models may be another user.
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if fd is None:
        yield 0.0
        return
    try:
        while not _is_locked(fd):
            if time.monotonic() - begun_s > _TURN_S:
                raise NotTried(f"another process has tried a model for {_TURN_S:.0f} s ({path} is locked)")
            time.sleep(_POLL_S)
        yield time.monotonic() - begun_s
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    """Whether the lock is ours now, or nobody's, where the file system has none.

    Asked again and again, as flock(2) cannot wait for so long and no longer.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _put_away(state: Path, model: ModelName, reason: str) -> None:
    """Quarantine, if the disk takes the mark; if not, the model is tried again at the next start."""
    try:
        ModelStore(state).quarantine(mark_of(model.digest, model.name, model.version, reason))
    except ConfigError as error:
        text = f"model {model} failed its trial and cannot be put in quarantine: {error}"
        say(_log, logging.ERROR, text, model=str(model))


def trials(bundle: Bundle) -> list[NetTrial]:
    """Every look in every variant. int8 networks are asked in float32, as the worker asks them."""
    manifest, golden = bundle.manifest, bundle.golden
    trials = []
    for name, variant in manifest.variants.items():
        for look in manifest.looks:
            logits = golden.logits[name, look.name]
            trials.append(
                NetTrial(
                    name=f"{name}/{look.name}",
                    model=bundle.net(name, look.name),
                    inputs=(Tensor(manifest.input_shape(look.name), "float32"),),
                    outputs=(Tensor(manifest.output_shape, "float32"),),
                    memory_mib=manifest.budget.memory_mib,
                    allowed_ms=TIMES_BUDGET * manifest.budget.latency_ms[look.name],
                    asks=[(x[None],) for x in golden.inputs(look.name)],
                    answers=[(y[None],) for y in logits],
                    tolerance=variant.tolerance,
                )
            )
    return trials


def judged(bundle: Bundle, report: TrialReport) -> Admitted:
    """Whether the report is within the budget. Raises Refused."""
    budget = bundle.manifest.budget
    worst = max(net.peak_mib for net in report.nets.values())
    if worst > budget.memory_mib:
        net = max(report.nets, key=lambda name: report.nets[name].peak_mib)
        raise Refused(f"took {worst:.0f} MiB of memory; its budget is {budget.memory_mib} MiB", net)
    fast = [
        name
        for name in bundle.manifest.variants
        if all(
            report.nets[f"{name}/{look}"].p99_ms <= TIMES_BUDGET * allowed_ms
            for look, allowed_ms in budget.latency_ms.items()
        )
    ]
    if not fast:
        times = ", ".join(f"{name} {net.p99_ms:.1f} ms" for name, net in report.nets.items())
        text = f"too slow here, over {TIMES_BUDGET:.0f} times its budget ({times})"
        raise Refused(text, is_proven=False)  # a busy machine looks the same
    return Admitted(
        model=model_name(bundle),
        runtime=f"{report.runtime} {report.version}",
        machine=report.machine,
        network=report.network,
        variants=tuple(fast),
        median_ms={name: net.median_ms for name, net in report.nets.items()},
        p99_ms={name: net.p99_ms for name, net in report.nets.items()},
        peak_mib=worst,
    )


def _verdict_path(state: Path, model: ModelName) -> Path:
    """Named by all that a verdict depends on: numpy, too, as it makes the pictures (`check_front_end`)."""
    which = f"{runtime_tag()}-numpy-{np.__version__}-{platform.machine()}"
    return state / "models" / "admitted" / f"{model.digest}-{which}.json"


def _keep_verdict(path: Path, admitted: Admitted) -> None:
    """A disk that refuses costs only that the bundle is tried again."""
    beside = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(asdict(admitted)) + "\n", encoding="utf-8")
        os.replace(beside, path)


def _read_verdict(path: Path) -> Admitted | None:
    """What was kept; None if it was never tried, or the file is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        kept["model"] = ModelName(**kept["model"])
        kept["variants"] = tuple(kept["variants"])
        return Admitted(**kept)
    return None
