"""House rules that a machine can check: sizes, names, what the locks pin, what no file may name."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("gateway", "drivers", "models", "provisioning", "hil")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Words that say nothing (docs/glossary.md lists the ones that do).
EMPTY_WORDS = {
    "data",
    "info",
    "manager",
    "handler",
    "helper",
    "service",
    "util",
    "utils",
    "device",
    "pipeline",
}


def modules() -> Iterator[Path]:
    for room in (*ROOMS, "tests", "benchmarks"):
        yield from sorted((ROOT / room).rglob("*.py"))


def shipped() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def locked(name: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith(("#", "--no-binary ")):  # what pip has to build itself
            requirement, *hashes = re.split(r"\s+--hash=", line)
            yield Requirement(requirement), [h.strip() for h in hashes]


def pinned(name: str, python: str, machine: str) -> dict[str, str]:
    """What a lock file installs on one Python and machine: versions by name."""
    place = {
        "python_version": python,
        "python_full_version": f"{python}.2",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for requirement, _ in locked(name):
        if requirement.marker is None or requirement.marker.evaluate(place):
            assert requirement.name not in found, f"{requirement.name} is pinned twice for {python}"
            found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def test_no_module_is_too_long() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in modules()}
    assert lengths
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in shipped()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert too_long == []


def test_names_say_something() -> None:
    empty = []
    for path in shipped():
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        classes = [node.name for node in tree if isinstance(node, ast.ClassDef)]
        names = [path.stem, *(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in classes)]
        empty += [f"{path.relative_to(ROOT)}: {n}" for n in names if EMPTY_WORDS & set(n.split("_"))]
    assert empty == []


def test_drivers_import_only_what_authors_are_promised() -> None:
    # import-linter has no allow-list, and this promise is one: docs and templates name just these three.
    allowed = {"gateway.driver", "gateway.media", "gateway.modbus", "gateway.soundlevel", "gateway_drivers"}
    beyond = []
    # The templates' emulators are of another room, like those of the drivers here.
    emulators = set((ROOT / "drivers" / "template").rglob("*_emulator.py"))
    for path in sorted(set((ROOT / "drivers").rglob("*.py")) - emulators):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [n for n in names if n.split(".")[0].startswith("gateway")]
            beyond += [f"{path.name}: {n}" for n in ours if not {n, n.split(".")[0]} & allowed]
    assert beyond == []


def test_each_room_holds_one_import_package() -> None:
    packages = {p.name for room in ROOMS[1:] for p in (ROOT / room).iterdir() if (p / "__init__.py").exists()}
    assert packages == {"gateway_drivers", "gateway_models", "gateway_provisioning", "gateway_hil"}


def test_no_file_names_an_index_or_a_folder_of_ours() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("which files are the project's own is known in a git clone only")
    # A clone that root made is still one to the user who tests it.
    asked = [git, "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    tracked = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    # Spelt in two parts, so that this file does not name them either.
    forbidden = re.compile(
        "|".join(["pypi" + r"\.org", "python" + "hosted", "(?<!no-emit-)index" + "-url", "/wo" + "rk/"])
    )
    found = []
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and forbidden.search(path.read_bytes().decode("utf-8", "replace")):
            found.append(name)
    assert found == []


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "requirements").glob("*.txt")))
def test_every_requirement_is_pinned_by_hash(name: str) -> None:
    requirements = list(locked(name))
    assert requirements
    for requirement, hashes in requirements:
        assert requirement.url is None, requirement
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("name", ["box", "dev"])
def test_the_old_runtime_never_meets_numpy_2(name: str, python: str, machine: str) -> None:
    found = pinned(name, python, machine)
    runtimes = {"tflite-runtime", "ai-edge-litert"} & set(found)
    if python == "3.11":
        assert runtimes == {"tflite-runtime"}
        assert found["numpy"].startswith("1.")
    else:
        assert runtimes == {"ai-edge-litert"}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_a_box_gets_what_developers_test(python: str) -> None:
    assert pinned("box", python, "aarch64").items() <= pinned("dev", python, "aarch64").items()


def declared(python: str, *extras: str) -> list[Requirement]:
    """What pyproject.toml asks for on one Python, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for e in extras for line in project["optional-dependencies"][e]),
    ]
    wanted = map(Requirement, lines)
    return [r for r in wanted if r.marker is None or r.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_extras_keep_the_old_runtime_from_numpy_2_too(python: str) -> None:
    wanted = {r.name: r for r in declared(python, "inference")}
    assert ("tflite-runtime" in wanted) == (python == "3.11")
    assert wanted["numpy"].specifier.contains("2.2.0") == (python != "3.11")


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    ("name", "extras"),
    [("box", ("inference", "audio", "ble")), ("dev", ("inference", "audio", "ble", "screen"))],
)
def test_the_locks_hold_what_the_project_asks_for(name: str, extras: tuple[str, ...], python: str) -> None:
    # Fails when pyproject.toml changed and nobody ran ./dev lock.
    found = pinned(name, python, "aarch64")
    for requirement in declared(python, *extras):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), requirement


def test_the_extra_that_trains_is_what_the_checkout_trains_with() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements" / "train.in").read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert extras["optional-dependencies"]["train"] == asked


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    [
        entry
        for group in ("gateway.drivers", "gateway.stages", "gateway.commands", "gateway.bundles")
        for entry in importlib.metadata.distribution("pole-gateway").entry_points
        if entry.group == group
    ],
    ids=lambda entry: f"{entry.group}:{entry.name}",
)
def test_every_entry_point_loads(entry: importlib.metadata.EntryPoint) -> None:
    assert entry.load() is not None
