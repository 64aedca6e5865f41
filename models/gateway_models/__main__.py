"""`python -m gateway_models make` rebuilds the bundle; `evaluate FOLDER` judges it on recordings."""

import argparse
import os
import sys
from pathlib import Path

from gateway_models.card import table


def main() -> int:
    """Run one of the two; print what the model can do."""
    parser = argparse.ArgumentParser(prog="python -m gateway_models", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser(
        "make", help="synthesise, train, export and judge shot-v1 (needs requirements/train.txt)"
    )
    judge = verbs.add_parser("evaluate", help="judge shot-v1 on a folder of clips with a manifest.csv")
    judge.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    # One thread: sums in one order, so that the same machine makes the same bytes.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    from gateway_models.make import evaluate, make

    judgement = make() if arguments.verb == "make" else evaluate(arguments.folder)
    print(f"area under the ROC curve {judgement.auc:.3f}; threshold {judgement.threshold}")
    print(table(judgement.rises + judgement.kinds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
