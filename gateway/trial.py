"""The throw-away child that a model is tried in: `python -m gateway.trial <request >report`.

The request is one line of JSON, then the models' bytes, then an .npz of questions and answers. The report
is a line of JSON for every step, so that a death has a name: {"begin": net}, {"done": net, …} and at last
{"good": true}; or {"refused": why}. The report alone is not the verdict: this process must also end in
peace, with every interpreter destroyed, as a damaged heap often shows only then. `gateway.admission` asks.
"""

import gateway.lean  # noqa: F401  # isort: skip

import base64
import io
import json
import math
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from gateway.confine import give_up_rights, limit, peak_afresh, peak_bytes
from gateway.errors import BundleError

SLACK_MIB: Final = 64  # above the budget, so that exceeding it is a sentence and not a crash
_SEED: Final = 20
_ROUNDS: Final = 3
_PATIENCE_MAX_S: Final = 3600.0  # for a net that may compute for ever
_RUNS_MIN: Final = 10  # of a round, however slow the net is


def main() -> int:
    """Do what stdin asks; 0, also when a model is refused. Anything else is a death."""
    network = give_up_rights()
    import numpy as np  # threads of its own may begin here, which unshare(2) forbids

    from gateway.inference import Net, check_runtime
    from gateway.modellint import lint

    wanted = json.loads(sys.stdin.buffer.readline())
    models = [sys.stdin.buffer.read(net["bytes"]) for net in wanted["nets"]]
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    limit(max((net["memory_mib"] for net in wanted["nets"]), default=0) + SLACK_MIB, wanted["cpu_s"])
    _say(network=network)
    try:
        check_runtime()
    except BundleError as error:  # before any net has begun: none is to blame
        _say(refused=f"{error}")
        return 0
    for net, model in zip(wanted["nets"], models, strict=True):
        _say(begin=net["name"])
        try:
            with _computing_for(wanted["load_s"]):
                if wanted["lint"]:
                    lint(model)
                before = peak_afresh()
                declared = {each["dtype"] for each in (*net["inputs"], *net["outputs"])}
                runner = Net(model, numbers=declared == {"float32"})
            _Trial(runner, net, arrays, wanted["runs"], wanted["runs_s"]).all(before)
            del runner  # while this net is the one that is named
        except BundleError as error:
            _say(refused=f"{error}")
            return 0
    _say(good=True)
    return 0


class _Trial:
    """One net, loaded: asked what is known, then what comes, then what is known once more."""

    def __init__(
        self, runner: Any, net: dict[str, Any], arrays: dict[str, Any], runs: int, runs_s: float
    ) -> None:
        import numpy as np

        self._np = np
        self._runner = runner
        self._net = net
        self._runs = runs
        self._runs_s = runs_s
        name = net["name"]
        self._asks = [
            [arrays[f"{name}/ask{n}.{k}"] for k in range(len(net["inputs"]))] for n in range(net["asks"])
        ]
        self._expected = [
            [arrays[f"{name}/expected{n}.{k}"] for k in range(len(net["outputs"]))]
            for n in range(net["asks"])
            if f"{name}/expected{n}.0" in arrays
        ]

    def all(self, before: int) -> None:
        """Every check of this net. Raises BundleError."""
        self._fits()
        random = self._np.random.default_rng(_SEED)
        asks = self._asks or [self._random(random)]
        first = [self._ask(ask) for ask in asks]
        for answers, expected in zip(first, self._expected, strict=False):
            self._near(answers, expected)
        median_ms, p99_ms = self._times_ms(random)
        for ask, answers in zip(asks, first, strict=True):
            again = self._ask(ask)
            if any(a.tobytes() != b.tobytes() for a, b in zip(answers, again, strict=True)):
                raise BundleError("it answers one question in two ways: it keeps something, or reads astray")
        facts = self._runner.info()
        _say(
            done=self._net["name"],
            median_ms=round(median_ms, 3),
            p99_ms=round(p99_ms, 3),
            peak_mib=round((peak_bytes() - before) / 2**20, 1),
            runtime=facts.runtime,
            version=facts.version,
            machine=facts.machine,
            answers=[[_packed(self._np, array) for array in answers] for answers in first],
        )

    def _fits(self) -> None:
        """What it takes and gives is what is declared: nothing else, and nothing more."""
        for verb, seen, wanted in (
            ("takes", self._runner.inputs, self._net["inputs"]),
            ("gives", self._runner.outputs, self._net["outputs"]),
        ):
            has = [(tuple(each.shape), _number_type(each, kind)) for each, kind in _pairs(seen, wanted)]
            declared = [(tuple(each["shape"]), each["dtype"]) for each in wanted]
            if has != declared:
                raise BundleError(f"it {verb} {_tensors(has)}, but {_tensors(declared)} is declared")

    def _random(self, random: Any) -> list[Any]:
        """Any numbers of the right type: a picture is -1..1, bytes are bytes."""
        out = []
        for each in self._net["inputs"]:
            kind = self._np.dtype(each["dtype"])
            if kind.kind == "f":
                out.append(random.uniform(-1.0, 1.0, each["shape"]).astype(kind))
            elif kind.kind == "b":
                out.append(random.integers(0, 2, each["shape"]).astype(kind))
            else:
                span = self._np.iinfo(kind)
                out.append(random.integers(span.min, span.max, each["shape"], kind, endpoint=True))
        return out

    def _ask(self, ask: Sequence[Any]) -> list[Any]:
        """The answers to one question, in the types declared. Raises BundleError."""
        whole = [
            facts.whole(array) if array.dtype != facts.dtype else array
            for facts, array in zip(self._runner.inputs, ask, strict=True)
        ]
        answers = []
        with _computing_for(self._net["patience_s"]):
            raw = self._runner.run(*whole)
        for facts, wanted, array in zip(self._runner.outputs, self._net["outputs"], raw, strict=True):
            if array.shape != tuple(wanted["shape"]) or array.dtype != facts.dtype:
                raise BundleError(f"it gave {array.dtype}{list(array.shape)} where it promised {facts}")
            answer = facts.number(array) if array.dtype != wanted["dtype"] else array
            if answer.dtype.kind == "f" and not self._np.isfinite(answer).all():
                raise BundleError("it gives what is no number (NaN or infinite)")
            answers.append(answer)
        return answers

    def _times_ms(self, random: Any) -> tuple[float, float]:
        """Median, and what 99 of 100 runs keep to.

        By the clock, since a processor's own time comes in coarse steps on some machines. What else the
        machine does at the time is no fault of the net, so the best of three rounds counts. Of a net so slow
        that time runs out, ten runs say enough.
        """
        best = math.inf, math.inf
        end_s = time.monotonic() + self._runs_s
        for _ in range(_ROUNDS):
            times_ms: list[float] = []
            while len(times_ms) < self._runs and (len(times_ms) < _RUNS_MIN or time.monotonic() < end_s):
                times_ms.append(self._timed(self._random(random)))
            times_ms.sort()
            p99_ms = times_ms[math.ceil(0.99 * len(times_ms)) - 1]
            best = min(best, (p99_ms, statistics.median(times_ms)))
            if best[0] <= self._net["allowed_ms"] or time.monotonic() >= end_s:
                break
        return best[1], best[0]

    def _timed(self, ask: Sequence[Any]) -> float:
        start = time.perf_counter_ns()
        self._ask(ask)
        return (time.perf_counter_ns() - start) / 1e6

    def _near(self, answers: Sequence[Any], expected: Sequence[Any]) -> None:
        allowed = self._net["tolerance"]
        for answer, known in zip(answers, expected, strict=True):
            off = float(self._np.abs(answer.astype(float) - known.astype(float)).max())
            if not off <= allowed:  # written so that a NaN fails
                raise BundleError(
                    f"a golden answer is off by {off:.3f} (allowed {allowed:.3f}): computed wrong here"
                )


@contextmanager
def _computing_for(at_most_s: float) -> Iterator[None]:
    """SIGPROF ends this process if it computes for longer; what the clock says does not count."""
    signal.setitimer(signal.ITIMER_PROF, min(at_most_s, _PATIENCE_MAX_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _pairs(seen: Sequence[Any], wanted: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, str]]:
    """Each tensor with the type declared for it; "" where nothing is."""
    for n, each in enumerate(seen):
        yield each, (wanted[n]["dtype"] if n < len(wanted) else "")


def _number_type(facts: Any, declared: str) -> str:
    """A quantised tensor may be declared as the float32 that it stands for."""
    return declared if declared == "float32" and facts.step > 0.0 else str(facts.dtype)


def _packed(np: Any, array: Any) -> str:
    """An array as .npy, in base64."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def _tensors(shapes: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return " and ".join(f"{kind}{list(shape)}" for shape, kind in shapes) or "nothing"


def _say(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
