"""Trains a candidate bundle from recordings and synthesis: `python -m gateway_models.candidate RUN`.

Runs in the training environment (JAX); `gateway model learn` starts it there, and judges what comes out on a
box's runtime. Everything of it is in the job's run folder, where a run that was broken off goes on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from gateway.bundle import Bundle
from gateway.errors import GatewayError
from gateway_models.build import Size, build
from gateway_models.calibrate import Calibration
from gateway_models.candidate_bundle import write_candidate
from gateway_models.candidate_job import CANDIDATE, RECORDINGS, Job
from gateway_models.export import range_pictures
from gateway_models.folds import calibration_of, hold
from gateway_models.lessons import LOOKS, Task
from gateway_models.ownrecordings import CALIBRATE
from gateway_models.runfolder import RunFolder, train_all
from gateway_models.windows import GUNSHOT, WindowSet

_LEAST_TO_CALIBRATE: Final = 20  # windows of each kind; with fewer the old calibration stays


def make(run: Path, job: Job) -> Bundle:
    """Windows, networks, calibration, bundle: each is made if it is not there yet.

    Raises ValueError if the run folder holds a run of another kind.
    """
    size = Size(gun_clips=job.gun_clips, other_clips=job.other_clips)
    folder = RunFolder(run)
    folder.begin({"kind": "candidate"} | job.learns())
    windows = build(run / RECORDINGS, job.seed, folder.windows, job.workers, size)
    tasks = [Task("own", look, job.seed, (CALIBRATE,)) for look in LOOKS]
    train_all(folder, tasks, job.steps, job.workers)
    networks = {task.look: folder.layers(task) for task in tasks}
    pictures = {look: range_pictures(np.random.default_rng(job.seed), windows, look) for look in LOOKS}
    return write_candidate(run / CANDIDATE, job, networks, pictures, _calibration(folder, windows, tasks))


def _calibration(run: RunFolder, windows: WindowSet, tasks: Sequence[Task]) -> Calibration | None:
    """From clips that were not learned from; None if there are too few of them."""
    label = windows.label[windows.plain & (windows.session == CALIBRATE)]
    if min(int((label == GUNSHOT).sum()), int((label != GUNSHOT).sum())) < _LEAST_TO_CALIBRATE:
        return None
    return calibration_of([hold(run, windows, tasks)])


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
