"""Whether a model may run on this box: tried in a throw-away child first, where it can break nothing.

The child (`gateway.trial`) has no rights, no network, little memory and little time, and its heap checks
itself. A model is linted, loaded, asked its golden questions, run 50 times on random numbers, asked again,
and destroyed. The verdict is kept by bundle, runtime and machine; a refusal puts the version in quarantine.
"""

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from gateway.bundle import Bundle
from gateway.inference import runtime_installed
from gateway.modelmark import ModelName
from gateway.modelstore import ModelStore, mark_of
from gateway.tryout import NetTrial, Refused, Tensor, TrialReport, try_nets

TIMES_BUDGET: Final = 10.0  # budgets are an x86 core's; a small board's core takes about ten times as long


@dataclass(frozen=True, slots=True)
class Admitted:
    """A bundle that may run here. `variants` leaves out those that are too slow on this box; `p99_ms` is by
    "variant/look".
    """

    model: ModelName
    runtime: str
    machine: str
    network: str
    variants: tuple[str, ...]
    p99_ms: Mapping[str, float]
    peak_mib: float


def model_name(bundle: Bundle) -> ModelName:
    """What a mark or a quarantine calls this bundle."""
    return ModelName(bundle.manifest.name, bundle.manifest.version, bundle.manifest.hash)


def admit(bundle: Bundle, state: Path | None = None) -> Admitted:
    """Let a bundle run on this box, or raise Refused (a BundleError) and put it in quarantine.

    With the box's `state` folder a bundle is tried once for each runtime and machine. Raises BundleError
    if it could not be tried.
    """
    model = model_name(bundle)
    if state is not None:
        if (mark := ModelStore(state).quarantined(model.digest)) is not None:
            raise Refused(f"{model} is in quarantine: {mark.reason}")
        if (kept := _read_verdict(_verdict_path(state, model))) is not None:
            return kept
    try:
        bundle.check_front_end()
        admitted = judged(bundle, try_nets(trials(bundle)))
    except Refused as refused:
        if state is not None and refused.is_proven:
            mark = mark_of(model.digest, model.name, model.version, str(refused))
            ModelStore(state).quarantine(mark)
        raise Refused(f"{model}: {refused}", is_proven=refused.is_proven) from refused
    if state is not None:
        _keep_verdict(_verdict_path(state, model), admitted)
    return admitted


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
        p99_ms={name: net.p99_ms for name, net in report.nets.items()},
        peak_mib=worst,
    )


def _verdict_path(state: Path, model: ModelName) -> Path:
    runtime = runtime_installed()
    which = "none" if runtime is None else f"{runtime}-{version(runtime)}"
    return state / "models" / "admitted" / f"{model.digest}-{which}-{platform.machine()}.json"


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
