"""Many stories over several processes, until so many states were looked at or one of them is wrong."""

import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway_hil.crashes.explore import Explorer, Found
from gateway_hil.crashes.images import Fault
from gateway_hil.crashes.rot import explore_rot
from gateway_hil.crashes.story import draw_story

Progress = Callable[[int], None]


@dataclass(slots=True)
class Account:
    """What was looked at: how many states of each kind, in how many stories; and what is wrong."""

    stories: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    found: Found | None = None

    @property
    def states(self) -> int:
        """How many images were opened, checked and used."""
        return self.tally["states"]

    def rows(self) -> Iterator[tuple[str, int]]:
        """The table: what was done to the pages, then where the power was cut, then what had failed."""
        kinds = [str(fault) for fault in Fault]
        for kind in kinds:
            yield kind, self.tally[kind]
        for kind in sorted(self.tally.keys() - set(kinds) - {"states"}):
            yield kind, self.tally[kind]


def look_at(seed: int) -> tuple[Counter[str], Found | None]:
    """All states of one story; every eighth is one of pages that rot."""
    logging.disable(logging.CRITICAL)  # what is damaged is reported here by hundreds
    if seed % 8 == 7:
        return explore_rot(seed)
    explorer = Explorer(draw_story(seed))
    found = explorer.explore()
    return explorer.tally, found


def enumerate_states(states: int, seed: int, processes: int, progress: Progress) -> Account:
    """At least so many states, from the stories `seed`, `seed` + 1, ...; the first that is wrong ends it."""
    account = Account()
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        for tally, found in pool.imap(look_at, range(seed, seed + states)):
            account.stories += 1
            account.tally += tally
            progress(account.states)
            if found is not None or account.states >= states:
                account.found = found
                break
        pool.terminate()
    return account
