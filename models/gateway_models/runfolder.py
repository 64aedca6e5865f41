"""A run's folder: windows, trained networks, checkpoints and curves; what is there is not made again.

config.json             what was asked for, of which recordings; a run of something else does not go on here
windows/                the training set (`gateway_models.windows`)
networks/NAME.npz       one trained network, and NAME.json its losses
checkpoints/NAME.npz    of networks that are not ready yet
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gateway_models import windows
from gateway_models.lessons import STEPS, Task, lesson, recipe
from gateway_models.network import NETWORKS, Layer, Op


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one run is."""

    path: Path

    @property
    def windows(self) -> Path:
        """The training set."""
        return self.path / "windows"

    def network(self, task: Task) -> Path:
        """A trained network."""
        return self.path / "networks" / f"{task.file}.npz"

    def losses(self, task: Task) -> Path:
        """Its learning curve."""
        return self.path / "networks" / f"{task.file}.json"

    def checkpoint(self, task: Task) -> Path:
        """What is known of it while it learns."""
        return self.path / "checkpoints" / f"{task.file}.npz"

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, or go on in it. Raises ValueError if it is of another run."""
        for name in ("networks", "checkpoints"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        file = self.path / "config.json"
        text = json.dumps(config, indent=1, sort_keys=True) + "\n"
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{self.path} holds a run of another kind, or of other recordings: delete that folder, or "
                f"name another (config.json there says what it is of; asked for was {json.dumps(config)})"
            )
        file.write_text(text, encoding="utf-8")

    def layers(self, task: Task) -> list[Layer]:
        """The trained network of a task. Raises FileNotFoundError if it is not there yet."""
        return load_layers(self.network(task))


def save_layers(path: Path, layers: Sequence[Layer]) -> None:
    """One .npz file, complete once it has its name."""
    content: dict[str, Any] = {"ops": np.array([layer.op.value for layer in layers])}
    content["strides"] = np.array([layer.stride for layer in layers])
    for number, layer in enumerate(layers):
        if layer.weight is not None:
            content |= {f"weight{number}": layer.weight, f"bias{number}": layer.bias}
    beside = path.with_suffix(".part.npz")
    np.savez(beside, **content)
    beside.rename(path)


def load_layers(path: Path) -> list[Layer]:
    """What `save_layers` wrote."""
    with np.load(path) as content:
        return [
            Layer(Op(str(op)), int(stride), content.get(f"weight{number}"), content.get(f"bias{number}"))
            for number, (op, stride) in enumerate(zip(content["ops"], content["strides"], strict=True))
        ]


def train_all(run: RunFolder, tasks: Iterable[Task], steps: int | None = None, workers: int = 2) -> None:
    """Train what is not trained yet, in so many processes of one thread each."""
    waiting = [task for task in tasks if not run.network(task).exists()]
    if not waiting:
        return
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(min(workers, len(waiting)), maxtasksperchild=1) as pool:
        done = pool.imap_unordered(partial(_train_one, run, steps or STEPS), waiting, chunksize=1)
        for number, (task, seconds, loss) in enumerate(done, 1):
            line = f"{number} of {len(waiting)}: {task.file} in {seconds:.0f} s, loss {loss:.3f}"
            _say(f"{line}; {time.monotonic() - started:.0f} s so far")


def _train_one(run: RunFolder, steps: int, task: Task) -> tuple[Task, float, float]:
    from gateway_models.train import train  # JAX: only in the children

    started = time.monotonic()
    chosen = recipe(steps)
    work = lesson(windows.load(run.windows), task)

    def tell(step: int, loss: float, seconds: float) -> None:
        if step % 500 == 0:
            _say(f"   {task.file}: step {step} of {chosen.steps}, loss {loss:.3f}, {seconds:.0f} s")

    trained = train(work, NETWORKS[task.look], chosen, task.seed, checkpoint=run.checkpoint(task), tell=tell)
    save_layers(run.network(task), trained.layers)
    curve = {
        "task": asdict(task),
        "windows": len(work.truth),
        "recipe": asdict(chosen),
        "loss": trained.losses,
    }
    run.losses(task).write_text(json.dumps(curve) + "\n", encoding="utf-8")
    run.checkpoint(task).unlink(missing_ok=True)
    return task, time.monotonic() - started, float(np.mean(trained.losses[-5:]))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
