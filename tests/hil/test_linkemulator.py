"""The link emulator between two real network namespaces, measured with UDP: rate, delay, depth, loss, cut."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_hil.linkemulator import LinkEmulator

TRIAL = Path(__file__).parent / "aids" / "link_trial.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(own_network: tuple[str, ...]) -> dict[str, Any]:
    """One run of all trials in a network of its own."""
    done = subprocess.run(
        [*own_network, sys.executable, str(TRIAL)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_the_goodput_is_the_rate(measured: dict[str, Any], record_property: Any) -> None:
    record_property("goodput_error", measured["goodput_error"])
    assert abs(measured["goodput_error"]) < 0.01


def test_the_delay_is_as_stated(measured: dict[str, Any], record_property: Any) -> None:
    record_property("delay_error_ms", measured["delay_error_ms"])
    arrived, sent = measured["quiet"]
    assert arrived == sent
    assert 0 <= measured["delay_error_ms"] < 1


def test_the_queue_is_as_deep_as_stated(measured: dict[str, Any]) -> None:
    arrived, sent, dropped = measured["flood"]
    assert arrived + dropped == sent
    assert 16_384 - 1500 < measured["high_water"] <= 16_384
    # Ten fit. Packets come 4 ms apart, so who takes a place that came free is up to 4 ms late for it; then
    # nine go before it and it itself, at 12 ms each.
    assert measured["longest_wait_ms"] >= 10 * 12 - 4 + 30


def test_a_new_rate_counts_at_once(measured: dict[str, Any]) -> None:
    assert measured["slow_octets"] < 0.95 * (1e6 / 8 + 16_384)


def test_loss_is_random_but_counted(measured: dict[str, Any]) -> None:
    arrived, sent, lost = measured["lossy"]
    assert arrived + lost == sent
    assert 0.14 < lost / sent < 0.26


def test_a_cut_is_silent_and_mended(measured: dict[str, Any]) -> None:
    arrived, sent, dropped = measured["cut"]
    assert arrived + dropped == sent
    assert arrived > 0
    assert dropped > 0
    assert measured["mended"][0] == measured["mended"][1]
    assert (measured["down"], measured["undeliverable"]) == (0, 0), "nothing came that nobody sent"


def test_by_hand_it_takes_orders_and_counts_at_the_end(own_network: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*own_network, sys.executable, "-m", "gateway_hil.linkemulator", "--rate-bps", "256000"],
        input="cut\nrate fast\nloss 2\nmend\nsing\ncounters\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    near, far, _, *answers = done.stdout.splitlines()
    assert near.startswith("near 198.18.0.1: nsenter --net=/proc/")
    assert far.startswith("far 198.18.0.2: nsenter --net=/proc/")
    assert "could not convert" in answers[0]
    assert "loss in 0..1" in answers[1]
    assert answers[2] == "no order: 'sing'"
    assert answers[3].startswith("up: LinkCounters(packets=0, octets=0, dropped_full=0")
    assert len(answers) == 7


def test_a_link_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="subnet 64"):
        LinkEmulator(subnet=64)
