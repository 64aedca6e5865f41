"""`gateway hub command BOX lamp …`: which lamp and how, in words, as the box's sensors are now."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hub_box import EPOCH, Box, batch

from gateway.cli import main
from gateway.hub.folder import HubFolder
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.orders import OrderEntry, Orders
from gateway.hub.registry import Registry
from gateway.order import table_number
from gateway.plan import table_id

Say = Callable[..., tuple[int, str, str]]
LAMP_WORDS = ["on", "off", "dim", "flash", "auto"]


def table_of(*lamps: str) -> dict[str, Any]:
    sensors = [("air", []), *((lamp, LAMP_WORDS) for lamp in lamps)]
    return {
        "box": "elm-1",
        "sensors": [
            {"number": n, "name": name, "driver": "x", "measures": [], "labels": [], "commands": commands}
            for n, (name, commands) in enumerate(sensors, start=1)
        ],
    }


BEFORE, NOW, LATER = table_of("yard-lamp"), table_of("street-lamp", "yard-lamp"), table_of()


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: HubFolder, box: Box
) -> Say:
    """Run `gateway hub command elm-1 WORDS`; status, what it printed, what it complained."""
    monkeypatch.setenv("GATEWAY_HUB", str(folder.path))

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["hub", "command", "elm-1", *words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def orders(folder: HubFolder) -> Iterator[Orders]:
    Registry(folder.registry).close()
    with closing(Orders(folder.registry, folder.index)) as orders:
        yield orders


@pytest.fixture
def heard(folder: HubFolder) -> None:
    """The box sent batches of three tables, and at last one of the second again."""
    with closing(Journal(folder.journal)) as journal:
        for n, table in enumerate((BEFORE, NOW, LATER, NOW), start=1):
            journal.add_table(table_id(table), table, "elm-1")
            payload = batch(n, 1, table=table_id(table))
            journal.append(Row(("elm-1", EPOCH, 2), n, 1, n, RowKind.FRAME, payload, n * 10**9))
        journal.commit()


def last(orders: Orders) -> OrderEntry:
    return orders.all()[-1]


@pytest.mark.usefixtures("heard")
def test_words_become_whole_numbers_of_the_latest_table(say: Say, orders: Orders) -> None:
    which = {"table": table_number(table_id(NOW)), "sensor": 2}
    status, out, _ = say("lamp", "street-lamp", "level=40", "ramp=5 s", "for=10 min")
    assert status == 0
    assert "level=40 ramp_s=5 for_s=600: waiting" in out
    assert last(orders).arguments == which | {"level": 40, "ramp_s": 5, "for_s": 600}
    say("lamp", "street-lamp", "level=0", "--for", "1 h")
    assert last(orders).arguments == which | {"level": 0, "ramp_s": 0, "for_s": 3600}
    say("flash", "yard-lamp", "for=1 min")
    assert last(orders).arguments == which | {"sensor": 3, "period_s": 2, "for_s": 60}
    say("auto", "yard-lamp")
    assert (last(orders).name, last(orders).arguments) == ("auto", which | {"sensor": 3})


@pytest.mark.usefixtures("heard")
def test_the_folder_is_still_the_last_argument(
    say: Say, orders: Orders, folder: HubFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_HUB", str(tmp_path / "elsewhere"))
    assert say("lamp", "street-lamp", "level=40", "for=10 min", str(folder.path))[0] == 0
    assert say("auto", "street-lamp", str(folder.path))[0] == 0
    assert say("ping", str(folder.path))[0] == 0
    assert [entry.name for entry in orders.all()] == ["lamp", "auto", "ping"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("lamp",), "say which lamp, like: gateway hub command elm-1 lamp street-lamp"),
        (("lamp", "level=40"), "say which lamp"),
        (("lamp", "air", "level=40", "for=1 h"), "there is no lamp 'air'"),
        (("lamp", "street-lmap", "level=40", "for=1 h"), "did you mean 'street-lamp'?"),
        (("lamp", "street-lamp"), "lamp needs level and for"),
        (("lamp", "street-lamp", "level=40"), "lamp needs for"),
        (("lamp", "street-lamp", "level=101", "for=1 h"), "level must lie in 0..100, not 101"),
        (("lamp", "street-lamp", "level=4.5", "for=1 h"), "level: '4.5' is no whole number"),
        (("lamp", "street-lamp", "level=40", "for=8 d"), "for: '8 d' is no duration"),
        (("lamp", "street-lamp", "level=40", "for=169 h"), "for must lie in 1..604800 s, not 608400"),
        (("lamp", "street-lamp", "levle=40", "for=1 h"), "lamp takes no 'levle=40'; did you mean 'level'?"),
        (("lamp", "street-lamp", "table=4", "for=1 h"), "lamp takes no 'table=4'"),
        (("flash", "street-lamp", "for=2 h"), "for must lie in 1..3600 s"),
        (("auto", "street-lamp", "for=2 h"), "auto takes no 'for=2 h'"),
        (("lamp", "street-lamp", "up", "down"), "lamp takes no 'up'"),
        (("lamp", "street-lamp", "--bytes-per-s", "500"), "lamp takes no --bytes-per-s"),
        (("ping", "there", "level=40"), "ping takes no 'level=40'"),
    ],
)
@pytest.mark.usefixtures("heard")
def test_what_cannot_be_is_told_and_nothing_is_kept(
    say: Say, orders: Orders, words: tuple[str, ...], complaint: str
) -> None:
    status, out, err = say(*words)
    assert (status, out) == (1, "")
    assert complaint in err
    assert orders.all() == []


def test_of_a_box_that_never_sent_anything_nobody_knows_the_lamps(say: Say, folder: HubFolder) -> None:
    Journal(folder.journal).close()
    status, _, err = say("auto", "street-lamp")
    assert (status, "elm-1 has sent nothing yet" in err) == (1, True)
