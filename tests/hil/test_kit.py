"""The kit's table, its badges, and what emulators say that they show."""

import json
import re
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.badges import Badge, cases_hash, keep, own_file, shipped_file, source_hash, tier_of
from gateway.driver import BadFrame
from gateway.plugins import DRIVERS, EntryPoint, Plugin, found
from gateway_hil.emulators import EMULATORS
from gateway_hil.emulators.__main__ import main
from gateway_hil.emulators.truth import Shown, Truthful
from gateway_hil.kit import quick
from gateway_hil.kit.exchange import Played, guarded
from gateway_hil.kit.gold import difference
from gateway_hil.kit.rules import KINDS, Failure, Hang
from gateway_hil.kit.subject import Case, Subject
from gateway_hil.kit.table import CLIMBS, RULES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "hil/README.md").read_text("utf-8")
OURS = {
    name: plugin for name, plugin in found(DRIVERS).items() if plugin.factory.startswith("gateway_drivers.")
}


def test_the_readme_lists_just_the_rules_of_the_table() -> None:
    rows = re.findall(r"^\| (bronze|silver|gold) \| `([\w-]+)` \| (.*?) \|$", README, re.MULTILINE)
    assert rows == [(rule.tier.value, rule.name, rule.sentence) for rule in (*RULES, CLIMBS)]


def test_every_rule_says_for_every_kind_how_it_is_asked_or_why_not() -> None:
    assert {rule.name: set(rule.asks) for rule in RULES} == {rule.name: set(KINDS) for rule in RULES}


@pytest.mark.parametrize("name", OURS)
def test_the_shipped_badge_is_of_this_source_and_these_cases(name: str) -> None:
    badges = json.loads(shipped_file(OURS[name]).read_text("utf-8"))
    assert name in badges, f"{name} was never checked: run ./dev badges {name}"
    badge = Badge(**badges[name])
    assert (badge.source, badge.cases) == (source_hash(OURS[name]), cases_hash(OURS[name])), (
        f"{name} has changed since it was checked: run ./dev badges {name}"
    )


def test_no_badge_is_shipped_of_a_driver_that_is_not_there() -> None:
    some = next(iter(OURS.values()))
    assert set(json.loads(shipped_file(some).read_text("utf-8"))) <= set(OURS)


@pytest.mark.parametrize("name", [name for name in found(EMULATORS) if name in OURS])
def test_an_emulator_becomes_what_it_is_told_and_says_so(name: str) -> None:
    kind = found(EMULATORS)[name].load()
    assert issubclass(kind, Truthful)
    emulator = kind()
    wanted = {measure: shown.high for measure, shown in kind.shows.items()}
    emulator.become(wanted)
    emulator.still()
    truth = emulator.truth()
    assert {measure: truth[measure] for measure in wanted} == pytest.approx(wanted)
    assert wanted.keys() <= {measure.name for measure in OURS[name].load().emits}


class Thermometer(Truthful):
    shows: ClassVar = {
        "temperature": Shown("celsius", -40.0, 85.0),
        "pressure": Shown("pascal", 300.0, 1100.0, scale=0.01),
    }
    restless: ClassVar = ("wander",)
    celsius, pascal, wander = 20.0, 100_000.0, 0.5


def test_a_truth_is_told_in_the_measures_units() -> None:
    thermometer = Thermometer()
    assert thermometer.truth() == {"temperature": 20.0, "pressure": 1000.0}
    thermometer.become({"pressure": 990.0})
    thermometer.still()
    assert (thermometer.pascal, thermometer.wander) == (pytest.approx(99_000.0), 0)


def plugin_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> Plugin:
    package = folder / "acmebadge"
    package.mkdir(exist_ok=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    point = EntryPoint("acme", "acmebadge.driver:Acme", DRIVERS)
    return Plugin("acme", point.value, "acme", "1.0", point)


def test_a_badge_is_void_once_anything_that_the_driver_imports_of_its_own_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {
        "driver": "from .tables import A\nimport acmebadge.words\n",
        "tables": "A = 1\n",
        "words": "",
        "other": "",
    }
    plugin = plugin_in(tmp_path, monkeypatch, **modules)
    assert tier_of(plugin) == "unchecked"
    keep(own_file(), "acme", Badge("silver", source_hash(plugin), cases_hash(plugin)))
    assert tier_of(plugin) == "silver"
    for module, after in (
        ("tables", "unchecked"),
        ("words", "unchecked"),
        ("driver", "unchecked"),
        ("other", "silver"),
    ):
        path = tmp_path / "acmebadge" / f"{module}.py"
        before = path.read_text()
        path.write_text(before + "# changed\n")
        assert (module, tier_of(plugin)) == (module, after)
        path.write_text(before)
    assert tier_of(plugin) == "silver"


def test_a_badge_is_void_once_a_case_has_changed_and_true_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = plugin_in(tmp_path, monkeypatch, driver="")
    case = tmp_path / "tests/drivers/acme/one"
    case.mkdir(parents=True)
    (case / "capture.txt").write_text("# capture: 1\n")
    keep(shipped_file(plugin), "acme", Badge("gold", source_hash(plugin), cases_hash(plugin)))
    assert tier_of(plugin) == "gold"
    (case / "capture.txt").write_text("# capture: 1\n# device: another\n")
    assert tier_of(plugin) == "unchecked"
    (case / "capture.txt").unlink()
    assert tier_of(plugin) == "gold"  # a box has no cases


@pytest.mark.parametrize("text", ["", "[]", '{"acme": 1}', '{"acme": {"tier": "gold"}}', "\xff"])
def test_a_file_of_badges_that_nobody_can_read_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    plugin = plugin_in(tmp_path, monkeypatch, driver="")
    shipped_file(plugin).write_text(text, encoding="latin-1")
    assert tier_of(plugin) == "unchecked"


def test_what_a_driver_raises_is_a_failure_unless_it_is_a_bad_frame() -> None:
    def raises(error: Exception) -> None:
        raise error

    with pytest.raises(Failure, match=r"decode\(x\) raised KeyError: 'a'"):
        guarded(lambda: raises(KeyError("a")), "decode(x)")
    with pytest.raises(BadFrame):
        guarded(lambda: raises(BadFrame("no")), "decode(x)")


def test_a_driver_that_spins_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def spins() -> None:
        while True:
            pass

    monkeypatch.setattr("gateway_hil.kit.exchange.SPIN_S", 0.05)
    with pytest.raises(Hang, match="did not return"):
        guarded(spins, "decode(x)")


def test_a_truth_differs_by_more_than_a_step() -> None:
    measures = {m.name: m for m in OURS["sds011"].load().emits}
    shows = {"pm10": Shown("pm10", 0.0, 999.9), "pm2_5": Shown("pm2_5", 0.0, 999.9, step=5.0)}
    assert difference({"pm10": 7.04}, {"pm10": 7.0}, measures, shows) == ""
    assert "it read 7.3" in difference({"pm10": 7.04}, {"pm10": 7.3}, measures, shows)
    assert difference({"pm2_5": 7.0}, {"pm2_5": 11.0}, measures, shows) == ""
    assert "no reading holds" in difference({"pm10": 7.0}, {}, measures, shows, all_of_it=True)
    assert difference({"pm10": 7.0}, {}, measures, shows) == ""


def test_a_capture_with_questions_answers_as_the_device_did(tmp_path: Path) -> None:
    (tmp_path / "capture.txt").write_text(
        '# capture: 1\n0 > "A?"\n1 < "1"\n2 > "B?"\n3 < "2"\n4 > "A?"\n5 < "3"\n'
    )
    played = Played(Case(tmp_path))
    assert played.every_s is None
    answers = [played.heard(question) for question in (b"A?", b"B?", b"A?", b"A?")]
    assert answers == [b"1", b"2", b"3", b"1"]
    assert played.heard(b"C?") == b""


def test_a_device_that_is_asked_seldom_is_asked_often_here() -> None:
    slow, fast = getattr(quick, "quick relay-lamp"), getattr(quick, "quick sds011")
    assert (slow.every_s, slow().every_for(), slow.__name__) == (0.2, 0.2, "RelayLamp")
    assert fast is OURS["sds011"].load()


def test_a_secret_of_a_case_is_in_a_file_as_a_site_file_has_it() -> None:
    subject = Subject("bthome")
    (secret,) = {
        subject.referred(case.settings)["bindkey"] for case in subject.cases if "bindkey" in case.settings
    } or {""}
    assert secret.startswith("file:/")


def test_an_emulator_is_started_by_its_drivers_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["gps-nmea", "--help"])
    assert (end.value.code, "--link" in capsys.readouterr().out) == (0, True)
    assert main(["gps-nmae", "--help"]) == 1
    assert "there is no emulator 'gps-nmae'; did you mean 'gps-nmea'?" in capsys.readouterr().err
    assert main(["door-contact"]) == 1
    assert "the emulator of door-contact has no serial port" in capsys.readouterr().err
