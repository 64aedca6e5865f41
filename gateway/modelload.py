"""The model that a sensor runs: the version it is to run, or the next one that can, loaded and watched.

Every candidate (active, previous, shipped in a package) must be whole, not in quarantine and admitted on
this box (`gateway.admission`); the first that is, and that loads, runs. Whatever it does in this process
it does under its mark (`gateway.modelmark`), so a death or a hang has a name.
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.admission import admit, model_name
from gateway.bundle import Bundle, candidates, load_bundle
from gateway.errors import BundleError
from gateway.features import Samples
from gateway.inference import Runner, load_runner
from gateway.log import say
from gateway.modelbench import chosen_variant
from gateway.modelmark import ModelName, Under, patience_s, process_mark
from gateway.modelnote import ModelNote, write_note

_LOAD_S: Final = 20.0  # patience with a model that is being loaded, from a slow card
_log = logging.getLogger("model")
_Mark = Under | nullcontext[None]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model at work. `standing_in` says why it is not the version that should run; "" if it is."""

    bundle: Bundle
    variant: str
    standing_in: str
    _runners: Mapping[str, tuple[Runner, _Mark]]

    def run(self, look: str, x: Samples) -> Samples:
        """The logits of one picture: float32 [1, labels]. Raises BundleError if they are no numbers."""
        runner, mark = self._runners[look]
        with mark:
            return runner.run(x)


def open_model(name: str, state: Path, sensor: str) -> LoadedModel:
    """Load what `sensor` is to run, and note for `gateway doctor` what that is.

    Raises BundleError, saying of every version why it cannot.
    """
    reasons: list[str] = []
    try:
        for folder in candidates(name, state):
            try:
                loaded = _load(folder, state, "; ".join(reasons))
            except BundleError as error:
                reasons.append(str(error))
                continue
            if reasons:
                text = f"{sensor}: {model_name(loaded.bundle)} stands in: {loaded.standing_in}"
                say(_log, logging.WARNING, text, sensor=sensor)
            write_note(state, sensor, ModelNote(name, str(model_name(loaded.bundle)), loaded.standing_in))
            return loaded
        raise BundleError("; ".join(reasons))
    except BundleError as error:
        write_note(state, sensor, ModelNote(name, "", str(error)))
        raise


def _load(folder: Path, state: Path, standing_in: str) -> LoadedModel:
    bundle = load_bundle(folder)
    admitted = admit(bundle, state)
    variant = chosen_variant(bundle, state)
    if variant not in admitted.variants:  # measured once as best, but too slow by now
        variant = admitted.variants[0]
    model, budget = model_name(bundle), bundle.manifest.budget.latency_ms
    runners: dict[str, tuple[Runner, _Mark]] = {}
    for look in bundle.manifest.looks:
        with _mark(model, _LOAD_S):
            runner = load_runner(bundle, look.name, variant)
        runners[look.name] = (runner, _mark(model, patience_s(budget[look.name])))
    return LoadedModel(bundle, variant, standing_in, runners)


def _mark(model: ModelName, patience: float) -> _Mark:
    """Outside a worker nobody reads a mark, and no alarm is to end the process."""
    mark = process_mark()
    return nullcontext() if mark is None else mark.under(model, patience)
