"""What does a record cost: the card, the processor, time? Our spool beside what others use, in one run.

./dev bench spool [--quick] [--json]. Root and a spare loop device are needed to count what reaches the
medium; without them that part says so.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.common import arguments as given
from benchmarks.common.progress import say
from benchmarks.common.promise import report
from benchmarks.spool.blockdisk import BlockDisk, NoBlockDisk
from benchmarks.spool.measure import Bench, Figures, Life
from benchmarks.spool.plot import draw
from benchmarks.spool.stores import STORES
from benchmarks.spool.tables import more_ratios, pair_table, promises, small_table, store_table, wear_table
from benchmarks.spool.workload import FULL, QUICK, SMALL, Extent


def main() -> int:
    """Measure, print, draw; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="./dev bench spool", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute: smaller counts, a backlog of 100,000")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    parser.add_argument(
        "--folder", type=given.folder, default=Path("/var/tmp"), help="on the disk to measure"
    )
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where the picture goes")
    arguments = parser.parse_args()
    extent = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="spool-", dir=arguments.folder) as folder:
        pairs = append_against_raw(Path(folder), extent)
        with contextlib.ExitStack() as stack:
            disk, reason = None, ""
            try:
                disk = stack.enter_context(BlockDisk(Path(folder)))
            except NoBlockDisk as error:
                reason = str(error)
                say(f"bytes on the device are not counted: {reason}")
            where = disk.folder if disk else Path(folder)
            bench = Bench(where, disk, extent, quick=arguments.quick)
            stores = []
            ours = STORES["ours"] if disk else replace(STORES["ours"], options=("counting",))
            for entry in (STORES | {"ours": ours}).values():
                stores.append(bench.store(entry))
                say(f"{entry.title}: measured")
            small = {size: bench.uplink_up(ours, size, (25, 100, 1000)) for size in SMALL}
            say("small records: measured")
    show(stores, small, pairs, extent, reason)
    if disk:
        print("picture:", *draw(stores, arguments.out))
    found = plain(stores, small, pairs, extent)
    told = promises(stores, pairs)
    return report(told, found, as_json=arguments.json, more=more_ratios(stores, pairs))


def append_against_raw(folder: Path, extent: Extent) -> dict[int, dict[str, Any]]:
    """Ratios and CPU by records a commit, on the disk itself: a loop device would hide what we cost."""
    pairs = {}
    for group in extent.pair_groups:
        place = folder / f"pairs-{group}"
        place.mkdir()
        words = [str(place), str(group), str(extent.pairs), str(extent.pair_commits)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.spool.pairs", *words],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        pairs[group] = json.loads(done.stdout)
        say(f"append against raw, {group} a commit: {statistics.median(pairs[group]['ratios']):.2f}")
    return pairs


def show(
    stores: list[Figures],
    small: dict[int, dict[int, Life]],
    pairs: dict[int, dict[str, Any]],
    extent: Extent,
    reason: str,
) -> None:
    """Every table."""
    print(
        f"\nStored and drained with the uplink up, 100 records a commit; outages of {extent.backlogs[100]:,}"
    )
    print(store_table(stores))
    print("\nBytes written to the device per byte of payload, by records a commit (append and drain)")
    print(wear_table(stores))
    if reason:
        print(f"  not counted here ({reason}); ours: pages it asked the disk to write")
    print("\nSmall records, ours: bytes written per byte / the limit that whole pages set")
    print(small_table(small))
    print("\nDurable append, ours as a share of raw pwrite and fdatasync of the same padded bytes")
    print(pair_table(pairs))
    print()


def plain(
    stores: list[Figures], small: dict[int, dict[int, Life]], pairs: dict[int, dict[str, Any]], extent: Extent
) -> dict[str, Any]:
    """Everything as JSON wants it."""
    return {
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
        },
        "extent": asdict(extent),
        "stores": {f.entry.name: asdict(f) | {"entry": f.entry.title, "durable": f.durable} for f in stores},
        "small": {
            size: {group: asdict(life) for group, life in lives.items()} for size, lives in small.items()
        },
        "append_vs_raw": pairs,
    }


if __name__ == "__main__":
    sys.exit(main())
