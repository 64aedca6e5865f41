"""What a benchmark is doing now, on stderr: one line a step, with the seconds since it began."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one step."""
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)
