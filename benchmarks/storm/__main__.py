"""Is anything lost when core and hub are killed again and again? `./dev bench storm [--seconds N] [--seed N]`

A core with three workers that fill all four lanes, a hub, small quotas. SIGKILL hits core or hub about
twice a second; the hub stays away for seconds at times, so that records are given up, too. Promise: each
record that a worker handed over is at the hub once, or declared lost there in its place; nothing else is.
"""

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.common.arguments import whole
from gateway_hil.wholebox.storm import Storm


def main() -> int:
    """Rage and print; exit status 1 if the promise is broken."""
    parser = argparse.ArgumentParser(prog="./dev bench storm", description=__doc__)
    parser.add_argument("--seconds", type=whole(5), default=300, help="how long (default 300)")
    parser.add_argument("--quick", action="store_true", help="20 seconds")
    parser.add_argument(
        "--seed", type=whole(0), default=random.SystemRandom().getrandbits(31), help="repeats its draws"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    logging.getLogger("link").addHandler(logging.NullHandler())  # that core is away is no news here
    print(f"seed {arguments.seed}", flush=True)
    started_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="storm-", dir="/var/tmp") as folder,
        Storm(Path(folder), arguments.seed) as storm,
    ):
        storm.rage(20.0 if arguments.quick else arguments.seconds, lambda text: print(text, flush=True))
        storm.settle(120.0)
        outcome = storm.account()
    print(f"killed {outcome.kills}; {outcome.made} records handed over")
    print(f"{outcome.received} at the hub, what core itself says of the box among them")
    print(f"declared lost {outcome.declared}; wrong: {outcome.wrong or 'nothing'}")
    if arguments.json:
        found = {"ratios": {"wrong": len(outcome.wrong)}} | asdict(outcome)
        print(json.dumps(found | {"seed": arguments.seed, "seconds": time.monotonic() - started_s}))
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    sys.exit(main())
