"""The machine and what is installed on it: Python, packages, drivers, the clock."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from gateway.catalogue import catalogue
from gateway.clock import NOT_KNOWN_US, ClockSource, ClockState
from gateway.doctor.finding import Finding
from gateway.errors import ConfigError

_RUNTIMES: Final = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_IMPORT_TIMEOUT_S: Final = 60.0
# Extras of the package, the module that shows whether one is installed, and what for.
_EXTRAS: Final = (
    ("audio", "soundfile", "replay sound"),
    ("ble", "bleak", "hear Bluetooth"),
    ("gpio", "gpiod", "use GPIO lines"),
    ("video", "simplejpeg", "look into JPEG pictures"),
    ("rtsp", "av", "see cameras on a network"),
)


def python_version(version: tuple[int, int], largest: int) -> Finding:
    """Python 3.11 to 3.13 on a 64-bit system."""
    text = f"{version[0]}.{version[1]} on a {'64' if largest > 2**32 else '32'}-bit system"
    if largest <= 2**32:
        return Finding("python", "wrong", text, "install a 64-bit system; no 32-bit packages are made")
    if not (3, 11) <= version < (3, 14):
        return Finding("python", "wrong", text, "use Python 3.11, 3.12 or 3.13")
    return Finding("python", "ok", text)


def extras() -> Iterator[Finding]:
    """The optional packages: a model runtime, and what some ports and drivers need."""
    yield runtime(_RUNTIMES)
    for extra, module, purpose in _EXTRAS:
        if importlib.util.find_spec(module) is None:
            mend = f"pip install 'pole-gateway[{extra}]'"
            yield Finding(extra, "note", f"{module} is not installed: this box cannot {purpose}", mend)
        else:
            yield Finding(extra, "ok", f"{module} is installed")


def runtime(modules: tuple[str, ...]) -> Finding:
    """The first model runtime that can be imported; tried in a child, because a wrong one crashes."""
    broken = []
    for module in modules:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            continue
        child = subprocess.run(
            [sys.executable, "-P", "-c", f"import numpy, {module}"],
            capture_output=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
        if child.returncode == 0:
            return Finding("models", "ok", f"{module.partition('.')[0]} runs them")
        broken.append(f"{module.partition('.')[0]} is installed but cannot be imported")
    mend = "pip install 'pole-gateway[inference]'"
    if broken:
        return Finding("models", "wrong", "; ".join(broken), mend)
    return Finding("models", "note", "no runtime is installed: sensors run without their models", mend)


def drivers() -> Iterator[Finding]:
    """Installed drivers; a broken one is worth a note, an error only where the site file uses it."""
    try:
        rows = catalogue()
    except ConfigError as error:
        yield Finding("drivers", "wrong", str(error), "uninstall what is named")
        return
    for row in rows:
        if "error" in row:
            yield Finding("drivers", "note", row["error"], f"mend or uninstall {row['distribution']}")
    good = [row["name"] for row in rows if "error" not in row]
    yield Finding("drivers", "ok" if good else "wrong", f"{len(good)} installed: {', '.join(good)}")


def clock(state: ClockState) -> Finding:
    """How well the wall clock is known. Records are right later even where it is not."""
    error = "unknown error" if state.error_us == NOT_KNOWN_US else f"error under {state.error_us / 1e6:.3g} s"
    if state.source is ClockSource.NONE:
        text = "nothing says that the clock is right; records are dated anew once something does"
        return Finding("clock", "wrong", text, "sudo timedatectl set-ntp true")
    if state.source is ClockSource.RTC:
        text = f"nothing keeps it right now ({error})"
        return Finding("clock", "note", text, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", f"kept right by {state.source.name} ({error})")
