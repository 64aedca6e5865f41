"""The pytest plugin of the ladder: `-p gateway_hil.plugin --bench NAME`. Fixtures: bench, plug, box, note.

    @pytest.mark.needs("usb-serial")
    def test_it_comes_back(bench, plug, box, note):
        gps = plug(Gnss, every_s=0.2)
        box.start(f'[sensor.gps]\ndriver = "gps-nmea"\nport = "{gps.port}"')
        box.first_reading("gps")

A test whose needs the bench cannot meet is skipped with the reason. One that is marked `time_travel` runs
only where idle time costs nothing, and nothing else runs there.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway_hil.bench import Bench, CannotHere, Capability
from gateway_hil.benches import NAMES, open_bench
from gateway_hil.box import Box

_BENCH = pytest.StashKey[Bench]()
_NOTES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--bench, --rig, --seed, --chaos, --time-travel."""
    group = parser.getgroup("ladder")
    group.addoption("--bench", choices=NAMES, default="local", help="where the tests run")
    group.addoption("--rig", type=Path, help="the rig file of the bench real")
    group.addoption("--seed", type=int, help="repeats a run's draws of chance")
    group.addoption("--chaos", type=int, metavar="SEED", help="the seed of random faults")
    group.addoption("--time-travel", action="store_true", help="the guest skips idle time")


def pytest_configure(config: pytest.Config) -> None:
    """Open the bench, once."""
    config.addinivalue_line("markers", "needs(*capabilities): what the bench must be able to do")
    config.addinivalue_line("markers", "time_travel: takes hours of virtual time")
    config.addinivalue_line("markers", "stock_kernel: part of the whole ladder on the bench qemu, too")
    config.addinivalue_line("markers", "slow: takes more than a quarter of a second; as in tests/")
    seed = config.getoption("--seed")
    if seed is None:
        seed = random.SystemRandom().getrandbits(31)
    # An emulator that dies would else be a warning beside a green test.
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")
    try:
        config.stash[_BENCH] = open_bench(
            config.getoption("--bench"),
            seed=seed,
            rig=config.getoption("--rig"),
            time_travel=config.getoption("--time-travel"),
        )
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_NOTES] = []


def pytest_report_header(config: pytest.Config) -> str:
    """Which bench, what it can do, and the seed that repeats this run."""
    bench = config.stash[_BENCH]
    return f"bench {bench.name} (seed {bench.seed}): {', '.join(sorted(bench.capabilities)) or 'nothing'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run under time travel is for the tests that ask for it, and the other way round."""
    travels = Capability.TIME_TRAVEL in config.stash[_BENCH].capabilities
    kept = [item for item in items if bool(item.get_closest_marker("time_travel")) == travels]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this bench cannot do; record on which bench a test ran."""
    bench = item.config.stash[_BENCH]
    item.user_properties.append(("bench", bench.name))
    item.user_properties.append(("seed", str(bench.seed)))
    wrong = ""
    try:
        for mark in item.iter_markers("needs"):
            bench.need(*mark.args)
    except CannotHere as error:
        pytest.skip(str(error))
    except ConfigError as error:
        wrong = str(error)
    if wrong:
        pytest.fail(wrong, pytrace=False)  # out here: one line, without the error that it came from


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A verb that the rig cannot do is found out in the middle of a test: a skip, with its reason."""
    del item
    try:
        return (yield)
    except CannotHere as error:
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured."""
    for line in config.stash[_NOTES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Bench:
    """Where this test runs."""
    return pytestconfig.stash[_BENCH]


@pytest.fixture
def plug(bench: Bench) -> Iterator[Callable[..., Any]]:
    """`plug(Gnss, every_s=1)` plugs in an emulator, or finds the rig's device, until the test ends."""
    with ExitStack() as stack:
        yield lambda kind, **options: stack.enter_context(bench.plugged(kind, **options))


@pytest.fixture
def box(bench: Bench, tmp_path: Path) -> Iterator[Box]:
    """A box that is not started yet; stopped when the test ends."""
    with Box(tmp_path, slowness=bench.slowness) as box:
        yield box


@pytest.fixture
def note(request: pytest.FixtureRequest, bench: Bench) -> Callable[[str], None]:
    """`note("unplug seen after 31 ms")`: a measured figure, for the end of the run and the JUnit file."""

    def say(text: str) -> None:
        request.node.user_properties.append(("note", text))
        request.config.stash[_NOTES].append(f"{bench.name}: {request.node.name}: {text}")

    return say


@pytest.fixture
def chaos_seed(pytestconfig: pytest.Config, bench: Bench) -> int:
    """The seed of random faults: --chaos, or the run's own."""
    given = pytestconfig.getoption("--chaos")
    return int(given) if given is not None else bench.seed
