"""`./dev models`: makes the shipped bundles, in the training environment.

folds               cross-validation: what the recipe is worth on places it never heard (about an hour)
make                the bundle `gunshot`, from $GATEWAY_TEST_DATA/audio and synthesis
make --synthetic    the bundle `gunshot-synthetic`, from nothing but seeds
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]


def main() -> int:
    """Do one of them; what is in the run folder is not made again."""
    parser = argparse.ArgumentParser(
        prog="./dev models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("make", "folds"), nargs="?", default="make")
    parser.add_argument("--synthetic", action="store_true", help="make: from synthesis alone")
    parser.add_argument("--run", metavar="FOLDER", type=Path, help="where the run is (.models/NAME)")
    parser.add_argument("--data", metavar="DIR", type=Path, help="recordings ($GATEWAY_TEST_DATA/audio)")
    arguments = parser.parse_args()
    if arguments.synthetic and arguments.verb != "make":
        parser.error("--synthetic goes with make")
    name = "gunshot-synthetic" if arguments.synthetic else "gunshot"
    run = arguments.run or _ROOT / ".models" / name
    data: Path | None = arguments.data or _recordings()
    # One thread a process: sums in one order, so that the same machine makes the same networks.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from gateway_models import make, plots

    if arguments.synthetic:
        print(f"written to {make.make_synthetic(run)}")
    elif data is None:
        parser.error("recordings are needed: --data DIR, or GATEWAY_TEST_DATA; or make --synthetic")
    elif arguments.verb == "folds":
        found = make.make_folds(run, data, _ROOT / ".venv" / "bin" / "python")
        print({name: round(value, 4) for name, value in found["mean"].items()})
    else:
        print(f"written to {make.make(run, data)}")
    plots.draw(run)
    print(f"the run, with pictures: {run}")
    return 0


def _recordings() -> Path | None:
    named = os.environ.get("GATEWAY_TEST_DATA")
    return Path(named) / "audio" if named else None


if __name__ == "__main__":
    sys.exit(main())
