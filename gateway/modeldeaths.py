"""Deaths of workers under a model: one may be chance; a second within ten minutes puts that version away.

The supervisor asks here after every death of a worker. It keeps this in memory: deaths before its own start
do not count. Neither numpy nor a runtime is needed.
"""

import logging
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.log import say
from gateway.modelmark import ModelName

DEATHS: Final = 2
WITHIN_S: Final = 600.0
_MODELS_MAX: Final = 64  # of which deaths are remembered
_log = logging.getLogger("supervisor")


@dataclass(frozen=True, slots=True)
class DeathPolicy:
    """So many deaths within so many seconds put a version in quarantine."""

    deaths: int = DEATHS
    within_s: float = WITHIN_S


class ModelDeaths:
    """The deaths under every model of a box, whichever port's worker it was."""

    def __init__(self, state: Path, policy: DeathPolicy | None = None) -> None:
        self._state = state
        self._policy = policy or DeathPolicy()
        self._times: dict[str, deque[float]] = {}

    def died(self, model: ModelName, what: str, now_s: float) -> bool:
        """A worker died under this model, in these words. True if the version is in quarantine now.

        A disk that refuses the mark is asked again at the next death.
        """
        if model.digest not in self._times and len(self._times) == _MODELS_MAX:
            self._times.pop(next(iter(self._times)))
        times = self._times.setdefault(model.digest, deque(maxlen=self._policy.deaths))
        times.append(now_s)
        if len(times) < self._policy.deaths or now_s - times[0] > self._policy.within_s:
            text = f"a worker died under model {model}: {what}; once more soon, and that version is put away"
            say(_log, logging.WARNING, text, model=str(model))
            return False
        # Here, as the supervisor of a box without a model never needs it.
        from gateway.modelstore import Mark, ModelStore

        reason = f"{self._policy.deaths} workers died under it within {self._policy.within_s:.0f} s: {what}"
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            ModelStore(self._state).quarantine(Mark(model.digest, model.name, model.version, reason, at))
        except ConfigError as error:
            say(_log, logging.ERROR, f"model {model} cannot be put in quarantine: {error}", model=str(model))
            return False
        del self._times[model.digest]
        say(_log, logging.ERROR, f"model {model} is in quarantine: {reason}", model=str(model))
        return True
