"""Does the spool keep its promise in every state a power cut can leave? `./dev bench crash-states`

Stories are drawn from a seed and played over a disk in memory. Before every operation the power is
cut in several ways; each image is opened, checked against what had been promised, used, and often
cut again. A state that breaks the promise is made short and printed, and the exit status is 1.
`--seed S --state K` looks at that one state again.
"""

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict

from benchmarks.common.arguments import whole
from gateway_hil.crashes.enumerate import Account, enumerate_states
from gateway_hil.crashes.explore import Explorer, Found
from gateway_hil.crashes.rot import explore_rot
from gateway_hil.crashes.shrink import shrink
from gateway_hil.crashes.story import draw_story

STATES = 50_000
QUICK = 10_000


def main() -> int:
    """Enumerate and print; exit status 1 if a state is wrong."""
    parser = argparse.ArgumentParser(prog="./dev bench crash-states", description=__doc__)
    parser.add_argument(
        "--states", type=whole(1), default=STATES, help=f"at least so many (default {STATES})"
    )
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK}")
    parser.add_argument("--seed", type=whole(0), default=1, help="of the first story; the next ones follow")
    parser.add_argument("--state", type=whole(0), help="only this state of the story --seed")
    parser.add_argument("--processes", type=whole(1), default=os.cpu_count() or 1, help="at once")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    if arguments.state is not None:
        return again(arguments.seed, arguments.state)
    started = time.monotonic()
    wanted = QUICK if arguments.quick else arguments.states
    account = enumerate_states(wanted, arguments.seed, arguments.processes, progress(wanted))
    took_s = time.monotonic() - started
    for name, count in account.rows():
        print(f"{name:<52}{count:>12,}")
    print(f"{'states in all':<52}{account.states:>12,}")
    where = f"from seed {arguments.seed}, in {arguments.processes} processes"
    print(f"{account.stories} stories {where}: {took_s:.0f} s")
    if account.found is not None:
        tell(account.found)
    else:
        print("nothing lost, nothing invented, no number used twice, every one opened")
    if arguments.json:
        print(json.dumps(figures(account, took_s)))
    return int(account.found is not None)


def progress(wanted: int):  # noqa: ANN201
    """A line that counts up, on a terminal only."""

    def show(states: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{states:,} of {wanted:,} states", end="\n" if states >= wanted else "", file=sys.stderr)

    return show


def figures(account: Account, took_s: float) -> dict[str, object]:
    """What the last line says."""
    found = None if account.found is None else asdict(account.found)
    wrong = {"violations": int(found is not None), "found": found}
    return (
        {"ratios": {"violations": wrong["violations"]}}
        | {"states": account.states, "stories": account.stories, "seconds": round(took_s, 1)}
        | wrong
        | {"kinds": dict(account.rows())}
    )


def tell(found: Found) -> None:
    """The counterexample, and how to see it again."""
    print(f"\nseed {found.story.seed}, state {found.state}: {found.violation}")
    print(f"again: ./dev bench crash-states --seed {found.story.seed} --state {found.state}\nmade short:\n")
    short = found if found.trail else shrink(found)
    print(short.told())


def again(seed: int, state: int) -> int:
    """One state once more, with all that led to it."""
    logging.disable(logging.CRITICAL)
    found = explore_rot(seed, state)[1] if seed % 8 == 7 else Explorer(draw_story(seed), only=state).explore()
    print("this state holds" if found is None else found.told())
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
