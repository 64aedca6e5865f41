"""Which model a worker is running at this moment, in a file that outlives the worker.

`run/port-N.model` is mapped into memory: a u64 that is 0 while no model runs, else the number of the one
that does, counted from 1; behind it their names, as JSON lines of fixed size. A worker that dies with the
number set died under that model, whatever killed it: a fault, a full memory, the alarm of the loop's watch
(`gateway.guard`) if it waits, or this module's own if it computes without end. That one, SIGPROF, counts
what the process computes, not the clock, so that no model is blamed for a busy box. Marking one run costs
about a microsecond. Main thread only.
"""

import json
import mmap
import os
import signal
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from gateway.errors import BundleError

_ENTRY: Final = 256  # bytes of one name
_MODELS_MAX: Final = 32  # models in one process
_SIZE: Final = 8 + _ENTRY * _MODELS_MAX
PATIENCE_MIN_S: Final = 2.0  # of computing
PATIENCE_TIMES: Final = 20  # of what the bundle's budget allows one run


@dataclass(frozen=True, slots=True)
class ModelName:
    """One version of one model. `digest` is the SHA-256 of its bundle's manifest.json, in hex."""

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class ModelMark:
    """The file of one worker. Raises OSError if it cannot be made."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, _SIZE)  # a full disk fails here, not at a store into the map
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._names: list[ModelName] = []
        self._users: list[weakref.WeakSet[Under]] = []  # of each name: what may still run under it
        self._running = memoryview(self._map).cast("Q")

    def under(self, model: ModelName, patience_s: float) -> "Under":
        """What to enter around everything that lets this model work: `with mark.under(…):`."""
        number = self._number(model)
        under = Under(self._running, number + 1, patience_s)
        self._users[number].add(under)
        return under

    def _number(self, model: ModelName) -> int:
        """The place of a name; that of a model which nobody runs any more is used again."""
        if model in self._names:
            return self._names.index(model)
        if len(self._names) < _MODELS_MAX:
            number = len(self._names)
            self._names.append(model)
            self._users.append(weakref.WeakSet())
        else:
            number = next((n for n, users in enumerate(self._users) if not users), -1)
            if number < 0:
                raise BundleError(f"more than {_MODELS_MAX} models in one process")
            self._names[number] = model
        start = 8 + number * _ENTRY
        self._map[start : start + _ENTRY] = json.dumps(asdict(model)).encode().ljust(_ENTRY)
        return number

    def close(self) -> None:
        """Unmap the file; its content stays."""
        self._running.release()
        self._map.close()


class Under:
    """Marks that its model works, and has SIGPROF come if it computes for too long.

    What the model is blamed for leaves the mark standing: an error that ends the worker. A BundleError
    does not end it.
    """

    __slots__ = ("__weakref__", "_number", "_patience_s", "_running")

    def __init__(self, running: memoryview, number: int, patience_s: float) -> None:
        self._running = running
        self._number = number
        self._patience_s = patience_s

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, self._patience_s)
        self._running[0] = self._number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, BundleError):
            self._running[0] = 0
        signal.setitimer(signal.ITIMER_PROF, 0)


_process_mark: ModelMark | None = None
_process_path: Path | None = None


def mark_runs_in(path: Path) -> None:
    """Have the models of this process marked in this file; it is made when the first one is loaded."""
    global _process_path
    _process_path = path


def process_mark() -> ModelMark | None:
    """The mark of this process; None outside a worker, or where the disk refuses it."""
    global _process_mark
    if _process_mark is None and _process_path is not None:
        with suppress(OSError):
            _process_mark = ModelMark(_process_path)
    return _process_mark


def mark_path(run: Path, port: int) -> Path:
    """Where the worker of a port marks what runs."""
    return run / f"port-{port}.model"


def clear_mark(run: Path, port: int) -> None:
    """Before a worker starts: what an older one left says nothing about it."""
    with suppress(OSError):
        mark_path(run, port).unlink(missing_ok=True)


def died_under(run: Path, port: int) -> ModelName | None:
    """The model that was at work when the port's worker died; None if none was."""
    try:
        with mark_path(run, port).open("rb") as file:
            marked = file.read(_SIZE)
        number = int.from_bytes(marked[:8], "little")
        if not 1 <= number <= _MODELS_MAX:
            return None
        fields = json.loads(marked[8 + (number - 1) * _ENTRY :][:_ENTRY])
        return ModelName(fields["name"], fields["version"], fields["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def patience_s(latency_ms: float) -> float:
    """Seconds that one run may compute for before the worker is ended for it."""
    return max(PATIENCE_MIN_S, PATIENCE_TIMES * latency_ms / 1000)
