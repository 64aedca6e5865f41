"""`gateway model bench`: how fast a model is on this box, and which of its variants is to run."""

import argparse
import json
from dataclasses import asdict

from gateway.bundle import find_bundle, load_bundle
from gateway.commands.boxstate import add_state, state_given
from gateway.errors import BundleError
from gateway.modelbench import ROUNDS, NetTimes, choose, measure, remember

_COLUMNS = ("variant", "look", "CPU ms", "median ms", "p99 ms", "memory MiB", "by XNNPACK")


class Bench:
    """Time every network of a bundle in a child of its own, and note the best variant for the workers."""

    name = "bench"
    help = "measure a model's variants on this box, and choose one"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """MODEL [--rounds N] [--json], and which box."""
        parser.add_argument("model", metavar="MODEL", help="a model's name, or the path of a bundle")
        parser.add_argument(
            "--rounds", type=_rounds, default=ROUNDS, help=f"answers each network is asked for ({ROUNDS})"
        )
        parser.add_argument("--json", action="store_true", help="one object")
        add_state(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0; 1 if every variant is over the bundle's budget, and nothing is chosen."""
        state = state_given(arguments)
        bundle = load_bundle(find_bundle(arguments.model, state))
        times = measure(bundle, arguments.rounds)
        try:
            variant, why = choose(bundle, times), ""
        except BundleError as error:
            variant, why = "", str(error)
        if variant and state is not None:
            remember(bundle, variant, times, state)
        if arguments.json:
            nets = [asdict(each) for each in times]
            print(json.dumps({"model": bundle.manifest.name, "variant": variant, "why": why, "nets": nets}))
            return 0 if variant else 1
        print(f"{bundle.manifest.name} {bundle.manifest.version} on {times[0].runtime}, {times[0].machine}")
        table = [_COLUMNS, *(_row(each) for each in times)]
        widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if why:
            print(why)
            return 1
        noted = "noted" if state is not None else "not noted: no box was named (--site or --state)"
        print(f"{variant} is to run here ({noted})")
        return 0


def _rounds(text: str) -> int:
    rounds = int(text)
    if not 10 <= rounds <= 100_000:
        raise argparse.ArgumentTypeError("from 10 to 100000")
    return rounds


def _row(times: NetTimes) -> tuple[str, ...]:
    return (
        times.variant,
        times.look,
        f"{times.cpu_ms:.3f}",
        f"{times.median_ms:.3f}",
        f"{times.p99_ms:.3f}",
        f"{times.memory_mib:.1f}",
        f"{times.delegated} of {times.operators}",
    )
