"""The runtime adapter: what it tells, what it converts, how it refuses; on both runtimes where both are."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from bundles import ABOUT, nets, put_file, small_bundle

from gateway.bundle import Bundle, load_bundle
from gateway.errors import BadAnswer, BundleError
from gateway.inference import CHOICE, LITERT, TFLITE, Net, Runner, load_runner, runtime_installed
from gateway_models.network import Layer, Op
from gateway_models.tflite import write_tflite

ROOT = Path(__file__).parents[2]
LITERT_PYTHON = ROOT / ".venv-litert" / "bin" / "python"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundles") / "small")


def in_a_child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def said_by(code: str, **environment: str) -> str:
    """What a Runner for b"" says in a child that ran `code` before."""
    child = in_a_child(
        f"import sys\n{code}\nfrom gateway.inference import Runner\nfrom gateway.errors import BundleError\n"
        "try: Runner(b'')\nexcept BundleError as error: print(error)",
        **environment,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.strip()


# Code after which neither runtime can be found.
_WITHOUT = """
class Nowhere:
    def find_spec(self, name, *_):
        if name in ('ai_edge_litert', 'tflite_runtime'):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Nowhere())
"""


def test_a_runner_tells_what_it_is(bundle: Bundle) -> None:
    about = Runner(bundle.net("int8", "first")).info()
    assert (about.runtime, about.version) == (runtime_installed(), "2.14.0")
    assert [str(each) for each in (*about.inputs, *about.outputs)] == ["int8[1, 73, 40, 1]", "int8[1, 5]"]
    assert about.inputs[0].step == pytest.approx(1 / 127)


@pytest.mark.skipif(runtime_installed() != TFLITE, reason="this is how tflite-runtime 2.14 does it")
def test_float_networks_are_computed_the_fast_way_whole_and_integer_ones_not_at_all(bundle: Bundle) -> None:
    seen = {name: Runner(bundle.net(name, "first")).info() for name in ("f32", "int8")}
    assert {name: (facts.operators, facts.delegated) for name, facts in seen.items()} == {
        "f32": (5, 5),
        "int8": (5, 0),
    }


@pytest.mark.parametrize("variant", ["f32", "int8"])
@pytest.mark.parametrize("look", ["first", "second"])
def test_a_runner_gives_the_golden_answers_in_numbers(bundle: Bundle, look: str, variant: str) -> None:
    runner = load_runner(bundle, look, variant)
    for x, known in zip(bundle.golden.inputs(look), bundle.golden.logits[variant, look], strict=True):
        answer = runner.run(x[None])
        assert (answer.dtype, answer.shape) == (np.float32, (1, 5))
        np.testing.assert_allclose(answer[0], known, atol=bundle.manifest.variants[variant].tolerance)


@pytest.mark.parametrize("variant", ["f32", "int8"])
def test_a_runner_checks_what_it_is_given(bundle: Bundle, variant: str) -> None:
    runner = Runner(bundle.net(variant, "first"))
    for wrong in (np.zeros((1, 73, 40), np.float32), np.zeros((1, 73, 40, 1))):
        with pytest.raises(ValueError, match=r"the model takes float32\[1, 73, 40, 1\], not"):
            runner.run(wrong)


def test_numbers_outside_of_an_integer_input_become_its_ends(bundle: Bundle) -> None:
    runner = Runner(bundle.net("int8", "first"))
    shape = runner.input_shape
    loud, louder = (runner.run(np.full(shape, top, np.float32)) for top in (1.0, 1e9))
    np.testing.assert_array_equal(loud, louder)


def test_a_net_takes_and_gives_what_the_file_holds_unless_numbers_are_asked_for(bundle: Bundle) -> None:
    plain, numbers = Net(bundle.net("int8", "first")), Net(bundle.net("int8", "first"), numbers=True)
    x = bundle.golden.inputs("first")[:1]
    whole = plain.run(plain.inputs[0].whole(x))[0]
    assert (whole.dtype, numbers.inputs[0].dtype) == (np.int8, np.float32)
    np.testing.assert_array_equal(plain.outputs[0].number(whole), numbers.run(x)[0])
    with pytest.raises(ValueError, match="takes 1 arrays, not 2"):
        numbers.run(x, x)


def test_an_answer_stays_what_it_was_when_the_next_one_is_computed(bundle: Bundle) -> None:
    runner = load_runner(bundle, "first", "f32")
    first = runner.run(np.full(runner.input_shape, -1.0, np.float32))
    kept = first.copy()
    runner.run(np.full(runner.input_shape, 1.0, np.float32))
    np.testing.assert_array_equal(first, kept)


def test_an_answer_that_is_no_number_is_an_error_and_is_counted() -> None:
    weight, bias = np.ones((2 * 4, 2), np.float32), np.array([1.0, np.nan], np.float32)
    layers = [Layer(Op.POOL), Layer(Op.DENSE, 1, weight, bias)]
    runner = Runner(write_tflite(layers, 3, 4, "bad"))
    for _ in range(2):
        with pytest.raises(BadAnswer, match="no number"):
            runner.run(np.zeros((1, 3, 4, 1), np.float32))
    assert runner.bad_answers == 2


def test_an_interpreter_belongs_to_one_thread(bundle: Bundle) -> None:
    runner = Runner(bundle.net("f32", "first"))
    runner.run(np.zeros(runner.input_shape, np.float32))
    said: list[str] = []

    def elsewhere() -> None:
        try:
            runner.run(np.zeros(runner.input_shape, np.float32))
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert said == ["an interpreter belongs to the thread that ran it first"]


def test_another_network_than_the_golden_answers_are_of_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    other = next(
        net for net in nets(ABOUT, 9, None, int8=False) if (net.variant, net.look) == ("f32", "first")
    )
    put_file(bundle.folder, bundle.manifest.file_of("f32", "first"), other.content)
    with pytest.raises(BundleError, match=r"small first.f32: a golden answer is off by .* computes it wrong"):
        load_runner(load_bundle(bundle.folder), "first", "f32")


def test_a_network_of_another_shape_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    put_file(bundle.folder, bundle.manifest.file_of("f32", "first"), bundle.net("f32", "second"))
    with pytest.raises(
        BundleError, match=r"takes \[1, 149, 40, 1\] and gives \[1, 5\], the manifest says \[1, 73"
    ):
        load_runner(load_bundle(bundle.folder), "first", "f32")


def test_a_damaged_network_is_refused_by_the_lint_before_a_runtime_sees_it(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    put_file(bundle.folder, bundle.manifest.file_of("f32", "first"), bundle.net("f32", "first")[:-40])
    with pytest.raises(
        BundleError, match=r"small first.f32: this model must not be run: the file is damaged"
    ):
        load_runner(load_bundle(bundle.folder), "first", "f32")


@pytest.mark.slow
def test_what_the_runtime_prints_does_not_reach_stderr(bundle: Bundle) -> None:
    """It would stand as plain text between the log's JSON lines."""
    code = (
        "import sys; from pathlib import Path; from gateway.inference import *; from gateway.bundle import *;"
    )
    code += f"load_runner(load_bundle(Path({str(bundle.folder)!r})), 'first', 'f32');"
    child = in_a_child(f"{code} print('still heard', file=sys.stderr)")
    assert (child.returncode, child.stderr) == (0, "still heard\n")


@pytest.mark.slow
def test_micro_speech_loads_and_answers(data_folder: Path) -> None:
    net = Net((data_folder / "models" / "micro_speech_quantized.tflite").read_bytes())
    answer = net.run(np.full(net.inputs[0].shape, -128, net.inputs[0].dtype))[0]
    assert (net.inputs[0].dtype, answer.shape) == (np.dtype(np.int8), (1, 4))
    # Four int8 scores that share 256 steps of 1/256; blank features are "silence", the first label.
    assert abs(int(answer.astype(int).sum()) + 4 * 128 - 256) <= 4
    assert int(answer.argmax()) == 0


@pytest.mark.slow
def test_without_a_runtime_the_error_says_what_to_install() -> None:
    assert said_by(_WITHOUT) == "no TFLite runtime is installed; pip install 'pole-gateway[inference]'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('raise ImportError("version `GLIBC_2.34\' not found")', "version `GLIBC_2.34' not found"),
        ("import flatbuffers_of_old", "No module named 'flatbuffers_of_old'"),
        ("", "module 'ai_edge_litert.interpreter' has no attribute 'Interpreter'"),
        (None, "No module named 'ai_edge_litert.interpreter'"),
    ],
)
def test_a_runtime_that_is_there_but_does_not_load_says_why(
    tmp_path: Path, content: str | None, why: str
) -> None:
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    if content is not None:
        (package / "interpreter.py").write_text(content)
    here = {"PYTHONPATH": str(tmp_path)}
    asks = "from gateway.inference import runtime_installed\nprint(runtime_installed())"
    if runtime_installed() == TFLITE:  # which is loaded instead, and told so
        child = in_a_child(asks, **here)
        assert child.stdout == f"{TFLITE}\n", child.stderr
    for choice in ("", LITERT):
        without = _WITHOUT.replace("'ai_edge_litert', ", "")
        said = said_by(without, **here, **{CHOICE: choice})
        assert said.startswith(f"ai-edge-litert is installed but does not load ({why}); pip install --force")
    child = in_a_child(asks, **here, **{CHOICE: LITERT})
    assert f"ai-edge-litert is installed but does not load ({why})" in child.stderr  # neither None nor it


@pytest.mark.slow
@pytest.mark.skipif(runtime_installed() != TFLITE, reason="tflite-runtime is not installed here")
def test_numpy_2_under_tflite_runtime_is_named_before_it_crashes() -> None:
    said = said_by("import numpy; numpy.__version__ = '2.4.6'")
    assert said == "tflite-runtime needs numpy 1, but numpy 2.4.6 is installed; pip install 'numpy<2'"


def test_a_runtime_may_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    absent = LITERT if runtime_installed() == TFLITE else TFLITE
    monkeypatch.setenv(CHOICE, "tensorflow")
    with pytest.raises(BundleError, match="must be ai-edge-litert or tflite-runtime, or not set"):
        Runner(bundle.net("f32", "first"))
    monkeypatch.setenv(CHOICE, absent)
    assert runtime_installed() is None
    with pytest.raises(BundleError, match=f"asks for {absent}, which is not installed; pip install {absent}"):
        Runner(bundle.net("f32", "first"))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(BundleError, match="refuses the model"):
        Runner(b"TFL3 but not really a model at all")


_ASK = """
import json, sys
import numpy as np
from pathlib import Path
from gateway.inference import Runner
for path in sys.argv[1:]:
    runner = Runner(Path(path).read_bytes())
    x = np.random.default_rng(1).uniform(-1, 1, runner.input_shape).astype(np.float32)
    facts = runner.info()
    print(json.dumps([facts.runtime, facts.operators, facts.delegated, runner.run(x)[0].tolist()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not LITERT_PYTHON.exists(), reason="NOT RUN: ./dev test makes .venv-litert, with ai-edge-litert"
)
def test_the_other_runtime_gives_the_same_numbers(bundle: Bundle) -> None:
    """ai-edge-litert in an environment of its own; it hands integers to XNNPACK as well."""
    paths = [bundle.folder / bundle.manifest.file_of(variant, "first") for variant in ("f32", "int8")]
    answers = []
    for python in (sys.executable, str(LITERT_PYTHON)):
        child = subprocess.run(
            [python, "-c", _ASK, *paths],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert child.returncode == 0, child.stderr
        answers.append([json.loads(line) for line in child.stdout.splitlines()])
    (here, here_whole), (there, there_whole) = answers
    assert (here[0], there[0]) == (runtime_installed(), LITERT)
    assert there[1:3] == [5, 5]
    assert there_whole[2] >= 3
    np.testing.assert_allclose(there[3], here[3], atol=1e-5)
    np.testing.assert_allclose(there_whole[3], here_whole[3], atol=0.1)
