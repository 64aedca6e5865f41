"""Who gets in: wrong hub key, unenrolled box, no CURVE at all, revoked while connected, broken door."""

import time
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise

import pytest
import zmq
from hub_box import Box
from hub_kit import enlist, free_endpoint, running

from gateway.errors import HubError
from gateway.hub.folder import HubFolder
from gateway.hub.registry import Registry
from gateway.hub.run import RunningHub
from gateway.hub.selftest import check_door
from gateway.wire import Hello, Welcome
from gateway_provisioning.identity import make_keys

_DOOR = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_NO_DETAIL = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED
)


def _nothing_accepted(hub: RunningHub) -> bool:
    sessions = hub.counts()["sessions"]
    return not (sessions.get("hello") or sessions.get("frames"))


@pytest.mark.slow
def test_enrolled_box_is_welcomed_and_acked(box: Box, hub: RunningHub) -> None:
    box.connect()
    answer = box.hello()
    assert isinstance(answer, Welcome)
    assert answer.acked == {2: 0, 3: 0}
    box.frame(1, 10)
    assert box.acked(10) == 10


@pytest.mark.slow
def test_who_is_online_is_written_once_a_second_and_not_for_each_box(
    box: Box, folder: HubFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All boxes may come back at once; here one says Hello for its two roles in turn."""
    told: list[float] = []
    write = RunningHub._write_status

    def count(hub: RunningHub, running: bool = True) -> None:
        told.append(time.monotonic())
        write(hub, running)

    monkeypatch.setattr(RunningHub, "_write_status", count)
    with running(folder):
        box.connect()
        for n in range(20):
            box.send(Hello("UB"[n % 2], box.epoch, {}, ()))
            assert isinstance(box.receive(), Welcome)
        deadline = time.monotonic() + 5
        while '"elm-1": "B"' not in folder.status.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert len(told) <= 5
    assert min(b - a for a, b in pairwise(told[:-1])) > 0.9, "the last is that of the end"


@pytest.mark.slow
def test_a_box_may_come_the_moment_it_is_enrolled(folder: HubFolder, hub: RunningHub) -> None:
    statement = "INSERT INTO boxes (name, curve_public, sign_public, enrolled_ns) VALUES (?, ?, ?, 1)"
    with closing(Registry(folder.registry)) as registry:  # which stays open, as that of the enrol thread
        for n in range(5):
            keys = make_keys(f"elm-{n}")
            registry._db.execute(statement, (keys.box, keys.curve_public, bytes.fromhex(keys.sign_public)))
            with closing(Box(keys, folder.endpoint, folder.keys().curve_public)) as box:
                box.connect()
                assert box.event(_DOOR) == zmq.EVENT_HANDSHAKE_SUCCEEDED


@pytest.mark.slow
def test_unenrolled_box_is_refused_at_the_door(folder: HubFolder, hub: RunningHub) -> None:
    with closing(Box(make_keys("elm-9"), folder.endpoint, folder.keys().curve_public)) as stranger:
        stranger.connect()
        assert stranger.event(_DOOR) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    assert _nothing_accepted(hub)


@pytest.mark.slow
def test_wrong_hub_key_sends_nothing(box: Box, hub: RunningHub) -> None:
    box.hub_key = make_keys("other").curve_public
    box.connect()
    with suppress(zmq.Again):
        box.send(Hello("B", box.epoch, {}, ()))
    assert box.event(_DOOR | _NO_DETAIL) != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert _nothing_accepted(hub)


@pytest.mark.slow
def test_client_without_curve_is_refused(box: Box, hub: RunningHub) -> None:
    box.connect(curve=False)
    with suppress(zmq.Again):  # where the refusal came first
        box.send(Hello("B", box.epoch, {}, ()))
    assert box.event(_DOOR | _NO_DETAIL) != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert _nothing_accepted(hub)


@pytest.mark.slow
def test_revoked_while_connected_is_out_within_a_second(box: Box, folder: HubFolder, hub: RunningHub) -> None:
    neighbour = enlist(folder, "elm-2")
    with closing(neighbour), closing(Registry(folder.registry)) as registry:
        # The neighbour came on the list after the hub started: the list is read again by itself.
        for one in (box, neighbour):
            one.connect()
            assert isinstance(one.hello(), Welcome)
            one.frame(1, 5)
            one.acked(5)
        registry.revoke("elm-1")
        revoked_at = time.monotonic()
        assert box.refused() == "revoked"
        assert time.monotonic() - revoked_at < 1
        assert box.event(zmq.EVENT_DISCONNECTED) is not None
        assert box.event(_DOOR) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        neighbour.frame(6, 5)
        assert neighbour.acked(10) == 10
    assert hub.counts()["sessions"]["records"] == 15


@pytest.mark.slow
def test_old_key_of_a_replaced_box_is_out_though_the_name_is_on_the_list(
    box: Box, folder: HubFolder, hub: RunningHub
) -> None:
    box.connect()
    box.hello()
    box.frame(1, 5)
    box.acked(5)
    with closing(Registry(folder.registry)) as registry:
        fresh = make_keys("elm-1")
        registry._db.execute("UPDATE boxes SET curve_public = ? WHERE name = 'elm-1'", (fresh.curve_public,))
    assert box.refused() == "revoked"
    with closing(Box(fresh, folder.endpoint, box.hub_key)) as successor:
        successor.connect()
        answer = successor.hello()
        assert isinstance(answer, Welcome)
        assert answer.acked[2] == 5


@pytest.mark.slow
def test_revoked_box_comes_back_when_it_is_readmitted(box: Box, folder: HubFolder, hub: RunningHub) -> None:
    with closing(Registry(folder.registry)) as registry:
        registry.revoke("elm-1")
        box.connect()
        # The hub reads the list five times a second: until then the old one may let the box in.
        while box.event(_DOOR) != zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            box.connect()
        registry._db.execute("UPDATE boxes SET revoked_ns = NULL")
        box.connect()  # libzmq gives up for good after a refusal: the socket must be made anew
        while box.event(_DOOR) != zmq.EVENT_HANDSHAKE_SUCCEEDED:
            box.connect()
        assert isinstance(box.hello(), Welcome)


def test_self_test_notices_a_door_that_lets_everybody_in() -> None:
    endpoint = free_endpoint()
    keys = make_keys("hub")
    context = zmq.Context()
    try:
        unguarded = context.socket(zmq.ROUTER)
        unguarded.curve_server = True
        unguarded.curve_secretkey = keys.curve_secret.encode()
        unguarded.bind(endpoint)
        with pytest.raises(HubError, match="a made-up key was let in"):
            check_door(context, endpoint, keys.curve_public)
    finally:
        context.destroy(linger=0)


@pytest.mark.slow
def test_second_hub_in_a_folder_or_on_a_port_says_so(
    folder: HubFolder, hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.hub.run._LOCK_WAIT_S", 0.0)
    with pytest.raises(HubError, match="already running"):
        RunningHub(folder)
    elsewhere = folder.path.parent / "other"
    (elsewhere / "keys").mkdir(parents=True)
    (elsewhere / "keys" / "hub.json").write_bytes((folder.path / "keys" / "hub.json").read_bytes())
    (elsewhere / "keys" / "hub.json").chmod(0o600)
    with pytest.raises(HubError, match="cannot listen"):
        RunningHub(replace(folder, path=elsewhere))


@pytest.mark.slow
def test_silent_session_is_let_go_and_others_get_pings(box: Box, folder: HubFolder) -> None:
    with running(folder, heartbeat_s=0.2) as hub:
        box.connect()
        box.hello()
        assert box.receive() is not None  # a Ping
        until = time.monotonic() + 5
        while not hub.counts()["sessions"].get("silent") and time.monotonic() < until:
            box.receive(50)
        assert hub.counts()["sessions"]["silent"] == 1
        box.frame(1, 1)
        assert box.refused() == "no_session"
