"""Trains a candidate bundle from recordings and synthesis: `python -m gateway_models.candidate RUN`.

Runs in the training environment (JAX); `gateway model learn` starts it there, and judges what comes out on a
box's runtime. Everything of it is in the job's run folder, where a run that was broken off goes on.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.bundle import Bundle
from gateway.errors import GatewayError
from gateway_models.build import Size, build
from gateway_models.calibrate import Calibration, shot_log_odds
from gateway_models.candidate_bundle import write_candidate
from gateway_models.candidate_job import CANDIDATE, RECORDINGS, Job
from gateway_models.folds import Held, calibration_of
from gateway_models.lessons import LOOKS, Task
from gateway_models.network import Layer
from gateway_models.ownrecordings import CALIBRATE
from gateway_models.runfolder import RunFolder, train_all
from gateway_models.train import logits
from gateway_models.waves import Rng
from gateway_models.windows import GUNSHOT, WindowSet, unpack

_LEAST_TO_CALIBRATE: Final = 20  # windows of each kind; with fewer the old calibration stays
_RANGES: Final = 384  # windows whose activations give int8 its ranges


def make(run: Path, job: Job) -> Bundle:
    """Windows, networks, calibration, bundle: each is made if it is not there yet.

    Raises ValueError if the run folder holds a run of another kind.
    """
    size = Size(gun_clips=job.gun_clips, other_clips=job.other_clips)
    folder = RunFolder(run)
    folder.begin({"kind": "candidate"} | asdict(job))
    windows = build(run / RECORDINGS, job.seed, folder.windows, job.workers, size)
    tasks = [Task("own", look, job.seed, (CALIBRATE,)) for look in LOOKS]
    train_all(folder, tasks, job.steps, job.workers)
    networks = {task.look: folder.layers(task) for task in tasks}
    pictures = {look: _some(np.random.default_rng(job.seed), windows, look) for look in LOOKS}
    return write_candidate(run / CANDIDATE, job, networks, pictures, _calibration(windows, networks))


def _calibration(windows: WindowSet, networks: Mapping[str, Sequence[Layer]]) -> Calibration | None:
    """From clips that were not learned from; None if there are too few of them."""
    rows = windows.take(np.flatnonzero(windows.plain & (windows.session == CALIBRATE)))
    shots = int((rows.label == GUNSHOT).sum())
    if min(shots, len(rows) - shots) < _LEAST_TO_CALIBRATE:
        return None
    odds = tuple(shot_log_odds(logits(networks[look], getattr(rows, look))) for look in LOOKS)
    return calibration_of([Held(odds, rows)])


def _some(rng: Rng, windows: WindowSet, look: str) -> Any:
    chosen = np.sort(rng.permutation(len(windows))[:_RANGES])
    return unpack(getattr(windows, look)[chosen])[..., None]


def main() -> int:
    """Make the candidate of the run folder given as argument."""
    run = Path(sys.argv[1])
    try:
        bundle = make(run, Job.read(run))
    except (ValueError, GatewayError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{bundle.manifest.name} {bundle.manifest.version} is trained", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
