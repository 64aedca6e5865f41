"""`gateway decode --expected` gives what stands in the expected.json of every case that we have."""

import json
from pathlib import Path

import pytest
from case_runner import in_steps

from gateway.cli import main
from gateway.plugins import DRIVERS, find

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/capture.txt"))
ADV = "# capture: 1\n# driver: bthome\n{}"


@pytest.mark.parametrize("case", CASES, ids=[str(case.relative_to(HERE)) for case in CASES])
def test_it_is_the_cases_own(case: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    written = json.loads((case / "expected.json").read_text("utf-8"))
    settings = written.get("settings", {})
    kind = find(DRIVERS, case.parent.name, "driver").load()
    steps = {m.name: m.resolution for m in kind.measures(kind.settings_type()(**settings))}
    if "bindkey" in settings:  # a secret is given by reference, to people and to us
        monkeypatch.setenv("BINDKEY", settings["bindkey"])
        settings["bindkey"] = "env:BINDKEY"
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    given = [word for each in words for word in ("--set", each)]
    main(["decode", case.parent.name, str(case / "capture.txt"), "--expected", *given])
    told = json.loads(capsys.readouterr().out)
    assert {k: v for k, v in told.items() if k != "readings"} == {
        k: v for k, v in written.items() if k != "readings" and v
    }
    assert [at for at, _ in told["readings"]] == [at for at, _ in written["readings"]]
    for (_, values), (_, expected) in zip(told["readings"], written["readings"], strict=True):
        assert in_steps(values, steps) == in_steps(expected, steps)


def test_the_only_address_is_a_setting_and_of_several_one_must_be_named(tmp_path, capsys) -> None:
    first = "1.0 adv A4:C1:38:00:00:01 -61 fcd2=4002c409\n"
    second = "2.0 adv A4:C1:38:00:00:02 -61 fcd2=4002ca09\n"
    path = tmp_path / "capture.txt"
    path.write_text(ADV.format(first))
    measures = ["--set", 'measures=["temperature"]']
    assert main(["decode", "bthome", str(path), "--expected", *measures]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "settings": {"address": "A4:C1:38:00:00:01", "measures": ["temperature"]},
        "readings": [[1.0, {"temperature": 25.0}]],
    }
    path.write_text(ADV.format(first + second))
    assert main(["decode", "bthome", str(path), "--expected", *measures]) == 1
    assert "is of A4:C1:38:00:00:01, A4:C1:38:00:00:02; choose one with --set address=" in (
        capsys.readouterr().err
    )
    chosen = [*measures, "--set", "address=a4:c1:38:00:00:02"]
    assert main(["decode", "bthome", str(path), "--expected", *chosen]) == 0
    assert json.loads(capsys.readouterr().out)["readings"] == [[2.0, {"temperature": 25.06}]]


def test_half_a_frame_at_the_end_was_not_skipped(tmp_path, capsys) -> None:
    path = tmp_path / "capture.txt"
    path.write_text("# capture: 1\n# driver: sds011\n0.0 < 00 aac0d4043a0aa1601dab\n1.0 < aac0d4\n")
    assert main(["decode", "sds011", str(path), "--expected"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"readings": [[0.0, {"pm2_5": 123.6, "pm10": 261.8}]], "skipped": 1}
