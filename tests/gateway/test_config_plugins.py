"""Other people's drivers: found by entry point, and when they are broken, named and survived."""

import json
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated

import acme
import pytest
from annotated_types import Ge, Le

from gateway.catalogue import catalogue
from gateway.compile import compile_site, compiled
from gateway.config import read_site
from gateway.driver import Secret, Settings
from gateway.errors import ConfigError
from gateway.plan import load_plan
from gateway.plugins import DRIVERS, STAGES, collect, find, found
from gateway.schema import site_schema
from gateway.settings import build_settings
from gateway.validate import Checked, check_settings
from gateway_drivers.bthome import BthomeSettings

GOOD = """
from dataclasses import dataclass
from typing import Annotated
from gateway.driver import *

@dataclass(frozen=True)
class NoiseSettings(Settings):
    gain: float = 1.0
    key: Annotated[str, Secret()] = ""

class Noise(SerialDriver):
    "Counts lines."
    emits = (Measure("lines", "1"),)
    settings: NoiseSettings
    def decode(self, frame):
        return {"lines": 1}
"""


@pytest.fixture
def site(tmp_path) -> Path:
    """A site file with one sensor of somebody's driver `acme-noise`."""
    path = tmp_path / "site.toml"
    path.write_text(
        'box = "elm"\nstate = "state"\n[sensor.a]\ndriver = "acme-noise"\nport = "serial:/dev/x"\n'
    )
    return path


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    """A folder for distributions, on the path of this process and of its children."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield folder
    for name in [
        n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(folder))
    ]:
        del sys.modules[name]


def error_of(site: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_site(site)
    return str(caught.value).removeprefix(f"{site}:")


def test_somebodys_driver_is_found_like_ours(packages, site):
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=GOOD)
    (sensor,) = read_site(site).sensors
    assert (sensor.factory, sensor.settings) == ("acme_noise:Noise", {"gain": 1.0, "key": ""})


MEASURES = "    @classmethod\n    def measures(cls, settings):\n        return "
BROKEN = {
    "1 / 0": "is broken: ZeroDivisionError: division by zero",
    "import sys; sys.exit(3)": "is broken: SystemExit: 3",
    "import radarlib.core": "cannot be loaded: No module named 'radarlib'; pip install 'acme[radar]'",
    "class Noise: pass": "is broken: it is not derived from gateway.driver.Driver",
    GOOD.replace("emits =", "emit ="): (
        "is broken: TypeError: Noise: emits is empty; name at least one Measure"
    ),
    GOOD.replace('"1")', '"1", 1e-13)'): (
        "is broken: ValueError: resolution of measure 'lines' must lie in 1e-12..1e+09"
    ),
    GOOD.replace("NoiseSettings(Settings)", "NoiseSettings"): (
        "is broken: TypeError: Noise: `settings: <class 'acme_noise.NoiseSettings'>` must name a class "
        "derived from Settings"
    ),
    GOOD.replace("settings:", "framing = Lines\n    settings:"): (
        "is broken: TypeError: Noise: framing = Lines wants its parentheses, like framing = Lines()"
    ),
    GOOD.replace("settings: NoiseSettings", "settings = NoiseSettings()"): (
        "is broken: TypeError: Noise: name the settings by their class, like settings: NoiseSettings"
    ),
    GOOD.replace("gain: float", "port: float"): (
        "is broken: it has a setting named 'port', a word of the site file"
    ),
    GOOD.replace("gain: float = 1.0", "gain: bytes = b'x'"): (
        "has settings that a plan cannot hold; use str, int, float, bool and tuples of them"
    ),
    f"{GOOD}{MEASURES}cls.emits * 2\n": "is broken: measures() names one of them twice",
    f"{GOOD}{MEASURES}settings.volume\n": (
        "is broken: AttributeError: 'NoiseSettings' object has no attribute 'volume'"
    ),
}


@pytest.mark.parametrize(("code", "error"), BROKEN.items())
def test_a_broken_driver_is_an_error_that_names_its_distribution(packages, site, code, error):
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=code)
    assert error_of(site) in {f"4:10: 'acme-noise' of acme 1.0 {error}", f"4:10: driver 'acme-noise' {error}"}


def test_a_label_that_no_hub_would_take_is_an_error(packages, site):
    shout = (
        "from dataclasses import dataclass\n"
        "from gateway.stage import Stage, StageSettings\n"
        "@dataclass(frozen=True)\n"
        "class ShoutSettings(StageSettings):\n"
        "    volume: int\n"
        "class Shout(Stage):\n"
        "    name = 'shout'\n"
        "    settings_type = ShoutSettings\n"
        "    @classmethod\n"
        "    def labels(cls, settings, state): return ('Loud Noise',)\n"
    )
    points = {DRIVERS: {"acme-noise": "acme_noise:Noise"}, STAGES: {"shout": "acme_shout:Shout"}}
    acme.install(packages, "acme", points, acme_noise=GOOD, acme_shout=shout)
    with site.open("a") as file:
        file.write("stages = [{ shout = 1 }]\n")
    assert "'shout' of acme 1.0 is broken: its labels must be snake_case names" in error_of(site)


def test_two_distributions_with_one_name_are_refused(packages):
    acme.install(packages, "acme", {DRIVERS: {"sds011": "acme_noise:Noise"}})
    with pytest.raises(ConfigError) as caught:
        found(DRIVERS)
    text = str(caught.value)
    assert "two distributions give gateway.drivers the name 'sds011'" in text
    assert "acme (acme_noise:Noise)" in text
    assert "pole-gateway (gateway_drivers.sds011:Sds011)" in text


def test_the_same_distribution_seen_twice_is_no_clash():
    point = EntryPoint("x", "m:X", DRIVERS)
    assert list(collect(DRIVERS, [point, point])) == ["x"]


def test_an_unknown_driver_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"there is no driver 'gps'; did you mean 'gps-nmea'\?"):
        find(DRIVERS, "gps", "driver")


@pytest.mark.slow
def test_one_driver_that_crashes_leaves_the_others_in_the_list(packages):
    points = {
        DRIVERS: {
            "acme-noise": "acme_noise:Noise",
            "acme-crash": "acme_crash:Crash",
            "acme-odd": "acme_odd:Odd",
        }
    }
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    acme.install(
        packages, "acme", points, acme_noise="print('hello')" + GOOD, acme_crash=crash, acme_odd="1 / 0"
    )
    rows = {row["name"]: row for row in catalogue()}
    assert "signal 11" in rows["acme-crash"]["error"]
    assert "'acme-crash' of acme 1.0" in rows["acme-crash"]["error"]
    assert "ZeroDivisionError" in rows["acme-odd"]["error"]
    assert [m["name"] for m in rows["acme-noise"]["measures"]] == ["lines"]
    assert rows["sds011"]["kind"] == "serial"


@pytest.mark.slow
def test_a_driver_that_crashes_the_compile_step_is_an_error_of_its_parent(packages, site):
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGABRT)"
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=code)
    with pytest.raises(ConfigError, match=r"ended with signal 6 .* a plugin is broken"):
        compiled(site)


@pytest.mark.slow
def test_the_plan_is_written_by_the_parent_into_the_state_folder(packages, site):
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=GOOD)
    path = compile_site(site)
    assert path == site.parent / "state" / "plan.json"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [s.name for s in load_plan(path).sensors] == ["a"]
    assert "acme_noise" not in sys.modules


@pytest.mark.slow
def test_a_box_with_a_full_disk_starts_by_the_plan_it_has(packages, site, caplog):
    code = "print('hello')" + GOOD
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=code)
    path = compile_site(site)
    path.with_suffix(".new").symlink_to("/dev/full")
    assert compile_site(site) == path
    assert not caplog.text, "nothing has changed, so there is nothing to write or to say"
    site.write_text(site.read_text().replace("sensor.a", "sensor.b"))
    assert compile_site(site) == path
    assert [s.name for s in load_plan(path).sensors] == ["a"]
    assert f"the disk is full: {site} cannot be taken over" in caplog.text
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        compile_site(site)


@pytest.mark.slow
def test_errors_of_the_child_arrive_whole(tmp_path):
    site = tmp_path / "site.toml"
    site.write_text("box = 1\nstate = 2\n")
    with pytest.raises(ConfigError) as caught:
        compiled(site)
    assert str(caught.value).split("\n") == [
        f"{site}:1:7: box must be text in quotes, not 1",
        f"{site}:2:9: state must be text in quotes, not 2",
    ]


def test_a_secret_must_be_a_reference(packages, site):
    acme.install(packages, "acme", {DRIVERS: {"acme-noise": "acme_noise:Noise"}}, acme_noise=GOOD)
    text = site.read_text()
    site.write_text(text + 'key = "0011223344"\n')
    error = error_of(site)
    assert error == (
        '6:7: key is a secret and must not stand in this file; refer to it: "file:/path" or "env:NAME"'
    )
    site.write_text(text + "key = 11223344\n")
    assert "11223344" not in error_of(site)
    site.write_text(text + 'key = "env:ACME_KEY"\n')
    assert read_site(site).sensors[0].settings["key"] == "env:ACME_KEY"


@dataclass(frozen=True)
class Everything(Settings):
    """Every shape a setting may have."""

    count: Annotated[int, Ge(1), Le(5)] = 1
    spots: tuple[tuple[float, float], ...] = ()
    pair: tuple[int, str] | None = None
    key: Annotated[str, Secret()] = ""


def test_settings_come_out_of_a_plan_as_they_went_in(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("squeamish\n")
    written = {"count": 2, "spots": [[0, 1.5], [2, 3]], "pair": [7, "x"], "key": f"file:{tmp_path}/key"}
    checked = check_settings(Everything, written, "it")
    assert isinstance(checked, Checked)
    settings = build_settings(Everything, json.loads(json.dumps(checked.plain)))
    assert settings == Everything(2, ((0.0, 1.5), (2.0, 3.0)), (7, "x"), "squeamish")
    monkeypatch.setenv("ACME_KEY", "ossifrage")
    assert build_settings(Everything, {"key": "env:ACME_KEY"}).key == "ossifrage"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("file:/nowhere/key", "key is kept in /nowhere/key, which cannot be read: No such file or directory"),
        ("env:NO_SUCH_KEY", "key is kept in the environment variable NO_SUCH_KEY, which is not set"),
        ("file:/dev/zero", "key is kept in /dev/zero, which is over 4096 bytes; is it the right file?"),
        ("swordfish", 'key must be a reference, "file:/path" or "env:NAME", not the secret itself'),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_plain_error(reference, text):
    with pytest.raises(ConfigError) as caught:
        build_settings(Everything, {"key": reference})
    assert str(caught.value) == text


def test_a_plan_of_another_version_of_a_driver_is_a_plain_error():
    with pytest.raises(ConfigError, match=r"the plan does not fit Everything .*; compile it again"):
        build_settings(Everything, {"volume": 3})


def test_a_secret_that_does_not_fit_is_looked_for_where_it_is_kept(monkeypatch):
    monkeypatch.setenv("BINDKEY", "not hex digits")
    with pytest.raises(ConfigError, match=r"32 hex digits\).* look into env:BINDKEY") as caught:
        build_settings(BthomeSettings, {"address": "A4:C1:38:00:00:01", "bindkey": "env:BINDKEY"})
    assert "not hex digits" not in str(caught.value)


def test_the_schema_knows_every_driver_and_stage(packages, capsys):
    acme.install(
        packages, "acme", {DRIVERS: {"a": "acme_noise:Noise", "b": "acme_b:B"}}, acme_noise=GOOD, acme_b="1/0"
    )
    schema = site_schema(found(DRIVERS).values(), found(STAGES).values())
    sensors = {
        s["properties"]["driver"]["const"]: s
        for s in schema["properties"]["sensor"]["additionalProperties"]["oneOf"]
    }
    assert set(sensors) == set(found(DRIVERS)) - {"b"}
    assert sensors["bthome"]["required"] == ["driver", "port", "address"]
    assert sensors["a"]["properties"]["key"]["pattern"].startswith("^(file:")
    stages = {s["title"]: s for s in schema["$defs"]["stages"]["items"]["oneOf"]}
    assert stages["on_change"]["required"] == ["on_change"]
    assert set(stages["on_change"]["properties"]) == {"on_change", "at_least"}
    assert "left out: 'b' of acme 1.0 is broken" in capsys.readouterr().err
