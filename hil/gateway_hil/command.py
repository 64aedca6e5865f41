"""`gateway hil`: run the ladder's tests on one bench, or all of it."""

import argparse
import sys
from pathlib import Path

from gateway.errors import ConfigError


class Hil:
    """The command `gateway hil`."""

    name = "hil"
    help = "run tests with emulated or real devices: here, in a guest kernel, or on a rig"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Two verbs: run (one bench) and ladder (all that a build machine can have)."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        run = verbs.add_parser("run", help="run tests on one bench")
        run.add_argument(
            "--bench",
            choices=("local", "uml", "qemu", "real"),
            default="local",
            help="where (default: local)",
        )
        run.add_argument(
            "--rig", type=Path, metavar="FILE", help="what hardware there is, for the bench real"
        )
        run.add_argument("--seed", type=int, help="repeats a run's draws of chance")
        run.add_argument("--chaos", type=int, metavar="SEED", help="the seed of random faults")
        run.add_argument(
            "--time-travel", action="store_true", help="skip idle time (uml); for tests that say so"
        )
        run.add_argument("--out", type=Path, metavar="FOLDER", help="for rc, junit.xml, console.log, seed")
        run.add_argument("-k", dest="select", metavar="EXPR", help="only tests that match, as pytest's -k")
        run.add_argument("paths", nargs="*", help="tests to run (default: the project's hil/ladder)")
        ladder = verbs.add_parser("ladder", help="run all tests on every bench but real, and sum up")
        ladder.add_argument(
            "--bench", choices=("local", "uml", "qemu"), action="append", help="only this one"
        )
        ladder.add_argument("--seed", type=int, help="repeats a run's draws of chance")
        ladder.add_argument("--out", type=Path, metavar="FOLDER", help="results, a folder for each rung")

    def run(self, arguments: argparse.Namespace) -> int:
        """The exit status of the tests; 99 if there is no result to believe."""
        try:
            import pytest
        except ImportError as error:
            raise ConfigError(
                f"the benches need the extra packages: pip install 'pole-gateway[hil]' ({error})"
            ) from None
        del pytest
        return _ladder(arguments) if arguments.verb == "ladder" else _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from gateway_hil.rung import Rung, climb

    rung = Rung(
        bench=arguments.bench,
        time_travel=arguments.time_travel,
        paths=tuple(arguments.paths),
        select=arguments.select,
        seed=arguments.seed,
        chaos=arguments.chaos,
        rig=arguments.rig,
        out=arguments.out,
    )
    result = climb(rung, _line, _say)
    if result.why:
        _say(result.why)
    _say(
        f"status {result.status}, seed {result.seed}, {result.outcome.seconds:.1f} s; in {result.outcome.out}"
    )
    return result.status


def _ladder(arguments: argparse.Namespace) -> int:
    import tempfile

    from gateway_hil.ladder import RUNGS, climb_all

    benches = arguments.bench or [rung.bench for rung in RUNGS]
    out = arguments.out or Path(tempfile.mkdtemp(prefix="gateway-hil-"))
    return climb_all(benches, out, arguments.seed, _say, _line)


def _line(text: str) -> None:
    print(text, flush=True)


def _say(text: str) -> None:
    print(f"hil: {text}" if not text.startswith("NOT RUN") else text, file=sys.stderr, flush=True)
