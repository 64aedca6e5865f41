"""Trying nets in a throw-away child, seen from the parent: what is asked, what came back, how it ended.

The child is `gateway.trial`. A net passes if the child's report is good and the child then ended in peace.
What the parent reads is bounded and comes as JSON; a forged report is only worth what the signature of the
bundle is worth, as code that has taken over the child could write what it likes (docs/decisions/015).
"""

import base64
import binascii
import io
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from gateway.errors import BundleError

Array = npt.NDArray[Any]

RUNS: Final = 50
CPU_S: Final = 20  # that all nets of one child may compute for
TIMEOUT_S: Final = 25.0  # of wall time; a worker that says nothing for 40 s is taken for dead
_RUNNING: Final = 0.6  # of the time of a trial is for the runs; the rest for loading and for questions
PATIENCE_MIN_S: Final = 2.0  # of computing at one answer; more if its net is allowed more
_PATIENCE_TIMES: Final = 2  # of what a net is allowed
_LOAD_S: Final = 10.0  # of computing while a net is linted and loaded
_REPORT_MAX: Final = 16 << 20
_KEPT_ENVIRONMENT: Final = ("PYTHONPATH", "PYTHONHOME", "GATEWAY_TFLITE")
# The C library's own checks of the heap, where it has them (glibc, in a library to be loaded first).
_WATCHED_HEAP: Final = {
    "LD_PRELOAD": "libc_malloc_debug.so.0",
    "MALLOC_CHECK_": "3",  # abort at once when the heap is found damaged
    "MALLOC_PERTURB_": "165",  # what was freed reads as rubbish
}
_FATAL: Final = (
    "free()",
    "malloc",
    "realloc()",
    "corrupted",
    "double free",
    "terminate",
    "Fatal Python error",
)
_ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class NotTried(BundleError):
    """This machine could not try a model now; in a while it may."""


class Refused(BundleError):
    """A model was tried and did not pass. `net` is the one it happened in; `is_proven` says that it was
    the model, not this machine, so that trying again is pointless.
    """

    def __init__(self, reason: str, net: str = "", *, is_proven: bool = True) -> None:
        super().__init__(f"{net}: {reason}" if net else reason)
        self.reason = reason
        self.net = net
        self.is_proven = is_proven


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a net takes or gives: shape, and numpy's name of the type."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class NetTrial:
    """One net to be tried, and what it declares. `asks` and `answers` are its golden questions, each a
    tuple of arrays; without `answers` they are asked all the same, and the report has what came. Runs that
    take longer than `allowed_ms` are measured again, in case the machine was busy; one that computes for
    twice as long, and two seconds at least, is ended.
    """

    name: str
    model: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    memory_mib: int
    allowed_ms: float = math.inf
    asks: Sequence[tuple[Array, ...]] = ()
    answers: Sequence[tuple[Array, ...]] = ()
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class NetReport:
    """How one net did: half of its runs within `median_ms`, 99 of 100 within `p99_ms`.

    `peak_mib` is how much more memory the process held at most than when the net was not loaded yet.
    """

    median_ms: float
    p99_ms: float
    peak_mib: float
    answers: tuple[tuple[Array, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrialReport:
    """A child that ended in peace: what ran the nets, what became of its network, and each net by name."""

    runtime: str
    version: str
    machine: str
    network: str
    nets: Mapping[str, NetReport]


def try_nets(
    nets: Sequence[NetTrial],
    *,
    runs: int = RUNS,
    lint: bool = True,
    cpu_s: int = CPU_S,
    timeout_s: float = TIMEOUT_S,
) -> TrialReport:
    """Try nets in one child, each with so many runs, fewer if they are so slow that time is short.

    Raises Refused, or BundleError if they could not be tried at all: NotTried if in a while they may.
    """
    runs_s = _RUNNING * timeout_s / max(1, len(nets))
    orders = {"runs": runs, "runs_s": runs_s, "lint": lint, "cpu_s": cpu_s, "load_s": _LOAD_S}
    try:
        with os.fdopen(os.memfd_create("trial", os.MFD_CLOEXEC), "w+b") as request:
            _write_request(request, nets, orders)
            status, said, last_words, is_late = _run_child(request, timeout_s)
    except OSError as error:  # no memory, no process, no file descriptor left
        raise NotTried(f"models cannot be tried here: {error.strerror or error}") from error
    steps = _steps(said)
    net = next((step["begin"] for step in reversed(steps) if "begin" in step), "")
    if refusal := next((step["refused"] for step in steps if "refused" in step), None):
        if not net:
            raise BundleError(f"models cannot be tried here: {refusal!s:.300}")
        raise Refused(f"{refusal!s:.300}", net)
    if is_late:
        text = f"did not come to an end within {timeout_s:.0f} s, and was stopped"
        raise Refused(text, net, is_proven=False)
    if status != 0 or not any(step.get("good") for step in steps):
        _blame(status, last_words, net, cpu_s)
    return _report(nets, steps, net)


def _write_request(file: Any, nets: Sequence[NetTrial], orders: Mapping[str, float]) -> None:
    arrays: dict[str, Array] = {}
    told: list[dict[str, Any]] = []
    for net in nets:
        for kind, questions in (("ask", net.asks), ("expected", net.answers)):
            for n, each in enumerate(questions):
                arrays |= {f"{net.name}/{kind}{n}.{k}": array for k, array in enumerate(each)}
        told.append(
            {
                "name": net.name,
                "bytes": len(net.model),
                "inputs": [asdict(tensor) for tensor in net.inputs],
                "outputs": [asdict(tensor) for tensor in net.outputs],
                "memory_mib": net.memory_mib,
                "allowed_ms": net.allowed_ms,
                "patience_s": max(PATIENCE_MIN_S, _PATIENCE_TIMES * net.allowed_ms / 1000),
                "asks": len(net.asks),
                "tolerance": net.tolerance,
            }
        )
    file.write(json.dumps({**orders, "nets": told}).encode() + b"\n")
    file.writelines(net.model for net in nets)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    file.write(packed.getvalue())
    file.flush()
    file.seek(0)


def _run_child(request: Any, timeout_s: float) -> tuple[int, bytes, str, bool]:
    """Exit status, stdout, what stderr says of its end, and whether it was killed for taking too long."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {"GATEWAY_PARENT": str(os.getpid())} | _WATCHED_HEAP | _ONE_THREAD
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "gateway.trial"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=request, stdout=pipe, stderr=pipe, env=environment) as child:
        deadline_s = time.monotonic() + timeout_s
        said, words, is_late = _hear(child, deadline_s)
        if not is_late:  # its end may take longer than its words
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline_s - time.monotonic()))
            is_late = child.poll() is None
        if is_late:
            child.kill()
        status = child.wait()
    return status, said, _last_words(words.decode(errors="replace")), is_late


def _hear(child: "subprocess.Popen[bytes]", deadline_s: float) -> tuple[bytes, bytes, bool]:
    """What a child says on stdout and stderr until both end; whether it took too long, or said too much."""
    assert child.stdout is not None
    assert child.stderr is not None
    heard = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
    said, words = heard.values()
    is_late = False
    with selectors.DefaultSelector() as selector:
        for fd in heard:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and not is_late:
            ready = selector.select(max(0.0, deadline_s - time.monotonic()))
            is_late = not ready or len(said) + len(words) > _REPORT_MAX
            for key, _ in ready:
                if more := os.read(key.fd, 1 << 16):
                    heard[key.fd] += more
                else:
                    selector.unregister(key.fd)
    return bytes(said), bytes(words), is_late


def _steps(said: bytes) -> list[dict[str, Any]]:
    """The lines of a report that are whole; a child that dies may leave half a one."""
    steps = []
    for line in said.splitlines():
        with suppress(ValueError):
            step = json.loads(line)
            if isinstance(step, dict):
                steps.append(step)
    return steps


def _last_words(text: str) -> str:
    """What the C library or Python said when it ended, the cause rather than the stack."""
    lines = text.replace(_FATAL[-1], f"\n{_FATAL[-1]}").strip().splitlines()
    fatal = [line for line in lines if line.startswith(_FATAL)]
    return (fatal[0] if fatal else lines[-1] if lines else "it said nothing")[:200]


def _blame(status: int, last_words: str, net: str, cpu_s: int) -> NoReturn:
    """A child that did not end in peace: before it began on a net it is not the model's doing."""
    if not net:
        raise BundleError(f"models cannot be tried here: the child ended with {_how(status)} ({last_words})")
    if status == 0:
        raise Refused("its trial ended without a verdict", net)
    if -status == signal.SIGPROF:
        raise Refused("computed and computed, far longer than it may, and was stopped", net)
    if -status == signal.SIGXCPU:  # all nets together, each within what it is allowed: a slow machine
        text = f"all its networks took more than {cpu_s} s of computing, and were stopped"
        raise Refused(text, net, is_proven=False)
    is_proven = -status != signal.SIGKILL  # that is the kernel, for want of memory elsewhere
    raise Refused(f"brought down its process with {_how(status)} ({last_words})", net, is_proven=is_proven)


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _report(nets: Sequence[NetTrial], steps: Sequence[dict[str, Any]], net: str) -> TrialReport:
    """What the child measured. Raises Refused for a report that is not whole: what ran may have forged it."""
    try:
        done = {step["done"]: step for step in steps if "done" in step}
        reports = {
            each.name: NetReport(
                float(done[each.name]["median_ms"]),
                float(done[each.name]["p99_ms"]),
                float(done[each.name]["peak_mib"]),
                tuple(tuple(map(_unpacked, answer)) for answer in done[each.name]["answers"]),
            )
            for each in nets
        }
        some = done[nets[0].name]
        network = next(str(step["network"]) for step in steps if "network" in step)
        return TrialReport(str(some["runtime"]), str(some["version"]), str(some["machine"]), network, reports)
    except (KeyError, TypeError, ValueError, StopIteration, binascii.Error) as error:
        raise Refused(f"its trial left a report that is not whole ({error!r:.100})", net) from error


def _unpacked(text: str) -> Array:
    array: Array = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return array
