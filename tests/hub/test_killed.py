"""A hub that is killed again and again while a box sends: what was acked is there, once."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hub_box import Box, batch

from gateway.hub.audit import audit
from gateway.hub.folder import HubFolder
from gateway.hub.query import Filter, find, up_to_date
from gateway.hub.run import RunningHub
from gateway.wire import Ack, Frame, Gap, Refusal, Welcome

_KILLS = 12
_WINDOW = 40  # frames under way


class HubProcess:
    """`gateway hub run` as a process of its own."""

    def __init__(self, folder: HubFolder) -> None:
        ready, ready_write = os.pipe()
        self.log = (folder.path / "log").open("ab")
        command = [sys.executable, "-c", "from gateway.cli import main; raise SystemExit(main())"]
        arguments = ["hub", "run", str(folder.path), "--ready-fd", str(ready_write)]
        self.process = subprocess.Popen([*command, *arguments], stderr=self.log, pass_fds=[ready_write])
        os.close(ready_write)
        with os.fdopen(ready) as pipe:
            line = pipe.readline()
        assert line, (folder.path / "log").read_text()
        assert json.loads(line)["event"] == "ready"

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.log.close()
        return status


class Sender:
    """Sends numbered readings for ever, a declared gap now and then, and notes what was acked."""

    def __init__(self, box: Box, rng: random.Random) -> None:
        self.box = box
        self.rng = rng
        self.acked = 0
        self.next = 1
        self.gaps: dict[int, int] = {}  # first -> last, the same again when it is sent again
        self.frames: dict[int, int] = {}  # first -> count
        self.refusals: list[str] = []

    def connect(self) -> None:
        """A new connection and session, and on from what the hub says it holds."""
        while True:
            self.box.connect()
            answer = self.box.hello()
            if isinstance(answer, Welcome):
                break
        assert answer.acked[2] >= self.acked, "the hub forgot what it had acked"
        self.acked = answer.acked[2]
        self.next = next((f for f, last in self._spans() if f <= self.acked < last), self.acked + 1)

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            while self.next - self.acked < _WINDOW * 10:
                self._send_next()
            message = self.box.receive(20)
            if isinstance(message, Ack):
                assert message.acked >= self.acked
                self.acked = message.acked
            elif isinstance(message, Refusal):
                self.refusals.append(message.code)
                self.connect()

    def drain(self) -> None:
        """Send again what a killed hub did not hold, until everything is acked."""
        while self.next in self.frames or self.next in self.gaps:
            self._send_next()
        until = time.monotonic() + 20
        while self.acked < self.next - 1:
            assert time.monotonic() < until, "no end"
            message = self.box.receive(1000)
            if isinstance(message, Ack):
                self.acked = message.acked

    def _send_next(self) -> None:
        first = self.next
        if first in self.gaps or (first not in self.frames and self.rng.random() < 0.05):
            last = self.gaps.setdefault(first, first + self.rng.randint(0, 30))
            self.box.send(Gap(self.box.session, 2, first, last, "evicted"))
            self.next = last + 1
        else:
            count = self.frames.setdefault(first, self.rng.randint(1, 20))
            self.box.send(Frame(self.box.session, 2, first, count, batch(first, count)))
            self.next = first + count

    def _spans(self) -> list[tuple[int, int]]:
        return [*self.gaps.items(), *((f, f + c - 1) for f, c in self.frames.items())]


@pytest.mark.slow
def test_killed_hub_keeps_what_it_acked_exactly_once(box: Box, folder: HubFolder, seed: int) -> None:
    rng = random.Random(seed)
    sender = Sender(box, rng)
    for _ in range(_KILLS):
        hub = HubProcess(folder)
        sender.connect()
        sender.run(rng.uniform(0.02, 0.4))
        assert hub.end(signal.SIGKILL) == -signal.SIGKILL
    hub = HubProcess(folder)
    sender.connect()
    sender.drain()
    assert hub.end(signal.SIGTERM) == 0
    assert sender.refusals == []

    up_to_date(folder)
    found = [(r["seq"], r["n"]) for r in find(folder, Filter(box="elm-1"))]
    sent = {first + at for first, count in sender.frames.items() for at in range(count)}
    declared = {seq for first, last in sender.gaps.items() for seq in range(first, last + 1)}
    assert sorted(found) == [(seq, seq) for seq in sorted(sent)]
    assert sent | declared == set(range(1, sender.acked + 1))
    account = audit(folder, "elm-1")
    assert account.balanced, account.plain()
    assert account.lanes[0].declared_gaps == len(declared)
    assert sender.acked > 100


@pytest.mark.slow
def test_welcome_promises_only_what_is_on_the_disk(box: Box, folder: HubFolder, hub: RunningHub) -> None:
    box.connect()
    box.hello()
    with closing(sqlite3.connect(folder.journal, isolation_level=None)) as journal:
        for first in range(1, 200, 10):
            box.frame(first, 10)  # telemetry: its commit may wait for 20 ms
            answer = box.hello()  # and this asks before
            while not isinstance(answer, Welcome):
                answer = box.receive()
            box.session = answer.session
            on_disk = journal.execute("SELECT coalesce(max(last_seq), 0) FROM heads").fetchone()[0]
            assert answer.acked[2] <= on_disk


@pytest.mark.slow
def test_terminated_hub_ends_cleanly_with_its_log_in_json(folder: HubFolder) -> None:
    hub = HubProcess(folder)
    assert hub.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in (folder.path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["ready", "stopped"]
    assert json.loads((folder.path / "status.json").read_text())["running"] is False


@pytest.mark.slow
def test_hub_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from gateway.cli import main; raise SystemExit(main())"]
    done = subprocess.run([*command, "hub", "run", str(tmp_path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("there is no hub in")
    assert done.stderr.count("\n") == 1
