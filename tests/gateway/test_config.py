"""Site files in, plans or errors out. The error texts are what a person reads on a pole: they are golden."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import read_site
from gateway.errors import ConfigError
from gateway.plan import SpoolPlan, load_plan
from gateway.plugins import DRIVERS, found

GOLDEN = Path(__file__).with_name("site-errors.txt")
HEAD = 'box = "elm"\nstate = "state"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def errors_of(folder: Path, text: str) -> list[str]:
    """The errors of a site file, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        read_site(write(folder, text))
    return [
        line.removeprefix(f"{folder}/") for line in str(caught.value).replace(f"{folder}/", "").split("\n")
    ]


def test_the_spools_share_of_the_disk(tmp_path):
    site = write(
        tmp_path, 'box = "elm"\nstate = "s"\n[spool]\nfloor_mib = [2, 64, 16, 32]\nreserve_mib = 0\n'
    )
    spool = read_site(site).spool
    assert (spool.quota_mib, spool.floor_mib, spool.reserve_mib) == (
        (64, 64, 512, 32),
        (2, 64, 16, 32),
        0,
    )
    read_site(site).save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json").spool == spool
    assert spool.reserve_bytes(10**12) == 0
    assert SpoolPlan().reserve_bytes(1 << 30) == (1 << 30) // 20
    assert SpoolPlan().reserve_bytes(10**12) == 512 << 20


def test_a_whole_site_becomes_a_plan(tmp_path):
    (tmp_path / "street night.capture").write_text("# capture: 1\n")
    site = write(
        tmp_path,
        """
        box = "elm-st-0042"
        state = "keep/here"
        [spool]
        quota_mib = [2, 3, 16, 17]
        [sensor.air]
        driver = "sds011"
        port = "serial:usb-1a86:7523"
        stages = [{ on_change = 1, at_least = "5 min" }, { throttle = "10 s" }]
        [sensor.yard]
        driver = "bthome"
        port = "replay:street%20night.capture?speed=max"
        address = "A4:C1:38:00:00:01"
        measures = ["temperature", "battery"]
        [sensor.lamp]
        driver = "relay-lamp"
        port = "serial:/dev/serial0"
        [sensor.cellar]
        driver = "bthome"
        port = "replay:street%20night.capture?speed=max"
        address = "A4:C1:38:00:00:02"
        """,
    )
    plan = read_site(site)
    assert plan.box == "elm-st-0042"
    assert plan.state == tmp_path / "keep/here"
    assert plan.spool.quota_mib == (2, 3, 16, 17)
    assert plan.spool.floor_mib == (2, 3, 16, 16)  # no more than the quota
    assert plan.spool.reserve_mib is None
    urls = [port.url for port in plan.ports]
    replay = f"replay:{tmp_path}/street%20night.capture?speed=max"
    assert urls == ["serial:usb-1a86:7523", replay, "serial:/dev/serial0"]
    assert [[s.name for s in port.sensors] for port in plan.ports] == [["air"], ["yard", "cellar"], ["lamp"]]
    assert [(s.number, s.name) for s in plan.sensors] == [(1, "air"), (2, "yard"), (3, "lamp"), (4, "cellar")]
    air, yard, lamp, _ = plan.sensors
    assert air.factory == "gateway_drivers.sds011:Sds011"
    assert [m.name for m in air.measures] == ["pm2_5", "pm10"]
    assert [s.settings for s in air.stages] == [{"step": 1.0, "at_least": "5 min"}, {"every": "10 s"}]
    assert [m.name for m in yard.measures] == ["temperature", "battery"]
    assert lamp.commands == ("on", "off", "dim", "flash", "auto")
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json").table() == plan.table()


def test_a_site_without_sensors_is_right(tmp_path):
    assert read_site(write(tmp_path, HEAD)).ports == ()


def golden_cases() -> list[object]:
    """Cases of site-errors.txt: `=== name`, the site file, `--- errors`, then line:column: text of each."""
    cases = []
    installed = ", ".join(found(DRIVERS))  # ours, and whatever else somebody has beside them
    golden = GOLDEN.read_text(encoding="utf-8").replace("THE INSTALLED DRIVERS", installed)
    for part in golden.split("=== ")[1:]:
        name, _, rest = part.partition("\n")
        text, _, errors = rest.partition("--- errors\n")
        cases.append(pytest.param(text, errors.strip().split("\n"), id=name))
    return cases


@pytest.mark.parametrize(("text", "errors"), golden_cases())
def test_errors_say_where_what_and_the_nearest_name(tmp_path, text, errors):
    assert errors_of(tmp_path, text) == [f"site.toml:{error}" for error in errors]


MICROPHONE = HEAD + '[sensor.mic]\ndriver = "microphone"\nport = "alsa:usb-1209:0001"\n'


def test_a_model_without_an_onset_would_never_hear_anything(tmp_path):
    found = errors_of(tmp_path, MICROPHONE + 'stages = [{ model = "none-such" }]\n')
    assert found[0] == "site.toml:6:13: stage 'model' needs onset before it, or nothing reaches it"


def test_an_unknown_bundle_is_found_before_the_start(tmp_path):
    stages = 'stages = [{ onset = "9 dB" }, { model = "none-such" }]\n'
    (error,) = errors_of(tmp_path, MICROPHONE + stages)
    assert error.startswith("site.toml:6:41: ")
    assert "none-such" in error


@pytest.mark.parametrize("span", ["10 ms / 500 ms", "250 ms / 300 ms", "250 ms / 3 s"])
def test_a_window_that_is_not_the_models_is_found_before_the_first_bang(tmp_path, span):
    stages = f'[{{ onset = "9 dB" }}, {{ window = "{span}" }}, {{ model = "gunshot" }}]'
    (error,) = errors_of(tmp_path, f"{MICROPHONE}stages = {stages}\n")
    assert error.startswith("site.toml:6:")
    assert 'the model takes its own window ("250 ms / 500 ms" first); leave the window stage out' in error


def test_a_site_file_of_old_with_the_models_own_window_still_works(tmp_path):
    stages = '[{ onset = "9 dB" }, { window = "250 ms / 500 ms" }, { model = "gunshot" }]'
    plan = read_site(write(tmp_path, f"{MICROPHONE}stages = {stages}\n"))
    (sensor,) = plan.ports[0].sensors
    assert {"gunshot", "unsure", "unclassified"} <= set(sensor.labels)


def test_a_missing_site_file_says_what_makes_one(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory; `gateway init` makes"):
        read_site(tmp_path / "site.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        read_site(tmp_path)


def test_too_many_sensors_are_refused_before_the_hub_refuses_them(tmp_path):
    sensors = "".join(
        f'[sensor.yard-{n}]\ndriver = "bthome"\nport = "ble:hci0"\naddress = "A4:C1:38:00:00:{n:02X}"\n'
        for n in range(40)
    )
    (error,) = errors_of(tmp_path, HEAD + sensors)
    assert error == "site.toml:3:2: the sensors' names and measures take over 60000 bytes; use two boxes"


def test_a_state_folder_too_deep_for_sockets_is_found_before_the_start(tmp_path):
    room = 107 - len(f"{tmp_path}//run/port-255.sock")
    assert read_site(write(tmp_path, f'box = "elm"\nstate = "{"s" * room}"\n'))
    (error,) = errors_of(tmp_path, f'box = "elm"\nstate = "{"s" * (room + 1)}"\n')
    assert error.startswith("site.toml:2:9: the state folder's path is too long for a socket")


WORDS = st.sampled_from(
    ["box", "state", "sensor", "driver", "sds011", "throttle", "serial:usb-1a86:7523", "x y"]
)
PLAIN = st.one_of(WORDS, st.integers(-3, 3), st.booleans(), st.floats(allow_nan=False))
TREES = st.recursive(
    PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(WORDS, v, max_size=3), max_leaves=8
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


@settings(max_examples=15)
@given(box=TREES, spool=TREES, sensor=TREES, stages=TREES)
def test_nothing_that_is_toml_breaks_the_compiler(tmp_path_factory, box, spool, sensor, stages):
    text = f"box = {toml(box)}\nstate = 's'\nspool = {toml(spool)}\n"
    text += f"[sensor]\nmess = {toml(sensor)}\n[sensor.air]\ndriver = 'sds011'\nport = 'replay:site.toml'\n"
    path = tmp_path_factory.getbasetemp() / "site.toml"
    path.write_text(text + f"stages = {toml(stages)}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_site(path)
    assert all(line.startswith(f"{path}:") for line in str(caught.value).split("\n"))
