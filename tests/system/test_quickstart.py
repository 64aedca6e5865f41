"""The README's two-machine quickstart, its own commands run in two network namespaces joined by a cable."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .rig import until

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
HUB, BOX = "192.0.2.10", "192.0.2.20"  # RFC 5737; the README uses the first
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language in the quickstart, in order."""
    text = README.read_text(encoding="utf-8").split("## Two machines")[1].split("## Finding")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a shell block, without comments and prompts."""
    return [line.split("  #")[0].strip() for line in block.splitlines() if line.strip()]


class Machine:
    """One network namespace with a folder: what the README calls a machine."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._enter = ["nsenter", "-t", str(pid), "-U", "-n", "--preserve-credentials"]
        self._folder = folder
        folder.mkdir()

    def run(self, command: str, status: int | None = 0) -> str:
        done = subprocess.run(
            [*self._enter, *shlex.split(command)],
            cwd=self._folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert status in {None, done.returncode}, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def started(self, command: str) -> Iterator[Path]:
        """A command that goes on; its output is in the file."""
        output = self._folder / f"{len(list(self._folder.iterdir()))}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*self._enter, *shlex.split(command)],
                cwd=self._folder,
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
            )
        try:
            yield output
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def machines(own_network: tuple[str, ...]) -> Iterator[tuple[Machine, Machine, Path]]:
    """The hub's machine and the box's, on one Ethernet cable, and a folder for both."""
    with tempfile.TemporaryDirectory(prefix="quick-", dir="/var/tmp") as name:
        holder = subprocess.Popen(
            [*own_network, "sh", "-c", "unshare -n sleep 300 & echo $!; exec sleep 300"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        box_pid = int(holder.stdout.readline())
        until("the box's namespace is there", lambda: _network(box_pid) not in {"", _network(holder.pid)})
        hub = Machine(holder.pid, Path(name) / "hub-machine")
        box = Machine(box_pid, Path(name) / "box-machine")
        try:
            hub.run(f"ip link add eth0 type veth peer name eth0 netns {box_pid}")
            for machine, address in ((hub, HUB), (box, BOX)):
                for words in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"):
                    machine.run(f"ip {words}")
            yield hub, box, Path(name)
        finally:
            os.kill(box_pid, signal.SIGKILL)
            holder.kill()
            holder.wait()
            holder.stdout.close()


def _network(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


@pytest.mark.timeout(120)
def test_the_readmes_quickstart_brings_a_position_to_the_hub(machines: tuple[Machine, Machine, Path]) -> None:
    hub, box, folder = machines
    hub_block, prepare_block, run_block, order_block = blocks("sh")
    (site_file,) = blocks("toml")
    init, run_hub, token, tail = commands(hub_block)
    init_box, scan = commands(prepare_block)
    check, enrol, run_box = commands(run_block)
    ping, throttle, reload, orders = commands(order_block)
    gps = folder / "gps0"
    with ExitStack() as running:
        hub.run(init)
        running.enter_context(hub.started(run_hub.removesuffix("&")))
        until("the hub listens", lambda: ":7711" in hub.run("ss -ltn"))
        printed = hub.run(token)
        tailed = running.enter_context(hub.started(tail))
        box.run(init_box)
        box.run(scan)
        running.enter_context(box.started(f"python -m gateway_hil.emulators gnss --link {gps}"))
        site = re.sub(r'port = "serial:[^"]*"', f'port = "serial:{gps}"', site_file)
        (folder / "box-machine" / "pole" / "site.toml").write_text(site, encoding="utf-8")
        until("the emulator is plugged in", gps.exists)
        box.run(check)
        words = printed.split()
        address, code = words[words.index("enrol") + 1 : words.index("enrol") + 3]
        box.run(enrol.replace("HUB", address).replace("TOKEN", code))
        running.enter_context(box.started(run_box))
        shown = until(
            "a position at the hub",
            lambda: re.search(r"gps +reading .*lat 40\.\d+ deg  lon -79\.\d+ deg", tailed.read_text()),
        )
        assert "elm-st-0042" in shown.string
        assert "ping: done" in hub.run(ping)
        for order in (throttle, reload):  # done, or refused where nothing vouches for this machine's clock
            assert re.search(": (done|clock unknown)", hub.run(order, status=None)), order
        assert len(hub.run(orders).splitlines()) == 3


def test_the_readme_shows_the_driver_as_it_stands() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    driver = README.parent / "drivers" / "gateway_drivers" / "sds011.py"
    assert shown == driver.read_text(encoding="utf-8")
