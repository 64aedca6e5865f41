"""A counterexample made short: fewer steps, fewer damaged pages, the same kind of violation."""

import re
from dataclasses import replace
from typing import Final

from gateway_hil.crashes.explore import Explorer, Found
from gateway_hil.crashes.story import Story

_IMAGES: Final = 6  # more than usual, as the one that matters must be met again in a shorter story
_TRIALS: Final = 300


def shrink(found: Found, trials: int = _TRIALS) -> Found:
    """The shortest counterexample that was met in so many trials, with its trail."""
    kind = _kind(found)
    best = replace(found, story=found.story.shorter(found.step, len(found.story.steps)))
    images, size = 0, len(best.story.steps) // 2
    while size and trials > 0:
        start, gone = 0, False
        while start < len(best.story.steps) and trials > 0:
            trials -= 1
            shorter = _try(best.story.shorter(start, start + size), kind)
            if shorter is None:
                start += size
            else:
                best, images, gone = shorter, _IMAGES, True
        size = size if gone and size == 1 else size // 2
    return _spare(best, images)


def _try(story: Story, kind: str) -> Found | None:
    found = Explorer(story, images=_IMAGES).explore()
    return found if found is not None and _kind(found) == kind else None


def _spare(found: Found, images: int) -> Found:
    """Leave as many pages as possible as they were."""
    explorer = Explorer(found.story, only=found.state)
    if images:
        explorer.images = images
    best = explorer.explore() or found
    spared: frozenset[tuple[str, int]] = frozenset()
    for page in explorer.damaged:
        trial = Explorer(found.story, only=found.state, images=explorer.images, spared=spared | {page})
        less = trial.explore()
        if less is not None and _kind(less) == _kind(found):
            best, spared = less, spared | {page}
    return best


def _kind(found: Found) -> str:
    """The violation without its numbers."""
    return re.sub(r"\d+", "#", found.violation)
