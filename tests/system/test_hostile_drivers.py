"""Drivers that leak and spin in a real box: `gateway doctor` names each, and why; the one beside goes on."""

import os
import re
import signal
import tty
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .rig import BOX, Pole, Process, gateway, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
AIDS = Path(__file__).parents[1] / "gateway" / "aids"  # where hostile_drivers.py is
NAMES = {"good": "Good", "leaky": "Leaks", "spinning": "Spins"}


@pytest.fixture
def lines() -> Iterator[dict[str, tuple[int, str]]]:
    """A device's end of each line, and the path of the box's."""
    with ExitStack() as opened:
        found = {}
        for name in NAMES:
            mine, theirs = os.openpty()
            tty.setraw(theirs)
            opened.callback(os.close, mine)
            opened.callback(os.close, theirs)
            found[name] = (mine, os.ttyname(theirs))
        yield found


@pytest.fixture
def _acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's distribution with these drivers; and workers that are stuck after 1 s, not 15."""
    record = tmp_path / "acme-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    points = [f"{name} = hostile_drivers:{kind}" for name, kind in NAMES.items()]
    (record / "entry_points.txt").write_text("\n".join(["[gateway.drivers]", *points]))
    (tmp_path / "sitecustomize.py").write_text("import gateway.guard\ngateway.guard.PATIENCE_S = 1.0\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{AIDS}")


@pytest.mark.usefixtures("_acme")
def test_doctor_names_the_drivers_that_leak_and_spin(pole: Pole, lines: dict[str, tuple[int, str]]) -> None:
    site = pole.folder / "site.toml"
    sensors = [
        f'[sensor.{name}-1]\ndriver = "{name}"\nport = "serial:{path}"\n' for name, (_, path) in lines.items()
    ]
    site.write_text("\n".join([f'box = "{BOX}"\nstate = "box"\n', *sensors]), encoding="utf-8")
    box = Process(["gateway", "run", str(site)], pole.folder / "box.log")

    def kept() -> int:
        os.write(lines["good"][0], b"1\n")
        return int(pole.status()["lanes"]["telemetry"]["produced"])

    def doctor() -> str:
        for name in ("leaky", "spinning"):
            os.write(lines[name][0], b"go\n")
        said = gateway("doctor", str(site), status=None)
        return said if {"leaky-1", "spinning-1"} <= set(re.findall(r"sensor (\S+): driver ", said)) else ""

    box.start()
    try:
        before = until("the good one is heard", kept)
        said = until("doctor names both", doctor)
        until("the good one goes on", lambda: kept() > before)
    finally:
        assert box.kill(signal.SIGTERM) == 0
    why = {
        "leaky": "took more memory than a worker of this kind may have",
        "spinning": "did not come back for too long: it spins, or waits",
    }
    for name, text in why.items():
        assert f"sensor {name}-1: driver '{name}' of acme 1.0 {text} at {AIDS}/hostile_drivers.py:" in said
    assert "driver 'good'" not in said
