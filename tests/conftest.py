"""What every test may ask for: the test data, a seed, a place for network namespaces, a loud NOT RUN.

A test that cannot run on this machine calls `not_run(reason)`: it is skipped, every such reason is
printed as "NOT RUN ..." at the end, and .ci/run fails on those words. An ordinary skip is for what a
developer may do without (the test data when GATEWAY_TEST_DATA is not set).
"""

import logging
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

_NOT_RUN = "NOT RUN: "
_SEED = int(os.environ.get("GATEWAY_TEST_SEED") or random.SystemRandom().getrandbits(32))
_seed_used = pytest.StashKey[bool]()

# Parsers are tried with other examples on every run of a developer's, the same ones in CI. No
# deadline: a busy machine is not a bug.
hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A test that starts logging in this process starts it for itself: its stderr is closed afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def not_run() -> Callable[[str], NoReturn]:
    """Call it with a reason where this machine forbids a test: skips it and says so at the end."""

    def skip(reason: str) -> NoReturn:
        pytest.skip(_NOT_RUN + reason)

    return skip


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The recordings that GATEWAY_TEST_DATA names. Not set: skipped. Set but not there: an error."""
    named = os.environ.get("GATEWAY_TEST_DATA")
    if not named:
        pytest.skip("GATEWAY_TEST_DATA is not set, so tests on recorded data are left out")
    folder = Path(named)
    if not folder.is_dir():
        raise FileNotFoundError(f"GATEWAY_TEST_DATA names {named}, which is no folder")
    return folder


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed for random numbers; printed at the end. GATEWAY_TEST_SEED=n repeats a run."""
    request.config.stash[_seed_used] = True
    return _SEED


@pytest.fixture(scope="session")
def own_network(not_run: Callable[[str], NoReturn]) -> tuple[str, ...]:
    """The words before a command that give it a network of its own, without root: only `lo`, down.

    NOT RUN where the kernel or a container forbids it, or where iproute2 is missing.
    """
    prefix = ("unshare", "--user", "--map-root-user", "--net")
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            not_run(f"there is no `{tool}` command here")
    trial = subprocess.run(
        [*prefix, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, timeout=20, check=False
    )
    if trial.returncode != 0:
        not_run(f"network namespaces are forbidden here: {trial.stderr.strip()}")
    return prefix


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was not run and why, and which seed was used."""
    tests: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(_NOT_RUN):
            tests.setdefault(reason.removeprefix(_NOT_RUN), []).append(report.nodeid)
    for reason, names in tests.items():
        terminalreporter.write_line(f"NOT RUN {len(names)}: {reason} ({', '.join(names)})", red=True)
    if config.stash.get(_seed_used, False):
        terminalreporter.write_line(f"GATEWAY_TEST_SEED={_SEED}")
