"""How well does the uplink use a slow link, and does an alert overtake a backlog? `./dev bench uplink [--quick]`"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.uplink.drain import drain


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./dev bench uplink", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    parser.add_argument("--only", choices=["drain"], help="one measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uplink-", dir="/var/tmp") as folder:
        found = drain(Path(folder) / "drain", "ours", 25.0 if arguments.quick else 65.0)
    print(f"link used      {found.share:7.1%}   (from the first packet: {found.share_with_start:.1%})")
    print(f"alert → hub    {found.receipt.text()} ms (p50 / p99 / max of {found.receipt.count})")
    print(f"alert → ack    {found.ack.text()} ms")
    print(f"FIFO queue     {found.queue_ms.text()} ms")
    print(f"records/s      {found.records_s:.0f}, {found.octets_a_record:.1f} octets on the wire a record")
    print(f"CPU            box {found.box_cpu:.1%}, hub {found.hub_cpu:.1%}")
    if arguments.json:
        print(json.dumps(found.plain()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
