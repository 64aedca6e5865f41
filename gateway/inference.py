"""Running a network: one adapter over the two TFLite runtimes.

ai-edge-litert is taken when it is installed and loads, else tflite-runtime; the environment variable
GATEWAY_TFLITE names one of them to decide otherwise. tflite-runtime 2.14 was built for numpy 1: with numpy 2
it imports, then fails with a SystemError that explains nothing, so that is asked first. `run` releases the
GIL while it computes.
"""

import importlib
import logging
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.bundle import Bundle
from gateway.errors import BadAnswer, BundleError
from gateway.modellint import lint

LITERT: Final = "ai-edge-litert"
TFLITE: Final = "tflite-runtime"
CHOICE: Final = "GATEWAY_TFLITE"  # environment variable
# distribution, import path of its interpreter: in order of preference
_RUNTIMES: Final = {LITERT: "ai_edge_litert.interpreter", TFLITE: "tflite_runtime.interpreter"}
_INSTALL: Final = "pip install 'pole-gateway[inference]'"
_log = logging.getLogger("inference")

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One input or output. If `step` is not 0, integers in it stand for step * (integer - zero)."""

    name: str
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    step: float = 0.0
    zero: int = 0

    def whole(self, x: Float32) -> Array:
        """Numbers as this tensor holds them: the nearest integers, clipped, or float32 as they are."""
        if self.step == 0.0:
            return np.asarray(x, self.dtype)
        ends = np.iinfo(self.dtype)
        whole: Array = np.clip(np.rint(x / self.step) + self.zero, ends.min, ends.max).astype(self.dtype)
        return whole

    def number(self, x: Array) -> Float32:
        """The other way round."""
        if self.step == 0.0:
            return np.asarray(x, np.float32)
        return (x.astype(np.float32) - np.float32(self.zero)) * np.float32(self.step)

    def as_numbers(self) -> "TensorFacts":
        """What it looks like from outside of `whole` and `number`."""
        dtype = np.dtype(np.float32) if self.step else self.dtype
        return TensorFacts(self.name, self.shape, dtype, self.step, self.zero)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class RunnerFacts:
    """What runs a network: for logs, `gateway model bench` and model cards.

    `delegated` of its `operators` are computed by XNNPACK, the fast way; the rest by the runtime's own loops.
    """

    runtime: str
    version: str
    machine: str
    operators: int
    delegated: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


class _NotInstalled(BundleError):
    """There is no runtime, broken or not."""


def runtime_installed() -> str | None:
    """Name of the distribution that runs networks here, or None if none is installed.

    Raises BundleError for a bad choice, or if what is installed does not load.
    """
    try:
        return _interpreter_class()[1]
    except _NotInstalled:
        return None


def runtime_tag() -> str:
    """`runtime_installed` with its version, by which measurements and verdicts are remembered; or "none"."""
    runtime = runtime_installed()
    return "none" if runtime is None else f"{runtime}-{_version(runtime) or 'unknown'}"


def check_runtime() -> None:
    """Raises BundleError if no network could run here, whatever is in it."""
    _interpreter_class()


class Net:
    """Any loaded .tflite file: arrays in, arrays out, in the types that `inputs` and `outputs` tell.

    With `numbers`, quantised tensors take and give float32 instead of the integers they hold. Raises
    BundleError when no runtime is installed or the runtime refuses the file. Hand it only what
    gateway.modellint passed: a hostile file can take the process down, not merely be refused. The first
    thread to run it owns it.
    """

    def __init__(self, model: bytes, *, numbers: bool = False) -> None:
        factory, self._runtime = _interpreter_class()
        self._model = model  # the interpreter reads from these bytes for as long as it lives
        self._owner = 0
        try:
            with _native_output_to_log():
                self._interpreter = factory(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self._runtime} refuses the model: {_first_line(error)}") from error
        takes, gives = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inside = tuple(_tensor_facts(each) for each in takes)
        self._outside = tuple(_tensor_facts(each) for each in gives)
        self._takes = tuple(int(each["index"]) for each in takes)
        self._gives = tuple(int(each["index"]) for each in gives)
        self._numbers = numbers
        self.inputs = tuple(each.as_numbers() if numbers else each for each in self._inside)
        self.outputs = tuple(each.as_numbers() if numbers else each for each in self._outside)

    def run(self, *arrays: Array) -> list[Array]:
        """The outputs for one set of inputs. Raises ValueError if shapes or types do not fit.

        Raises BadAnswer if the runtime fails while computing.
        """
        self._mine()
        if len(arrays) != len(self.inputs):
            raise ValueError(f"the model takes {len(self.inputs)} arrays, not {len(arrays)}")
        for array, wanted in zip(arrays, self.inputs, strict=True):
            if array.shape != wanted.shape or array.dtype != wanted.dtype:
                raise ValueError(f"the model takes {wanted}, not {array.dtype}{list(array.shape)}")
        for index, array, held in zip(self._takes, arrays, self._inside, strict=True):
            self._interpreter.set_tensor(index, held.whole(array) if self._numbers else array)
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BadAnswer(f"{self._runtime} failed while computing: {_first_line(error)}") from error
        answers = [self._interpreter.get_tensor(index) for index in self._gives]
        if self._numbers:
            return [held.number(array) for held, array in zip(self._outside, answers, strict=True)]
        return answers

    def info(self) -> RunnerFacts:
        """Runtime, its version, machine, tensors, and how much of the network the fast way computes."""
        operators, delegated = _delegated(self._interpreter)
        return RunnerFacts(
            self._runtime,
            _version(self._runtime) or "unknown",
            platform.machine(),
            operators,
            delegated,
            self._inside,
            self._outside,
        )

    def _mine(self) -> None:
        here = threading.get_ident()
        if self._owner == 0:
            self._owner = here
        elif self._owner != here:
            raise RuntimeError("an interpreter belongs to the thread that ran it first")


class Runner:
    """A network with one input and one output, in numbers: float32 goes in and comes out, whatever it holds.

    Raises BundleError as `Net` does, or if it has other inputs and outputs.
    """

    def __init__(self, model: bytes) -> None:
        self._net = Net(model, numbers=True)
        takes, gives = self._net.inputs, self._net.outputs
        if len(takes) != 1 or len(gives) != 1:
            raise BundleError(
                f"the model has {len(takes)} inputs and {len(gives)} outputs; one of each is needed"
            )
        for facts in (takes[0], gives[0]):
            if facts.dtype != np.float32:
                raise BundleError(f"{facts.name!r} is {facts}; float32 or quantised integers are needed")
        self.input_shape, self.output_shape = takes[0].shape, gives[0].shape
        self.bad_answers = 0

    def run(self, x: Float32) -> Float32:
        """The output for one input. Raises ValueError if its shape does not fit or it is not float32.

        Raises BadAnswer, and counts it in `bad_answers`, if what comes out is no number.
        """
        try:
            y: Float32 = self._net.run(x)[0]
            if not np.isfinite(y).all():
                raise BadAnswer("the model gave what is no number (NaN or infinite)")
        except BadAnswer:
            self.bad_answers += 1
            raise
        return y

    def info(self) -> RunnerFacts:
        """See Net.info."""
        return self._net.info()


def load_runner(bundle: Bundle, look: str, variant: str) -> Runner:
    """The network of one look, after it gave the bundle's golden answers here. Raises BundleError.

    That the box makes the same pictures of a sound is another question: `Bundle.check_front_end`.
    """
    name, model = f"{bundle.manifest.name} {look}.{variant}", bundle.net(variant, look)
    try:
        lint(model)
        runner = Runner(model)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error
    wanted = bundle.manifest.input_shape(look), bundle.manifest.output_shape
    if (runner.input_shape, runner.output_shape) != wanted:
        raise BundleError(
            f"{name}: the model takes {list(runner.input_shape)} and gives {list(runner.output_shape)}, "
            f"the manifest says {list(wanted[0])} and {list(wanted[1])}"
        )
    off, allowed = (
        bundle.golden.off_by(variant, look, runner.run),
        bundle.manifest.variants[variant].tolerance,
    )
    if not off <= allowed:
        raise BundleError(
            f"{name}: a golden answer is off by {off:.3f} (allowed {allowed:.3f}) with "
            f"{runner.info().runtime}; this runtime computes it wrong"
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


def _wanted() -> Sequence[str]:
    """The distributions that may be used, best first."""
    choice = os.environ.get(CHOICE, "")
    if choice and choice not in _RUNTIMES:
        raise BundleError(f"{CHOICE} is {choice!r}; it must be {' or '.join(_RUNTIMES)}, or not set")
    return [choice] if choice else list(_RUNTIMES)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _interpreter_class() -> tuple[Any, str]:
    """The Interpreter class of the first runtime that loads, and its distribution. Raises BundleError."""
    broken = []
    for distribution in _wanted():
        if distribution == TFLITE and int(np.__version__.split(".")[0]) >= 2:
            if _version(distribution) is not None:
                broken.append(
                    f"{TFLITE} needs numpy 1, but numpy {np.__version__} is installed; pip install 'numpy<2'"
                )
            continue
        module = _RUNTIMES[distribution]
        try:
            return importlib.import_module(module).Interpreter, distribution
        except (ImportError, AttributeError, OSError) as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]):
                broken.append(
                    f"{distribution} is installed but does not load ({_first_line(error)}); "
                    f"pip install --force-reinstall {distribution}, or another version of it"
                )
    if broken:
        raise BundleError("; ".join(broken))
    if choice := os.environ.get(CHOICE):
        raise _NotInstalled(f"{CHOICE} asks for {choice}, which is not installed; pip install {choice}")
    raise _NotInstalled(f"no TFLite runtime is installed; {_INSTALL}")


def _tensor_facts(details: dict[str, Any]) -> TensorFacts:
    step, zero = details["quantization"]  # (0.0, 0) where there is none
    shape = tuple(int(n) for n in details["shape"])
    return TensorFacts(str(details["name"]), shape, np.dtype(details["dtype"]), float(step), int(zero))


def _delegated(interpreter: Any) -> tuple[int, int]:
    """How many operators the network has, and how many of them a delegate computes.

    The runtime lists the operators of the file and, after them, a DELEGATE for each part that was taken
    over, without saying what: that is everything between its outputs and its inputs.
    """
    listed = interpreter._get_ops_details()  # no public way, and only figures hang on it
    makers = {int(t): op for op in listed if op["op_name"] != "DELEGATE" for t in op["outputs"]}
    taken: set[int] = set()
    for part in (op for op in listed if op["op_name"] == "DELEGATE"):
        ends = {int(t) for t in part["inputs"]}
        open_ends = [int(t) for t in part["outputs"]]
        while open_ends:
            maker = makers.get(open_ends.pop())
            if maker is not None and maker["index"] not in taken:
                taken.add(maker["index"])
                open_ends += [int(t) for t in maker["inputs"] if int(t) not in ends]
    return sum(op["op_name"] != "DELEGATE" for op in listed), len(taken)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
