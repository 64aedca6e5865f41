"""`./dev models`: makes the shipped bundles, in the training environment.

folds               cross-validation: what the recipe is worth on places it never heard (twenty minutes)
make                the bundle `gunshot`, from $GATEWAY_TEST_DATA/audio and synthesis
make --synthetic    the bundle `gunshot-synthetic`, from nothing but seeds
street              for information: what the shipped bundles make of a synthesised street without shots
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_BOX_PYTHON: Final = _ROOT / ".venv" / "bin" / "python"


def main() -> int:
    """Do one of them; what is in the run folder is not made again."""
    parser = argparse.ArgumentParser(
        prog="./dev models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("make", "folds", "street"), nargs="?", default="make")
    parser.add_argument("--synthetic", action="store_true", help="make: from synthesis alone")
    parser.add_argument("--run", metavar="FOLDER", type=Path, help="where the run is (.models/NAME)")
    parser.add_argument("--data", metavar="DIR", type=Path, help="recordings ($GATEWAY_TEST_DATA/audio)")
    parser.add_argument("--minutes", metavar="N", type=float, default=60.0, help="street: how long (60)")
    arguments = parser.parse_args()
    if arguments.verb == "street":
        return subprocess.call([_BOX_PYTHON, "-m", "gateway_models.streetalarms", str(arguments.minutes)])
    if arguments.synthetic and arguments.verb != "make":
        parser.error("--synthetic goes with make")
    name = "gunshot-synthetic" if arguments.synthetic else "gunshot"
    run = arguments.run or _ROOT / ".models" / name
    data: Path | None = arguments.data or _recordings()
    # One thread a process: sums in one order, so that the same machine makes the same networks.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from gateway_models import foldtable, make, plots

    if arguments.synthetic:
        print(f"written to {make.make_synthetic(run)}")
    elif data is None:
        parser.error("recordings are needed: --data DIR, or GATEWAY_TEST_DATA; or make --synthetic")
    elif arguments.verb == "folds":
        print(foldtable.as_text(make.make_folds(run, data, _BOX_PYTHON)))
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
