"""The demo: its story, its judgement, its road, its screen, and whole runs of it."""

import asyncio
import contextlib
import functools
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from gateway.plan import Plan, PortPlan, SensorPlan
from gateway.reading import Measure
from gateway_hil.demo.account import Account
from gateway_hil.demo.drawing import draw
from gateway_hil.demo.readings import value_text
from gateway_hil.demo.relay import Relay
from gateway_hil.demo.run import finish
from gateway_hil.demo.screen import Screen
from gateway_hil.demo.shots import Deaf, Shots, match_shots
from gateway_hil.demo.table import account_panel, span, wire_bytes
from gateway_hil.demo.timeline import timeline
from gateway_hil.demo.view import Line, View
from gateway_hil.demo.voices import Voices

Test = Callable[..., Coroutine[None, None, None]]
DEMO = (sys.executable, "-P", "-m", "gateway", "demo")


def in_a_loop(test: Test) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


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


# The account.


def test_shots_are_matched_once_each_and_the_rest_is_false() -> None:
    deaf = [Deaf("microphone", 9.9, 11.0), Deaf("light", 0.0, 100.0)]
    shots = match_shots([1.0, 2.0, 3.0, 10.0], [1.01, 1.03, 2.5, 3.0], deaf)
    assert shots == Shots(unheard=(10.0,), detected=(1.0, 3.0), missed=(2.0,), false=(1.03, 2.5))
    assert shots.counts == {"fired": 4, "in_deaf_time": 1, "detected": 2, "false": 2}


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


# The road.


class EchoHub:
    """Stands where the hub would: echoes what comes until it is closed, with all its connections."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while chunk := await reader.read(100):
            writer.write(chunk)
        writer.close()

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()


async def echoed(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through the relay that has carried something there and back."""
    async with asyncio.timeout(5):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # it looks for the hub now and then; there is no event to wait for
                continue
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            return reader, writer


@in_a_loop
async def test_while_the_hub_is_down_the_relay_refuses_connections() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        reader, writer = await echoed(relay.port)
        hub.close()
        assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        writer.close()
        await hub.open()
        _, writer = await echoed(relay.port)
        assert relay.bytes_to_hub == 10
        writer.close()
        hub.close()


@in_a_loop
async def test_a_hub_that_died_unnoticed_is_noticed_by_the_first_who_calls() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        hub.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)


@in_a_loop
async def test_a_cut_road_stays_cut_when_the_hub_comes_back() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        reader, writer = await echoed(relay.port)
        hub.close()
        assert await reader.read() == b""
        writer.close()
        await relay.cut()
        await hub.open()
        for _ in range(15):  # longer than it waits between two looks for the hub
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
            await asyncio.sleep(0.01)
        await relay.mend()
        _, writer = await echoed(relay.port)
        writer.close()
        hub.close()


# What is on the screen.


def voices(folder: Path, said: list[str]) -> Voices:
    """Voices of a box with a light sensor on port 2 and a microphone on port 5."""
    sensors = [
        SensorPlan(n, name, "driver", "module:Class", {}, (), (), (), ())
        for n, name in ((1, "light"), (2, "microphone"))
    ]
    ports = (
        PortPlan(2, f"serial:{folder}/light", "serial", (sensors[0],)),
        PortPlan(5, f"replay:{folder}/street.wav?start=5347979251294", "alsa", (sensors[1],)),
    )
    (folder / "box").mkdir()
    Plan("demo-pole", folder / "box", ports).save(folder / "box" / "plan.json")
    return Voices(folder, lambda text, stamp: said.append(f"{stamp} {text}"), lambda: "1.0 s")


@pytest.mark.parametrize(
    ("unit", "text", "plain"),
    [
        (
            "worker-2",
            "port serial:{0}/light: {0}/light went away (hung up); check the plug",
            "light: went away (hung up); check the plug",
        ),
        (
            "supervisor",
            "worker of port 5 (replay:{0}/street.wav?start=5347979251294): ended (signal SIGKILL)",
            "supervisor: the worker of microphone ended (signal SIGKILL)",
        ),
        (
            "core",
            "uplink urgent: disconnected: the connection to the hub broke",
            "uplink: the connection to the hub broke",
        ),
        ("worker-9", "something new", "worker-9: something new"),
    ],
)
@in_a_loop
async def test_log_lines_name_sensors_and_no_ports_or_folders(
    tmp_path: Path, unit: str, text: str, plain: str
) -> None:
    said: list[str] = []
    heard = voices(tmp_path, said)
    heard.heard({"unit": unit, "text": text.format(tmp_path)})
    heard.speak()
    assert said == [f"1.0 s {plain}"]


@in_a_loop
async def test_what_several_say_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    heard = voices(tmp_path, said)
    for unit in ("worker-2", "worker-5", "core", "hub"):
        heard.heard({"unit": unit, "text": "core is away"})
    for way in ("urgent", "bulk"):
        heard.heard({"unit": "core", "text": f"uplink {way}: unreachable: nothing answers"})
    heard.heard({"unit": "worker-2", "text": "alone"})
    assert said == []
    heard.speak()
    heard.speak()
    assert said == ["1.0 s 4 processes: core is away", "1.0 s uplink: nothing answers", "1.0 s light: alone"]


@in_a_loop
async def test_a_line_is_said_within_a_moment_of_itself(tmp_path: Path) -> None:
    spoken = asyncio.Event()
    heard = Voices(tmp_path, lambda text, stamp: spoken.set(), lambda: "")
    heard.heard({"unit": "core", "text": "one line"})
    async with asyncio.timeout(5):
        await spoken.wait()


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        (14.2, Measure("temperature", "Cel"), "14.20 °C"),
        (40.44061534, Measure("lat", "deg"), "40.44062°"),
        (87, Measure("battery", "%", 1.0), "87 %"),
        (8, Measure("satellites", "1"), "8"),
        (False, Measure("lamp_on", "bool"), "no"),
        (3.25, None, "3.25"),
    ],
)
def test_values_are_shown_as_fine_as_they_were_measured(value: float, measure: Measure, text: str) -> None:
    assert value_text(value, measure) == text


@pytest.mark.parametrize(("width", "height"), [(100, 40), (150, 55), (80, 24), (60, 12), (40, 8)])
def test_the_live_screen_fits_and_cuts_no_word(width: int, height: int) -> None:
    view = View(25.0, uplink="unreachable / connecting", at_hub=12)
    view.pids = {f"worker {n}": n for n in range(8)}
    view.lanes = {lane: {"produced": 1000, "acked": 900} for lane in ("alert", "state", "telemetry", "bulk")}
    view.latest = {"gps": ["altitude 312.10 m", "satellites 8", "hdop 0.9", "lat 40.44062°"] * 2}
    words = [f"word{n:03}" for n in range(200)]
    view.lines += [Line(" 1.0 s", " ".join(words[n : n + 20]), "") for n in range(0, 200, 20)]
    drawn = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    drawn.print(draw(view, drawn))
    text = drawn.export_text()
    rows = text.rstrip("\n").split("\n")
    assert len(rows) < height
    assert max(map(len, rows)) <= width
    shown = re.findall(r"word\d*", text)
    assert shown
    if len(shown) < 20:  # not even one line has room: its beginning
        assert shown == words[180 : 180 + len(shown)]
    else:  # the newest lines, each of them whole
        assert shown == words[-len(shown) :]
        assert len(shown) % 20 == 0
    if height >= 40:
        assert "CURVE" in text
        assert "hdop 0.9" in text
        assert "unreachable / connecting" in re.sub(r"\s+", " ", text)


def test_without_a_terminal_every_line_is_one_line() -> None:
    out = io.StringIO()
    screen = Screen(View(25.0), quiet=False, console=Console(file=out, width=80))
    with screen:
        screen.say("word " * 50)
    assert max(map(len, out.getvalue().splitlines())) > 250


# Whole runs.


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
