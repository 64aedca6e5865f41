"""`gateway hub ...` as people type it."""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hub_box import EPOCH, TABLE, TABLE_ID, batch
from hub_kit import enlist, free_endpoint

from gateway.cli import main
from gateway.enrolment import parse_address, parse_token
from gateway.hub.folder import HubFolder, create, open_folder
from gateway.hub.index import Index
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.query import follow
from gateway.hub.registry import Registry

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: HubFolder) -> Say:
    """Run `gateway hub WORDS`; status, what it printed, what it complained."""
    monkeypatch.setenv("GATEWAY_HUB", str(folder.path))

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["hub", *words])
        return status, *capsys.readouterr()

    return run


def _fill(folder: HubFolder) -> None:
    with closing(Journal(folder.journal)) as journal:
        journal.add_table(TABLE_ID, TABLE, "elm-1")
        journal.append(Row(("elm-1", EPOCH, 2), 1, 3, 1, RowKind.FRAME, batch(1, 3), 1))
        lost = json.dumps({"reason": "disk", "counts": {}}).encode()
        journal.append(Row(("elm-1", EPOCH, 2), 4, 7, 4, RowKind.GAP, lost, 1))
        journal.commit()


def test_init_makes_a_hub_once(say: Say, tmp_path: Path) -> None:
    where = str(tmp_path / "new")
    status, out, _ = say("init", where, "--bind", "tcp://127.0.0.1:7711", "--name", "city")
    assert status == 0
    assert "gateway hub run" in out
    folder = open_folder(Path(where))
    assert (folder.name, folder.endpoint) == ("city", "tcp://127.0.0.1:7711")
    assert (folder.path / "keys" / "hub.json").stat().st_mode & 0o777 == 0o600
    status, _, err = say("init", where)
    assert status == 1
    assert "already holds a hub" in err


def test_init_says_where_it_listens_if_boxes_look_elsewhere(say: Say, tmp_path: Path) -> None:
    elsewhere = ("--endpoint", "tcp://hub.example:17711", "--bind", "tcp://0.0.0.0:7711")
    _, out, _ = say("init", str(tmp_path / "a"), *elsewhere)
    assert "it listens at  tcp://0.0.0.0:7711 and the next port" in out
    _, out, _ = say("init", str(tmp_path / "c"), "--endpoint", "tcp://127.0.0.1:17711")
    assert "listens" not in out
    assert open_folder(tmp_path / "c").bind == "tcp://0.0.0.0:17711"
    _, out, _ = say("init", str(tmp_path / "b"), "--endpoint", "tcp://hub.example:7711")
    assert "listens" not in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("init", "{tmp}/x", "--bind", "7711"), "cannot be bound"),
        (("init", "{tmp}/x", "--bind", "tcp://127.0.0.1:65535"), "from 1 to 65534"),
        (("init", "{tmp}/x", "--name", "City Hall"), "is no hub name"),
        (("init", "{tmp}/x", "--endpoint", "hub.example"), "is no endpoint"),
        (("run", "{tmp}/none"), "gateway hub init"),
        (("token", "--ttl", "soon"), "is no duration"),
        (("token", "--box", "Elm Street"), "is no box name"),
        (("revoke", "elm-9"), "no box 'elm-9' is enrolled"),
        (("audit", "elm-9"), "no box 'elm-9' is known"),
        (("query", "--since", "yesterday"), "is no time"),
    ],
)
def test_mistakes_are_told_in_one_line(
    say: Say, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    status, _, err = say(*(word.format(tmp=tmp_path) for word in words))
    assert status == 1
    assert complaint in err
    assert err.count("\n") == 1


def test_keys_open_to_others_are_refused_with_the_line_that_mends_it(say: Say, folder: HubFolder) -> None:
    keys = folder.path / "keys" / "hub.json"
    keys.chmod(0o640)
    status, _, err = say("token")
    assert status == 1
    assert f"chmod 600 {keys}" in err


def test_token_prints_the_line_to_type_on_the_box(say: Say, folder: HubFolder) -> None:
    _, out, _ = say("token", "--box", "elm-1", "--ttl", "30 min")
    gateway, enrol, address, token, *box = out.splitlines()[-1].split()
    assert (gateway, enrol, box) == ("gateway", "enrol", ["--box", "elm-1", "--site", "pole/site.toml"])
    assert parse_address(address) == folder.address()
    assert parse_token(token)
    _, out, _ = say("token", "--json")
    assert json.loads(out)["box"] is None


def test_boxes_and_revoke(say: Say, folder: HubFolder) -> None:
    assert "no boxes yet" in say("boxes")[1]
    enlist(folder, "elm-1").close()
    assert "offline" in say("boxes")[1]
    assert say("revoke", "elm-1")[0] == 0
    _, out, _ = say("boxes", "--json")
    assert json.loads(out)["state"] == "revoked"


def test_query_and_audit_work_without_a_running_hub(say: Say, folder: HubFolder) -> None:
    _fill(folder)
    status, out, _ = say("query", "--sensor", "air", "--json")
    assert status == 0
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2, 3]
    _, out, _ = say("query", "--kind", "reading")
    assert out.splitlines()[0].endswith("  elm-1  air  reading  pm2_5 0.1 ug/m3")
    status, out, _ = say("audit", "elm-1", "--json")
    assert status == 0
    assert json.loads(out)["lanes"][0]["declared_gaps"] == 7
    assert say("audit", "elm-1")[1].endswith("balanced\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--kind", "bogus"), "there is no kind of record 'bogus'; choose from anchor, event, health,"),
        (("--kind", "readings"), "did you mean 'reading'?"),
        (("--box", "elm-11"), "there is no box 'elm-11'; did you mean 'elm-1'?"),
        (("--sensor", "ear"), "there is no sensor 'ear'; did you mean 'air'?"),
    ],
)
def test_a_query_for_what_is_not_known_is_a_mistake(
    say: Say, folder: HubFolder, words: tuple[str, ...], complaint: str
) -> None:
    _fill(folder)
    status, out, err = say("query", *words)
    assert (status, out) == (1, "")
    assert complaint in err


def test_a_query_that_finds_nothing_of_what_is_known_is_none(say: Say, folder: HubFolder) -> None:
    _fill(folder)
    enlist(folder, "elm-2").close()
    for words in (("--box", "elm-2"), ("--kind", "event"), ("--since", "2100-01-01")):
        assert say("query", *words) == (0, "", "")


def test_a_second_hub_is_refused_at_once(say: Say, folder: HubFolder) -> None:
    with folder.locked(runs=True):
        began = time.monotonic()
        status, _, err = say("run")
        assert time.monotonic() - began < 1
    assert status == 1
    assert err == f"a hub is already running in {folder.path} (pid {os.getpid()}); stop it first\n"


def test_a_hub_waits_for_a_query_that_brings_the_index_up_to_date(folder: HubFolder) -> None:
    with folder.locked(runs=True):
        pass  # and was killed: its pid is in the file
    asking = folder.locked()
    asking.__enter__()
    ends = threading.Timer(0.7, asking.__exit__, (None, None, None))
    ends.start()
    with folder.locked(5.0, runs=True):
        pass
    ends.join()


def test_audit_that_does_not_balance_exits_1(say: Say, folder: HubFolder) -> None:
    _fill(folder)
    say("audit", "elm-1")
    with closing(Index(folder.index, folder.journal)) as index:
        index._db.execute("DELETE FROM records WHERE seq = 2")
    status, out, _ = say("audit", "elm-1")
    assert status == 1
    assert out.endswith("NOT BALANCED\n")


def test_tail_shows_what_comes_and_gaps(folder: HubFolder) -> None:
    _fill(folder)
    with closing(Index(folder.index, folder.journal)) as index:
        while index.catch_up():
            pass
    news = follow(folder, from_start=True)
    assert [next(news)["kind"] for _ in range(4)] == ["reading"] * 3 + ["gap"]
    news.close()

    came: list[int] = []

    def ask() -> None:
        with closing(follow(folder, from_start=False)) as later:
            came.append(next(later)["seq"])

    # The tail looks where the index ends when it is first asked, so it must be asking before more comes.
    asking = threading.Thread(target=ask)
    asking.start()
    with closing(Journal(folder.journal)) as journal, closing(Index(folder.index, folder.journal)) as index:
        seq = 11
        while asking.is_alive():
            journal.append(Row(("elm-1", EPOCH, 2), seq, 1, seq, RowKind.FRAME, batch(seq, 1), 1))
            journal.commit()
            index.catch_up()
            asking.join(0.02)
            seq += 1
    assert came[0] >= 11


def test_address_of_a_hub_that_listens_everywhere_is_one_a_box_can_use(tmp_path: Path) -> None:
    port = free_endpoint().rpartition(":")[2]
    folder = create(tmp_path / "hub", f"tcp://0.0.0.0:{port}", None, "hub")
    assert "0.0.0.0" not in folder.endpoint
    assert folder.endpoint.endswith(f":{port}")


def test_registry_notices_what_others_wrote(folder: HubFolder) -> None:
    from gateway.hub.registry import AllowList

    with closing(AllowList(folder.registry)) as allow, closing(Registry(folder.registry)) as registry:
        assert not allow.refresh()
        enlist(folder, "elm-1").close()
        assert allow.refresh()
        assert list(allow.live.values()) == ["elm-1"]
        registry.revoke("elm-1")
        assert allow.refresh()
        assert allow.live == {}
