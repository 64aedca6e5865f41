"""`gateway run`: starts both units, starts a dead one again, stops them in order, leaves no orphan."""

import os
import signal

import pytest

from .rig import BOX, Pole, Process, gateway, until
from .test_box_storm import processes

pytestmark = pytest.mark.slow


@pytest.fixture
def box(pole: Pole) -> Process:
    site = pole.folder / "site.toml"
    site.write_text(f'box = "{BOX}"\nstate = "box"\n', encoding="utf-8")
    return Process(["gateway", "run", str(site)], pole.folder / "box.log")


def test_a_dead_unit_starts_again_and_a_dead_parent_takes_its_units_along(pole: Pole, box: Process) -> None:
    box.start()
    until(
        "both units run", lambda: set(processes(pole.plan).values()) == {"gateway.core", "gateway.supervisor"}
    )
    before = processes(pole.plan)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until("both run again", lambda: len(processes(pole.plan).keys() - before.keys()) == 2)
    box.kill(signal.SIGKILL)
    until("no orphan stays", lambda: not processes(pole.plan))


def test_a_second_run_is_refused_and_harms_nothing(pole: Pole, box: Process) -> None:
    box.start()
    pole.status()
    before = processes(pole.plan)
    plan = pole.plan.stat()
    site = pole.folder / "site.toml"
    site.write_text(site.read_text(encoding="utf-8") + "[spool]\n", encoding="utf-8")
    for words in ([], ["--only", "core"], ["--only", "sensors"]):
        said = gateway("run", str(site), *words, status=1)
        text = f"a gateway already runs with the state folder {pole.state} (pid {box.pid}); stop it first\n"
        assert said == text
    assert (processes(pole.plan), pole.plan.stat()) == (before, plan)
    assert box.kill(signal.SIGTERM) == 0


def test_sigterm_stops_everything_with_status_0(pole: Pole, box: Process) -> None:
    box.start()
    assert set(pole.status()["lanes"]) == {"alert", "state", "telemetry", "bulk"}
    assert box.kill(signal.SIGTERM) == 0
    assert not processes(pole.plan)
    texts = [said["text"] for said in box.said()]
    assert "core stopped" in texts


def test_a_wrong_site_file_starts_nothing(pole: Pole, box: Process) -> None:
    (pole.folder / "site.toml").write_text('box = "b"\nsate = "x"\n', encoding="utf-8")
    box.start()
    assert box.kill(0) == 1
    assert "site.toml:2:1" in (pole.folder / "box.log").read_text(encoding="utf-8")
    assert not pole.plan.exists()
