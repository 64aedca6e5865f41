"""The demo: its story, its judgement, and whole runs of it."""

import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from gateway_hil.demo.account import Account
from gateway_hil.demo.processes import Running
from gateway_hil.demo.run import finish
from gateway_hil.demo.screen import Screen
from gateway_hil.demo.shots import Deaf, Shots, match_shots
from gateway_hil.demo.table import account_panel, span, wire_bytes
from gateway_hil.demo.timeline import timeline
from gateway_hil.demo.view import View

DEMO = (sys.executable, "-P", "-m", "gateway", "demo")


@pytest.mark.parametrize("seconds", [25.0, 40.0, 60.0, 300.0])
def test_every_story_is_in_order_and_kills_the_worker_under_a_shot(seconds: float) -> None:
    story = timeline(seconds)
    assert list(story.shots) == sorted(story.shots)
    assert story.shots[0] > 0
    assert story.shots[-1] < seconds - 3
    assert all(min(abs(at - shot) for shot in story.shots) > 0.5 for at, _ in story.bangs)
    kill = next(f.at_s for f in story.faults if f.victim == "worker microphone")
    assert any(0 < shot - kill < 0.5 for shot in story.shots)
    faults = sorted(story.faults, key=lambda f: f.at_s)
    assert list(story.faults) == faults
    assert all(a.at_s + a.for_s < b.at_s for a, b in itertools.pairwise(faults))


def test_shots_are_matched_once_each_and_the_rest_is_false() -> None:
    deaf = [Deaf("microphone", 9.9, 11.0), Deaf("light", 0.0, 100.0)]
    shots = match_shots([1.0, 2.0, 3.0, 10.0], [1.01, 1.03, 2.5, 3.0], deaf)
    assert shots == Shots(unheard=(10.0,), detected=(1.0, 3.0), missed=(2.0,), false=(1.03, 2.5))
    assert shots.counts == {"fired": 4, "in_deaf_time": 1, "detected": 2, "false": 2}


def test_a_shot_soon_after_another_is_one_of_its_rounds() -> None:
    shots = match_shots([1.0, 2.0, 3.0], [1.01], [], [2.02])
    assert shots == Shots(unheard=(), detected=(1.0, 2.0), missed=(3.0,), false=())


def test_a_detection_of_a_shot_in_deaf_time_is_neither_hit_nor_false() -> None:
    shots = match_shots([10.0], [10.02], [Deaf("microphone", 9.9, 10.01)])
    assert shots == Shots(unheard=(10.0,), detected=(), missed=(), false=())


def account(
    *,
    received: int = 7,
    lost: int = 0,
    twice: int = 0,
    audit: bool = True,
    missed: Sequence[float] = (),
    false: Sequence[float] = (),
) -> Account:
    return Account(
        durable=True,
        produced={"alert": 3, "telemetry": 7},
        received={"alert": 3, "telemetry": received},
        declared_lost=lost,
        applied_twice=twice,
        audit_balanced=audit,
        deaf=[],
        shots=Shots((), (1.0,), tuple(missed), tuple(false)),
        latency_ms={"shot_to_spool": {"n": 0}, "shot_to_hub": {"n": 0}},
        wire_bytes_per_record={},
    )


@pytest.mark.parametrize(
    ("drawn_up", "failures"),
    [
        (account(), []),
        (account(false=[4.0]), []),
        (account(false=[4.0, 5.0]), ["2 false alarms (at 4.0 s, 5.0 s); 1 is allowed"]),
        (account(missed=[21.3]), ["1 shot not detected (at 21.3 s)"]),
        (account(missed=[2.0, 3.0]), ["2 shots not detected (at 2.0 s, 3.0 s)"]),
        (account(received=5), ["2 records kept by core not at the hub (telemetry 2)"]),
        (account(received=6, lost=1), ["1 record declared lost"]),
        (
            account(lost=1),
            ["received and declared lost are 1 record more than core kept", "1 record declared lost"],
        ),
        (
            account(received=8),
            [
                "lane telemetry: the hub has 8 records, core kept only 7",
                "received and declared lost are 1 record more than core kept",
            ],
        ),
        (account(twice=2), ["2 records came twice to the hub's index"]),
        (account(audit=False), ["the hub's own audit (`gateway hub audit`) does not balance"]),
    ],
)
def test_an_account_names_each_promise_that_did_not_come_true(drawn_up: Account, failures: list[str]) -> None:
    assert drawn_up.failures == failures
    assert drawn_up.holds == (not failures)
    assert drawn_up.plain()["failures"] == drawn_up.failures


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failed_demo_keeps_and_names_its_folder_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    screen = Screen(View(25.0), quiet=as_json)
    assert finish(account(missed=[21.3]), screen, folder, as_json=as_json, keep=False) == 1
    said = capsys.readouterr()
    told = said.err if as_json else said.out
    assert "1 shot not detected (at 21.3 s)" in told
    assert f"logs and state are in {folder}" in told
    assert folder.exists()
    if as_json:
        assert json.loads(said.out)["holds"] is False


def test_a_good_demo_removes_its_folder_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    screen = Screen(View(25.0), quiet=False, console=Console(file=io.StringIO()))
    assert finish(account(), screen, tmp_path, as_json=False, keep=True) == 0
    assert tmp_path.exists()
    assert finish(account(), screen, tmp_path, as_json=False, keep=False) == 0
    assert not tmp_path.exists()


def test_the_table_is_in_words() -> None:
    assert span({"p50": 505.2, "p99": 513.9, "n": 5}) == (
        "median 505 ms, worst 514 ms (5 shots while nothing was broken)"
    )
    assert span({"p50": 505.2, "p99": 505.2, "n": 1}) == "505 ms (1 shot while nothing was broken)"
    assert wire_bytes({"state": 99.6, "alert": 116.0, "all_on_tcp": 140.0}) == (
        "state 100, alert 116, over all 140 with handshakes, encryption and pings"
    )
    drawn = Console(file=io.StringIO(), width=100, record=True)
    drawn.print(account_panel(account(missed=[21.3])))
    text = drawn.export_text()
    assert "does NOT hold" in text
    assert "1 shot not detected (at 21.3 s)" in text


def test_a_process_that_is_started_again_did_not_end_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        hub = Running("hub", lambda _: None, tmp_path / "hub.log")
        await hub.start("hub", "run", str(tmp_path))
        await hub.stop(signal.SIGKILL)
        starting = asyncio.ensure_future(hub.start("hub", "run", str(tmp_path)))
        while not starting.done():
            await hub.check()
            await asyncio.sleep(0)
        await starting
        await hub.stop(signal.SIGKILL)

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_comes_out_even() -> None:
    done = subprocess.run(
        [*DEMO, "--seconds", "25", "--json"], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["balanced"]
    assert account["failures"] == []
    assert account["declared_lost"] == account["applied_twice"] == 0
    assert account["produced"] == account["received"]
    assert account["shots"]["in_deaf_time"] == 1
    assert {"worker microphone", "core", "hub"} <= set(account["restarts"])
    assert account["latency_ms"]["shot_to_hub"]["n"] > 0


def children(pid: int) -> dict[int, list[str]]:
    """The command lines of a process's children, by pid."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {int(p): Path(f"/proc/{p}/cmdline").read_text(encoding="utf-8").split("\0") for p in pids}


@contextlib.contextmanager
def started_demo() -> Iterator[tuple[subprocess.Popen[str], dict[int, list[str]]]]:
    """A demo whose hub and box run, and its children."""
    with subprocess.Popen(
        [*DEMO, "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as demo:
        try:
            assert demo.stderr is not None
            told = list(itertools.takewhile(lambda line: "box started" not in line, demo.stderr))
            running: dict[int, list[str]] = {}
            while sum("run" in words for words in running.values()) < 2:
                # A process in the midst of its exec has no command line for an instant.
                running = children(demo.pid)
                assert running, "".join(told)
            yield demo, running
        finally:
            demo.terminate()


def folder_of(running: dict[int, list[str]]) -> Path:
    return next(Path(words[words.index("run") + 1]).parent for words in running.values() if "run" in words)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the box", "the hub"])
def test_a_process_that_dies_by_itself_ends_the_demo_with_its_last_words(victim: str) -> None:
    with started_demo() as (demo, running):
        folder = folder_of(running)
        of_hub = {pid: "hub" in words for pid, words in running.items() if "run" in words}
        pid = next(pid for pid, is_hub in of_hub.items() if is_hub == (victim == "the hub"))
        os.kill(pid, signal.SIGKILL)
        _, told = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert re.search(rf"^{victim} ended by itself \(SIGKILL\); \w+.log ", told, re.MULTILINE), told
    assert f"logs and state are in {folder}" in told
    assert (folder / "site.toml").exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_everything_and_removes_its_folder(signum: int) -> None:
    with started_demo() as (demo, running):
        folder = folder_of(running)
        demo.send_signal(signum)
        _, told = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert f"removed {folder}" in told
    assert not folder.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)


@pytest.mark.parametrize("seconds", ["5", "-1", "1e9"])
def test_a_length_that_makes_no_sense_is_one_line(seconds: str) -> None:
    done = subprocess.run([*DEMO, f"--seconds={seconds}"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "25 to 3600" in done.stderr
    assert len(done.stderr.splitlines()) == 1
