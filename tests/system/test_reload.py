"""`gateway reload` on a real box: what has not changed misses no frame, a bad file changes nothing."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import pack

import pytest

from gateway_hil.emulators.gnss import Gnss
from gateway_hil.emulators.gy39 import Gy39
from gateway_hil.emulators.sds011 import Sds011

from .rig import BOX, PYTHON, Pole, Process, gateway, until
from .test_box_storm import processes
from .test_downlink import workers, write_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FAST_S = 0.005  # 200 frames a second
LAP = 10_000


class Counting(Sds011):
    """A dust sensor whose every packet has a number of its own, as if it were dust."""

    def __init__(self, wire: Path) -> None:
        super().__init__(wire, every_s=FAST_S)
        self.number = 0

    def packet(self) -> bytes:
        self.number += 1
        body = pack("<HHH", self.number % LAP, self.number // LAP, 0)
        return b"\xaa\xc0" + body + bytes((sum(body) & 0xFF, 0xAB))


@pytest.fixture(autouse=True)
def _no_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box lets 200 readings a second through for ever, and no more; here every frame's counts."""
    (tmp_path / "sitecustomize.py").write_text("import gateway.flood\ngateway.flood._COST_NS = 10**6\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture
def dust(pole: Pole) -> Iterator[Counting]:
    with ExitStack() as sensors:
        sensors.enter_context(Gnss(pole.folder / "gps", every_s=0.1))
        sensors.enter_context(Gy39(pole.folder / "light", every_s=0.1))
        yield sensors.enter_context(Counting(pole.folder / "dust"))


@pytest.fixture
def box(pole: Pole, dust: Counting) -> Iterator[Process]:
    """A box that runs, its hub beside it, with gps, dust and light on three ports."""
    write_site(pole, gps="", dust="", light="")
    pole.start_hub()
    pole.enrol()
    process = Process(["gateway", "run", str(pole.folder / "site.toml")], pole.folder / "box.log")
    process.start()
    try:
        until("dust is heard", lambda: len(numbers(pole)) > 100)
        yield process
    finally:
        if process.alive:
            process.kill(signal.SIGTERM)


def numbers(pole: Pole) -> list[int]:
    """The numbers of the packets whose readings are at the hub, as they came."""
    if not (pole.hub_folder / "index.sqlite").exists():
        return []
    rows = pole.index(
        "SELECT body FROM records WHERE sensor = 'dust' AND kind = 'reading' ORDER BY t_mono_ns"
    )
    values = [json.loads(body)["values"] for (body,) in rows]
    return [round(each["pm10"] * 10 * LAP + each["pm2_5"] * 10) for each in values]


def reload(pole: Pole, status: int | None = 0) -> str:
    return gateway("reload", str(pole.folder / "site.toml"), status=status)


def start_reload(pole: Pole) -> "subprocess.Popen[str]":
    words = [*PYTHON, "gateway", "reload", str(pole.folder / "site.toml")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def nothing_is_missing(pole: Pole, dust: Counting, box: Process) -> None:
    """Every packet of the port that never changed, from the first that was heard, is at the hub once."""
    last = dust.number
    until("the hub has all until now", lambda: numbers(pole)[-1] > last)
    assert box.kill(signal.SIGTERM) == 0
    found = numbers(pole)
    assert found == list(range(found[0], found[-1] + 1))
    assert not processes(pole.plan)


def test_what_has_not_changed_goes_on_whatever_goes_or_comes(
    pole: Pole, dust: Counting, box: Process
) -> None:
    before = workers(pole)
    assert reload(pole) == "nothing of the ports has changed; all 3 went on\n"
    assert workers(pole) == before

    write_site(pole, dust="", light='stages = [{ throttle = "200 ms" }]')  # the first sensor goes
    said = reload(pole)
    assert said == "ports restarted: 2 (light)\nports gone: 0 (gps)\n1 went on\n"
    after = workers(pole)
    assert set(after) >= {"core", "supervisor", "worker 1", "worker 2"}
    assert (after["worker 1"], after["core"]) == (before["worker 1"], before["core"])

    write_site(pole, light='stages = [{ throttle = "200 ms" }]', dust="", gps="")  # in another order
    assert reload(pole) == "ports new: 0 (gps)\n2 went on\n"
    assert workers(pole)["worker 1"] == before["worker 1"]
    nothing_is_missing(pole, dust, box)


def test_a_bad_file_changes_nothing(pole: Pole, dust: Counting, box: Process) -> None:
    before, plan = workers(pole), pole.plan.read_bytes()
    write_site(pole, gps="", dust="period = 3")
    said = reload(pole, status=1)
    assert said == gateway("check", str(pole.folder / "site.toml"), status=1)
    assert "site.toml:10:1: driver 'sds011' has no setting 'period'" in said
    write_site(pole, gps="", dust="")
    site = pole.folder / "site.toml"
    site.write_text(site.read_text(encoding="utf-8").replace(BOX, "another-pole"), encoding="utf-8")
    assert "another box or state folder is no reload" in reload(pole, status=1)
    elsewhere = pole.folder / "copy.toml"
    write_site(pole, gps="")
    elsewhere.write_bytes(site.read_bytes())
    assert f"the gateway here runs by {site}" in gateway("reload", str(elsewhere), status=1)
    assert (workers(pole), pole.plan.read_bytes()) == (before, plan)
    nothing_is_missing(pole, dust, box)


def test_without_a_gateway_it_says_how_to_start_one(pole: Pole) -> None:
    write_site(pole, gps="")
    said = reload(pole, status=1)
    assert re.search(r"no gateway runs with the state folder \S+/box; start it: gateway run", said)


@pytest.mark.parametrize("late", [False, True], ids=["before the plan is there", "after it"])
def test_core_may_die_in_the_midst(pole: Pole, dust: Counting, box: Process, late: bool) -> None:
    before, plan = workers(pole), pole.plan.stat().st_ino
    write_site(pole, dust="", light="")
    with start_reload(pole) as reloading:
        if late:
            until("the plan is there", lambda: pole.plan.stat().st_ino != plan)
        os.kill(before["core"], signal.SIGKILL)
        said, _ = reloading.communicate(timeout=60)
    assert (reloading.returncode, said) == (0, "ports gone: 0 (gps)\n2 went on\n")
    assert workers(pole)["worker 1"] == before["worker 1"]
    until("light goes on", lambda: "worker 2" in workers(pole))
    nothing_is_missing(pole, dust, box)


def test_reload_while_reload(pole: Pole, dust: Counting, box: Process) -> None:
    before = workers(pole)
    plan = pole.plan.stat().st_ino
    write_site(pole, dust="", light="")
    with start_reload(pole) as first:
        until("the first plan is there", lambda: pole.plan.stat().st_ino != plan)
        write_site(pole, dust="")
        with start_reload(pole) as second, start_reload(pole) as third:
            ends = [each.communicate(timeout=60)[0] for each in (first, second, third)]
            assert [each.wait() for each in (first, second, third)] == [0, 0, 0], ends
    until("light's worker has ended", lambda: set(workers(pole)) == {"core", "supervisor", "worker 1"})
    assert workers(pole)["worker 1"] == before["worker 1"]
    nothing_is_missing(pole, dust, box)
