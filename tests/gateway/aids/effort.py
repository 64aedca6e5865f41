"""How many examples hypothesis tries: few in ./dev test, many where HYPOTHESIS_PROFILE=long says so."""

import os

from hypothesis import settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def effort(examples: int, steps: int = 50, times: int = 100) -> settings:
    """Settings for so many examples, of `steps` steps each for a state machine; `times` as many if long."""
    return settings(
        max_examples=examples * (times if LONG else 1),
        stateful_step_count=steps * (2 if LONG else 1),
        deadline=None,
    )
