"""What the demo shows: log lines in words, values with units, and nothing cut or overflowing."""

import asyncio
import io
import re
from pathlib import Path

import pytest
from loops import in_loop
from rich.console import Console

from gateway.plan import Plan, PortPlan, SensorPlan
from gateway.reading import Measure
from gateway_hil.demo.drawing import draw
from gateway_hil.demo.readings import value_text
from gateway_hil.demo.screen import Screen
from gateway_hil.demo.view import Line, View
from gateway_hil.demo.voices import Voices


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
@in_loop
async def test_log_lines_name_sensors_and_no_ports_or_folders(
    tmp_path: Path, unit: str, text: str, plain: str
) -> None:
    said: list[str] = []
    heard = voices(tmp_path, said)
    heard.heard({"unit": unit, "text": text.format(tmp_path)})
    heard.speak()
    assert said == [f"1.0 s {plain}"]


@in_loop
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


@in_loop
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
    view.pids = {"worker microphone": 4194304} | {f"worker {n}": 4194304 for n in range(8)}
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
    if width >= 80:
        assert "…" not in text
        assert "waiting" in text
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
