"""How long it takes from a device's bytes to a lamp's: real workers on ptys, no hub, and core killed."""

import os
import select
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.rules.drivers import Button, Dimmer
from gateway.driver import Driver
from gateway.plan import Plan, PortPlan, RulePlan, SensorPlan

KEYS: Final = 16  # two rules each: one raises an event, the other lights the lamp; 32 is a box's most
EVERY_S: Final = 0.12  # a dimmer is told something at most ten times a second, a rule rests for a second
WITHIN_S: Final = 2.0  # a lamp that is later than that never came
_ROOT: Final = Path(__file__).parents[2]
_SPIN: Final = "while True: pass"


def rules() -> tuple[RulePlan, ...]:
    """Each key raises an event of its own, and each event dims the lamp to a level of its own."""
    found = []
    for key in range(1, KEYS + 1):
        measured = {"measure": "pressed", "sign": "=", "level": float(key), "back": float(key)}
        found.append(RulePlan(f"press-{key}", 1, rest_s=1.0, label=f"key-{key}", **measured))  # type: ignore[arg-type]
        lit = {"target_port": 1, "target": 2, "command": "dim", "arguments": {"level": float(level(key))}}
        found.append(RulePlan(f"light-{key}", 1, event=f"key-{key}", rest_s=1.0, **lit))  # type: ignore[arg-type]
    return tuple(found)


def level(key: int) -> int:
    """What the lamp is dimmed to by a key: each another level, so that each is told."""
    return 5 * key


@contextmanager
def pole(folder: Path) -> Iterator[tuple[int, int]]:
    """A box with two serial ports whose core was killed; the far ends of button and lamp."""
    with ExitStack() as stack:
        ends = []
        for _ in range(2):
            mine, theirs = os.openpty()
            tty.setraw(theirs)
            stack.callback(os.close, mine)
            stack.callback(os.close, theirs)
            ends.append((mine, os.ttyname(theirs)))
        labels = tuple(f"key-{key}" for key in range(1, KEYS + 1))
        ports = (
            PortPlan(0, f"serial:{ends[0][1]}", "serial", (_sensor(1, "button", Button, labels),), rules()),
            PortPlan(1, f"serial:{ends[1][1]}", "serial", (_sensor(2, "lamp", Dimmer, ()),)),
        )
        plan = folder / "plan.json"
        Plan("bench", folder, ports).save(plan)
        core = _start("gateway.core", plan)
        stack.callback(_stop, core)
        supervisor = _start("gateway.supervisor", plan)
        stack.callback(_stop, supervisor)
        button, lamp = ends[0][0], ends[1][0]
        _until_lit(button, lamp)
        core.kill()
        core.wait()
        yield button, lamp


@contextmanager
def busy() -> Iterator[None]:
    """As many programs that want all of a core as there are cores."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def rounds(count: int, button: int, lamp: int) -> list[float | None]:
    """Press and wait for light, so many times: seconds from the press's bytes to the lamp's; None: dark."""
    found: list[float | None] = []
    time.sleep(1.1)  # so that every rule has rested
    for n in range(count):
        key = n % KEYS + 1
        start_ns = time.monotonic_ns()
        os.write(button, b"%d\n" % key)
        came_ns = _lit(lamp, level(key), WITHIN_S)
        found.append(None if came_ns is None else (came_ns - start_ns) / 1e9)
        time.sleep(max(0.0, EVERY_S - (time.monotonic_ns() - start_ns) / 1e9))
    return found


def _until_lit(button: int, lamp: int) -> None:
    """Until the first press lights the lamp: both workers are up then."""
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s:
        os.write(button, b"%d\n" % KEYS)
        if _lit(lamp, level(KEYS), 0.5) is not None:
            return
    raise RuntimeError("the workers of this benchmark do not come up; see their log above")


def _lit(lamp: int, wanted: int, within_s: float) -> int | None:
    """When the lamp was told this level; None if not within the time."""
    end_s, heard = time.monotonic() + within_s, b""
    while (left_s := end_s - time.monotonic()) > 0:
        if not select.select([lamp], [], [], left_s)[0]:
            break
        heard += os.read(lamp, 4096)
        now_ns = time.monotonic_ns()
        if b"%d" % wanted in heard.split(b"\n"):
            return now_ns
    return None


def _sensor(number: int, name: str, driver: type[Driver], labels: tuple[str, ...]) -> SensorPlan:
    commands = tuple(command.name for command in driver.commands())
    factory = f"{driver.__module__}:{driver.__name__}"
    return SensorPlan(number, name, name, factory, {}, driver.emits, labels, commands, ())


def _start(module: str, plan: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "GATEWAY_LOG": "WARNING"}
    return subprocess.Popen([sys.executable, "-P", "-m", module, str(plan)], env=environment)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
