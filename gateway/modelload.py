"""The model that a sensor runs: the version it is to run, or the next one that can, loaded and watched.

Every candidate (active, previous, shipped in a package) must be whole, not in quarantine and admitted on
this box (`gateway.admission`); the first that is, and that loads, runs. Whatever it does in this process
it does under its mark (`gateway.modelmark`), so a death or a hang has a name.
"""

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.admission import admit, model_name
from gateway.bundle import Bundle, candidates, load_bundle, shipped_fault
from gateway.errors import BundleError
from gateway.features import Samples
from gateway.heartbeat import beating
from gateway.inference import Runner, load_runner
from gateway.log import say
from gateway.modelbench import chosen_variant
from gateway.modelmark import ModelName, Under, patience_s, process_mark
from gateway.modelnote import ModelNote, write_note
from gateway.modelstore import ModelStore
from gateway.tryout import NotTried, Refused

_LOAD_S: Final = 20.0  # patience with a model that is being loaded, from a slow card
_log = logging.getLogger("model")
_Mark = Under | nullcontext[None]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model at work. `standing_in` says why it is not the version that should run; "" if it is. Whether
    that may be otherwise in a while, as this machine was too busy to tell, is in `is_worth_a_retry`.
    """

    bundle: Bundle
    variant: str
    standing_in: str
    is_worth_a_retry: bool
    _runners: Mapping[str, tuple[Runner, _Mark]]

    def run(self, look: str, x: Samples) -> Samples:
        """The logits of one picture: float32 [1, labels]. Raises BundleError if they are no numbers."""
        runner, mark = self._runners[look]
        with mark:
            return runner.run(x)


class NoModelNow(BundleError):
    """No version could be loaded, but for a reason that may be gone in a while."""


def open_model(name: str, state: Path, sensor: str) -> LoadedModel:
    """Load what `sensor` is to run, and note for `gateway doctor` what that is.

    Raises BundleError, saying of every version why it cannot; NoModelNow if one may in a while.
    """
    reasons = _put_away(name, ModelStore(state))
    is_open = False
    try:
        for folder in candidates(name, state):
            try:
                loaded = _load(folder, state, "; ".join(reasons), is_worth_a_retry=is_open)
            except BundleError as error:
                reasons.append(str(error))
                is_open = is_open or _may_pass(error)
                continue
            if reasons:
                text = f"{sensor}: {model_name(loaded.bundle)} stands in: {loaded.standing_in}"
                say(_log, logging.WARNING, text, sensor=sensor)
            write_note(state, sensor, ModelNote(name, str(model_name(loaded.bundle)), loaded.standing_in))
            return loaded
        if fault := shipped_fault(name):
            reasons.append(fault)
        raise (NoModelNow if is_open else BundleError)("; ".join(reasons))
    except BundleError as error:
        write_note(state, sensor, ModelNote(name, "", str(error)))
        raise


def _may_pass(error: BundleError) -> bool:
    """Whether it may be otherwise in a while: this machine was too busy to tell, or to try."""
    return isinstance(error, NotTried) or (isinstance(error, Refused) and not error.is_proven)


def _put_away(name: str, store: ModelStore) -> list[str]:
    """Of the versions that should run before any other: why they do not, as far as they are in quarantine."""
    reasons = []
    for folder in store.installed(name):
        if (mark := store.quarantined_at(folder)) is None:
            break
        reasons.append(f"{mark.name} {mark.version} is in quarantine since {mark.at}: {mark.reason}")
    return reasons


def _load(folder: Path, state: Path, standing_in: str, *, is_worth_a_retry: bool) -> LoadedModel:
    bundle = load_bundle(folder)
    with _no_hurry(), beating():
        admitted = admit(bundle, state)
    variant = chosen_variant(bundle, state, admitted)
    model, budget = model_name(bundle), bundle.manifest.budget.latency_ms
    runners: dict[str, tuple[Runner, _Mark]] = {}
    for look in bundle.manifest.looks:
        with _mark(model, _LOAD_S):
            runner = load_runner(bundle, look.name, variant)
        runners[look.name] = (runner, _mark(model, patience_s(budget[look.name])))
    return LoadedModel(bundle, variant, standing_in, is_worth_a_retry, runners)


@contextmanager
def _no_hurry() -> Iterator[None]:
    """While a child tries a model, this process waits, and is not stuck: no alarm of the loop's watch."""
    was_s = signal.setitimer(signal.ITIMER_REAL, 0)[0]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, was_s)


def _mark(model: ModelName, patience: float) -> _Mark:
    """Outside a worker nobody reads a mark, and no alarm is to end the process."""
    mark = process_mark()
    return nullcontext() if mark is None else mark.under(model, patience)
