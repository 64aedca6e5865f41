"""The runtime adapter on models that others made; unknown ones in a child: some kill their process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.oldbundle import find_bundle, load_bundle
from gateway.errors import BundleError
from gateway.inference import Runner, runtime_installed

_TRY = """
import sys
from pathlib import Path
from gateway.errors import BundleError
from gateway.inference import Runner
try:
    Runner(Path(sys.argv[1]).read_bytes())
except BundleError as error:
    print(error)
    sys.exit(3)
"""


def try_in_child(model: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _TRY, model], capture_output=True, text=True, check=False)


def test_a_runner_tells_what_it_is_and_checks_what_it_is_given() -> None:
    runner = Runner(load_bundle(find_bundle("shot-v1")).model)
    about = runner.info()
    assert about.runtime == runtime_installed()
    assert (about.input_shape, about.input_type, about.output_shape) == ((1, 73, 40, 1), "float32", (1, 1))
    for wrong in (np.zeros((1, 73, 40), np.float32), np.zeros((1, 73, 40, 1))):
        with pytest.raises(ValueError, match="the model takes float32"):
            runner.run(wrong)


def test_what_the_runtime_prints_does_not_reach_stderr() -> None:
    """It would stand as plain text between the log's JSON lines."""
    code = "import sys; from gateway.inference import *; from gateway.oldbundle import *;"
    code += "load_runner(load_bundle(find_bundle('shot-v1'))); print('still heard', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "still heard\n"


def test_an_answer_stays_what_it_was_when_the_next_one_is_computed() -> None:
    bundle = load_bundle(find_bundle("shot-v1"))
    runner = Runner(bundle.model)
    first, second = (runner.run(x[None]) for x in bundle.golden.inputs[[0, -1]])
    assert first[0, 0] != second[0, 0]


@pytest.mark.parametrize("model", [b"", b"TFL3", b"\x00" * 4_096], ids=["empty", "stub", "zeros"])
def test_what_is_no_model_is_refused(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    child = try_in_child(path)
    assert (child.returncode, child.stderr) == (3, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audio_preprocessor_int8.tflite", "person_detect.tflite"])
def test_public_models_that_no_runtime_takes_are_refused(data_folder: Path, name: str) -> None:
    child = try_in_child(data_folder / "models" / name)
    assert child.returncode == 3, child.stderr
    assert "refuses the model" in child.stdout


@pytest.mark.slow
def test_micro_speech_loads_and_answers(data_folder: Path) -> None:
    model = (data_folder / "models" / "micro_speech_quantized.tflite").read_bytes()
    runner = Runner(model)
    answer = runner.run(np.full(runner.input_shape, -128, runner.input_type))
    assert (runner.input_type, answer.shape) == (np.dtype(np.int8), (1, 4))
    # Four int8 scores that share 256 steps of 1/256; blank features are "silence", the first label.
    assert abs(int(answer.astype(int).sum()) + 4 * 128 - 256) <= 4
    assert int(answer.argmax()) == 0


def test_without_a_runtime_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['tflite_runtime'] = sys.modules['ai_edge_litert'] = None\n"
        "from gateway.inference import Runner\nfrom gateway.errors import BundleError\n"
        "try: Runner(b'')\nexcept BundleError as error: print(error)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in child.stdout


def test_numpy_2_under_tflite_runtime_is_named_before_it_crashes() -> None:
    code = (
        "import sys, numpy; numpy.__version__ = '2.4.6'; sys.modules['ai_edge_litert'] = None\n"
        "from gateway.inference import Runner\nfrom gateway.errors import BundleError\n"
        "try: Runner(b'')\nexcept BundleError as error: print(error)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if runtime_installed() == "tflite-runtime":
        assert "numpy 2.4.6 is installed; pip install 'numpy<2'" in child.stdout
    else:
        pytest.skip("tflite-runtime is not installed here")


def test_bundle_error_is_what_a_sensor_survives() -> None:
    with pytest.raises(BundleError, match="refuses the model"):
        Runner(b"TFL3 but not really a model at all")
