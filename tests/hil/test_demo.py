"""The demo: its story, its judgement, and a whole run of it."""

import itertools
import json
import subprocess
import sys

import pytest

from gateway_hil.demo.account import Deaf, count_shots
from gateway_hil.demo.timeline import timeline


@pytest.mark.parametrize("seconds", [25.0, 40.0, 60.0, 300.0])
def test_every_story_is_in_order_and_kills_the_worker_under_a_shot(seconds: float) -> None:
    story = timeline(seconds)
    assert list(story.shots) == sorted(story.shots)
    assert story.shots[0] > 0
    assert story.shots[-1] < seconds - 1
    assert all(min(abs(at - shot) for shot in story.shots) > 0.5 for at, _ in story.bangs)
    kill = next(f.at_s for f in story.faults if f.victim == "worker microphone")
    assert any(0 < shot - kill < 0.5 for shot in story.shots)
    faults = sorted(story.faults, key=lambda f: f.at_s)
    assert list(story.faults) == faults
    assert all(a.at_s + a.for_s < b.at_s for a, b in itertools.pairwise(faults))


def test_shots_are_matched_once_each_and_the_rest_is_false() -> None:
    deaf = [Deaf("microphone", 9.9, 11.0), Deaf("light", 0.0, 100.0)]
    counts = count_shots([1.0, 2.0, 3.0, 10.0], [1.01, 1.03, 2.5, 3.0], deaf)
    assert counts == {"fired": 4, "in_deaf_time": 1, "detected": 2, "false": 2}


def test_a_detection_of_a_shot_in_deaf_time_is_neither_hit_nor_false() -> None:
    counts = count_shots([10.0], [10.02], [Deaf("microphone", 9.9, 10.01)])
    assert counts == {"fired": 1, "in_deaf_time": 1, "detected": 0, "false": 0}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_comes_out_even() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "demo", "--seconds", "25", "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["balanced"]
    assert account["declared_lost"] == account["applied_twice"] == 0
    assert account["produced"] == account["received"]
    assert account["shots"]["in_deaf_time"] == 1
    assert {"worker microphone", "core", "hub"} <= set(account["restarts"])
    assert account["latency_ms"]["shot_to_hub"]["n"] > 0


@pytest.mark.parametrize("seconds", ["5", "-1", "1e9"])
def test_a_length_that_makes_no_sense_is_one_line(seconds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "demo", f"--seconds={seconds}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "25 to 3600" in done.stderr
    assert len(done.stderr.splitlines()) == 1
