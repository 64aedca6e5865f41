"""Running a model: one adapter over the two TFLite runtimes, and the proof that this box computes right.

ai-edge-litert is taken when it is installed, else tflite-runtime. tflite-runtime 2.14 was built for
numpy 1: with numpy 2 it imports, then fails with a SystemError that explains nothing, so that is asked
first. An interpreter belongs to one thread; `run` releases the GIL while it computes.
"""

import importlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.bundle import Bundle
from gateway.errors import BundleError
from gateway.features import as_sound

# import path of the interpreter, distribution that brings it
_RUNTIMES: Final = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)
_log = logging.getLogger("inference")
_PICTURE_TOLERANCE: Final = 0.01  # of -1..1, i.e. 0.3 dB: what another libm or FFT may differ by


@dataclass(frozen=True, slots=True)
class RunnerFacts:
    """What runs a model: for `gateway doctor`, logs and model cards."""

    runtime: str
    version: str
    machine: str
    input_shape: tuple[int, ...]
    input_type: str
    output_shape: tuple[int, ...]


def runtime_installed() -> str | None:
    """Name of the distribution that would run models here, or None."""
    for _, distribution in _RUNTIMES:
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return distribution
    return None


class Runner:
    """One loaded model with one input and one output tensor.

    Raises BundleError when no runtime is installed or the runtime refuses the model. Hand it only a
    model whose hash is known: a hostile file can take the process down, not merely be refused.
    """

    def __init__(self, model: bytes) -> None:
        factory, self._runtime = _interpreter_class()
        self._model = model  # the interpreter reads from these bytes for as long as it lives
        try:
            with _native_output_to_log():
                self._interpreter = factory(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self._runtime} refuses the model: {_first_line(error)}") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input_shape = tuple(int(n) for n in inputs[0]["shape"])
        self.output_shape = tuple(int(n) for n in outputs[0]["shape"])
        self.input_type = np.dtype(inputs[0]["dtype"])

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output tensor for one input. Raises ValueError if shape or type of `x` does not fit."""
        if x.shape != self.input_shape or x.dtype != self.input_type:
            wanted = f"{self.input_type}{list(self.input_shape)}"
            raise ValueError(f"the model takes {wanted}, not {x.dtype}{list(x.shape)}")
        self._interpreter.set_tensor(self._input, x)
        self._interpreter.invoke()
        y: npt.NDArray[Any] = self._interpreter.get_tensor(self._output)
        return y

    def info(self) -> RunnerFacts:
        """Runtime, its version, machine, and the tensors' shapes."""
        return RunnerFacts(
            self._runtime,
            version(self._runtime),
            platform.machine(),
            self.input_shape,
            str(self.input_type),
            self.output_shape,
        )


def load_runner(bundle: Bundle) -> Runner:
    """The bundle's model, ready, after it gave the golden answers on this box. Raises BundleError."""
    manifest, golden = bundle.manifest, bundle.golden
    runner = Runner(bundle.model)
    if (runner.input_shape, runner.input_type) != (manifest.input_shape, np.dtype(np.float32)):
        raise BundleError(
            f"{manifest.name}: the model takes {runner.input_type}{list(runner.input_shape)}, "
            f"the manifest says float32{list(manifest.input_shape)}"
        )
    if runner.output_shape != (1, len(manifest.labels)):
        raise BundleError(
            f"{manifest.name}: the model gives {list(runner.output_shape)}, "
            f"the manifest has {len(manifest.labels)} labels"
        )
    for pcm, picture, expected in zip(golden.pcm, golden.inputs, golden.expected, strict=True):
        seen = manifest.input.picture(as_sound(pcm))[:, :, None]
        if float(np.abs(seen - picture).max()) > _PICTURE_TOLERANCE:
            raise BundleError(f"{manifest.name}: this box computes other features than the model learned")
        off = float(np.abs(runner.run(picture[None])[0] - expected).max())
        if not off <= golden.tolerance:  # written so that a NaN fails
            raise BundleError(
                f"{manifest.name}: a golden answer is off by {off:.3f} (allowed {golden.tolerance:.3f}) "
                f"with {runner.info().runtime}; this runtime computes it wrong"
            )
    return runner


@contextmanager
def _native_output_to_log() -> Iterator[None]:
    """The runtimes greet with lines on file descriptor 2 that no setting stops; to the log with them."""
    stderr = os.dup(2)
    with os.fdopen(os.memfd_create("runtime"), "w+b") as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines():
                _log.debug("%s", line)


def _interpreter_class() -> tuple[Any, str]:
    """The runtime's Interpreter class and the distribution's name. Raises BundleError."""
    for path, distribution in _RUNTIMES:
        if distribution == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
            continue
        try:
            return importlib.import_module(path).Interpreter, distribution
        except ImportError:
            continue
    if runtime_installed() == "tflite-runtime":
        raise BundleError(
            f"tflite-runtime needs numpy 1, but numpy {np.__version__} is installed; pip install 'numpy<2'"
        )
    raise BundleError("no TFLite runtime is installed; pip install 'pole-gateway[inference]'")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
