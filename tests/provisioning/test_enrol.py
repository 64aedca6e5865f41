"""A box becomes known to its hub: the good way, and every way that must not work."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from hub_box import Box
from hub_kit import free_endpoint, running

from gateway.cli import main
from gateway.enrolment import Accepted, Answer, Refused, new_token, pack_request, show_token, statement
from gateway.errors import ConfigError
from gateway.hub.enrol import PER_KEY_MIN, Limiter
from gateway.hub.folder import HubFolder
from gateway.hub.registry import TRIES_MAX, Registry
from gateway.hub.run import RunningHub
from gateway.keys import BoxKeys, enrolment_path, keys_path, read_box_keys, read_enrolment
from gateway.wire import Welcome
from gateway_provisioning import enrol as enrol_module
from gateway_provisioning.enrol import enrol
from gateway_provisioning.identity import make_keys, sign

pytestmark = pytest.mark.slow

Token = Callable[..., str]
_SEEN = zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED  # a try to connect, and how it ended
_NESTED = b"\x91" * 1010 + b"\xc0"  # msgpack reads it; Python cannot show it


@pytest.fixture
def token(folder: HubFolder) -> Token:
    """Make a token as `gateway hub token` does."""

    def make(box: str | None = None, ttl_s: float = 60) -> str:
        with closing(Registry(folder.registry)) as registry:
            return registry.make_token(bytes.fromhex(folder.keys().pepper), box, ttl_s)

    return make


def _ask(folder: HubFolder, keys: BoxKeys, token: str, **changes: object) -> Answer:
    request = replace(enrol_module._request(keys, folder.address(), token), **changes)
    return enrol_module._ask(keys, folder.address(), request, 10)


def _code(answer: Answer) -> str:
    return answer.code if isinstance(answer, Refused) else "accepted"


def test_token_lets_a_box_in_and_the_fleet_door_opens(
    folder: HubFolder, hub: RunningHub, token: Token, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    enrolment = enrol(state, folder.address(), token(), "elm-1")
    assert read_enrolment(enrolment_path(state)) == enrolment
    assert (enrolment.box, enrolment.hub) == ("elm-1", folder.endpoint)
    assert enrolment.hub_sign == folder.keys().sign_public, "commands would be refused"
    with closing(Box(read_box_keys(keys_path(state)), enrolment.hub, enrolment.hub_key)) as box:
        until = time.monotonic() + 1
        answer = None
        while not isinstance(answer, Welcome):  # the list is read again five times a second
            assert time.monotonic() < until, "not let in within a second"
            box.connect()
            if box.event(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH) == 0x1000:
                answer = box.hello()


def test_token_works_once_for_another_box_and_again_for_the_same(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    code, first, second = token(), make_keys("elm-1"), make_keys("elm-2")
    accepted = Accepted("elm-1", "hub", bytes.fromhex(folder.keys().sign_public))
    assert _ask(folder, first, code) == accepted
    refused = _ask(folder, second, code)
    assert isinstance(refused, Refused)
    assert (refused.code, "by another box" in refused.text) == ("used", True)
    assert _ask(folder, first, code) == accepted, "the first answer may have got lost"
    assert _code(_ask(folder, replace(first, box="elm-3"), code)) == "used"


def test_expired_token_is_refused(folder: HubFolder, hub: RunningHub, token: Token) -> None:
    token()  # one that is good: without any, nobody listens
    assert _code(_ask(folder, make_keys("elm-1"), token(ttl_s=-1))) == "expired"


def test_enrol_port_is_open_only_while_a_token_is_good(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    with closing(Box(make_keys("elm-1"), folder.address().enrol_endpoint, folder.keys().curve_public)) as box:
        box.connect()
        assert box.event(_SEEN) == zmq.EVENT_CLOSED, "without a token nobody listens"
        token(ttl_s=1)
        made_at = time.monotonic()
        while box.event(_SEEN) != zmq.EVENT_CONNECTED:
            assert time.monotonic() - made_at < 1
        assert box.event(zmq.EVENT_DISCONNECTED), "whoever came in is out when it expires"
        assert time.monotonic() - made_at < 2
        assert box.event(_SEEN) == zmq.EVENT_CLOSED


def test_connection_that_never_ends_its_message_is_cut(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    code = token()
    with closing(Box(make_keys("elm-9"), folder.address().enrol_endpoint, folder.keys().curve_public)) as box:
        box.connect()
        assert box.event(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        assert box.socket is not None
        for _ in range(10):
            box.socket.send(bytes(4000), zmq.SNDMORE)  # libzmq has no limit for this
        box.socket.send(b"")
        assert box.event(zmq.EVENT_DISCONNECTED) is not None
    assert _code(_ask(folder, make_keys("elm-1"), code)) == "accepted"
    assert hub.counts()["enrol"]["cut"] == 1


def test_request_nested_too_deep_to_be_shown_is_refused(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    code = token()
    with closing(Box(make_keys("elm-9"), folder.address().enrol_endpoint, folder.keys().curve_public)) as box:
        box.connect()
        for nested in (_NESTED + b"\xc0" * 7, b"\x01" + _NESTED + b"\xc0" * 6):
            box.send_raw([b"\x98" + nested])
            assert box.socket is not None
            assert box.socket.poll(5000)
            assert b"malformed" in box.socket.recv()
    assert _code(_ask(folder, make_keys("elm-1"), code)) == "accepted"


def test_bug_costs_one_request_and_is_logged_once(
    folder: HubFolder, token: Token, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.path / "keys" / "hub.json"
    path.write_text(path.read_text().replace(folder.keys().pepper, "no hex"))
    with closing(Registry(folder.registry)) as registry:
        registry.make_token(b"pepper", None, 60)
    with running(folder) as hub:
        assert _code(_ask(folder, make_keys("elm-1"), new_token())) == "bug"
        assert _code(_ask(folder, make_keys("elm-2"), new_token())) == "bug"
        assert hub.counts()["enrol"]["bugs"] == 2
    (said,) = (r for r in caplog.records if "a bug" in r.getMessage())
    assert said.exc_info


def test_guessing_locks_the_token_even_for_the_right_secret(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    code = token()
    wrong = code[:4] + new_token()[4:]
    for _ in range(TRIES_MAX):
        assert _code(_ask(folder, make_keys("elm-1"), wrong)) == "bad_token"
    assert _code(_ask(folder, make_keys("elm-1"), wrong)) == "locked"
    assert _code(_ask(folder, make_keys("elm-1"), code)) == "locked"
    assert _code(_ask(folder, make_keys("elm-1"), token())) == "accepted", "other tokens still work"


def test_one_key_may_try_only_so_often(folder: HubFolder, hub: RunningHub, token: Token) -> None:
    token()
    keys = make_keys("elm-1")
    codes = [_code(_ask(folder, keys, new_token())) for _ in range(PER_KEY_MIN + 1)]
    assert codes == ["bad_token"] * PER_KEY_MIN + ["slow_down"]
    assert _code(_ask(folder, make_keys("elm-2"), token())) == "accepted", "others are not locked out"


def test_limiter_refills_evenly_and_stays_small() -> None:
    limiter = Limiter(per_minute=6, names_max=10)
    assert [limiter.allows("a", 0.0) for _ in range(7)] == [True] * 6 + [False]
    assert not limiter.allows("a", 9.0)
    assert limiter.allows("a", 10.1)
    for n in range(100):
        limiter.allows(str(n), 11.0)
    assert len(limiter._buckets) == 10


def test_key_and_signature_must_be_the_askers_own(folder: HubFolder, hub: RunningHub, token: Token) -> None:
    code, thief, owner = token(), make_keys("elm-1"), make_keys("elm-1")
    assert _code(_ask(folder, thief, code, curve_public=owner.curve_public)) == "key_not_yours"
    assert _code(_ask(folder, thief, code, sign_public=bytes.fromhex(owner.sign_public))) == "bad_signature"
    assert _code(_ask(folder, thief, code, nonce=bytes(16))) == "bad_signature"
    other_hub = sign(thief, statement(owner.curve_public, "elm-1", thief.curve_public, bytes(16)))
    assert _code(_ask(folder, thief, code, nonce=bytes(16), signature=other_hub)) == "bad_signature"
    assert _code(_ask(folder, owner, code)) == "accepted", "the token was not spent"


def test_name_is_taken_over_only_with_a_token_made_for_it(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    old, new = make_keys("elm-1"), make_keys("elm-1")
    spent = token()
    assert _code(_ask(folder, old, spent)) == "accepted"
    assert _code(_ask(folder, new, token())) == "name_taken"
    assert _code(_ask(folder, new, token(box="elm-2"))) == "other_box"
    assert _code(_ask(folder, new, token(box="elm-1"))) == "accepted"
    assert _code(_ask(folder, old, spent)) == "used", "its old token does not bring the old box back"
    assert _code(_ask(folder, replace(new, box="elm-9"), token())) == "key_taken"


def test_revoked_box_needs_a_token_made_for_its_name(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    keys, first = make_keys("elm-1"), token()
    assert _code(_ask(folder, keys, first)) == "accepted"
    with closing(Registry(folder.registry)) as registry:
        registry.revoke("elm-1")
        assert _code(_ask(folder, keys, first)) == "used"
        assert _code(_ask(folder, keys, token())) == "revoked"
        assert registry.live() == {}
        assert _code(_ask(folder, keys, token(box="elm-1"))) == "accepted"
        assert registry.live() == {keys.curve_public: "elm-1"}


def test_many_boxes_race_for_one_token_and_one_wins(folder: HubFolder, hub: RunningHub, token: Token) -> None:
    code = token()
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: codes.append(_code(_ask(folder, make_keys(f"elm-{n}"), code))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["accepted", *["used"] * 7]


def test_junk_at_the_enrol_port_is_answered_and_counted(
    folder: HubFolder, hub: RunningHub, token: Token
) -> None:
    token()
    with closing(Box(make_keys("elm-1"), folder.address().enrol_endpoint, folder.keys().curve_public)) as box:
        box.connect()
        for frames in ([b""], [b"junk"], [b"a", b"b"], [b"x" * 4000], [b""] * 50):
            box.send_raw(frames)
            assert box.socket is not None
            assert box.socket.poll(5000)
            assert b"malformed" in box.socket.recv()
        box.send_raw([bytes(8000)])  # over the cap: libzmq closes the connection
        assert box.event(zmq.EVENT_DISCONNECTED) is not None
    assert hub.counts()["enrol"]["refused_malformed"] == 5
    assert _code(_ask(folder, make_keys("elm-2"), token())) == "accepted"


def test_no_token_is_stored_in_the_clear(folder: HubFolder, token: Token) -> None:
    code = token()
    stored = b"".join(path.read_bytes() for path in folder.path.glob("hub.sqlite*"))
    assert code[:4].encode() in stored
    assert code[4:].encode() not in stored


def test_unreachable_hub_is_told_apart_from_a_wrong_key(
    folder: HubFolder, hub: RunningHub, token: Token, tmp_path: Path
) -> None:
    token()
    nobody = replace(folder.address(), endpoint=free_endpoint())
    with pytest.raises(ConfigError, match="no hub answers at"):
        enrol(tmp_path / "a", nobody, new_token(), "elm-1", timeout_s=0.3)
    impostor = replace(folder.address(), key=make_keys("x").curve_public)
    with pytest.raises(ConfigError, match="does not own the key"):
        enrol(tmp_path / "b", impostor, new_token(), "elm-1", timeout_s=3)
    assert not enrolment_path(tmp_path / "b").exists()


def test_command_takes_name_and_state_from_the_site_file(
    folder: HubFolder, hub: RunningHub, token: Token, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "elm.toml"
    site.write_text('box = "elm-1"\nstate = "var"\n')
    words = ["enrol", str(folder.address()), show_token(token()), "--site", str(site)]
    assert main([*words, "--box", "other"]) == 1
    assert "says that this box is 'elm-1'" in capsys.readouterr().err
    assert main(words) == 0
    assert "enrolled as elm-1" in capsys.readouterr().out
    assert read_enrolment(tmp_path / "var" / "enrolment.json").box == "elm-1"
    assert main([*words[:2], show_token(new_token()), "--state", str(tmp_path / "var")]) == 1
    assert "did not make this token" in capsys.readouterr().err


_ADDRESS = "tcp://hub:7711/" + "A" * 43
_TOKEN = "7F3K-9QXM-2TBD"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["tcp://hub:7711", _TOKEN], "is no hub address"),
        ([_ADDRESS, "7F3K"], "is no token"),
        ([_ADDRESS, _TOKEN, "--state", "{tmp}"], "Add --box NAME"),
        (
            [_ADDRESS, _TOKEN, "--site", "{tmp}/no.toml"],
            "there is no site file",
        ),
        (
            [_ADDRESS, _TOKEN, "--state", "{tmp}", "--box", "X"],
            "is no box name",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert main(["enrol", *(word.format(tmp=tmp_path) for word in words)]) == 1
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1


def test_packed_request_fits_the_cap() -> None:
    keys = make_keys("e" * 32)
    request = enrol_module._request(keys, _address(), new_token())
    assert len(pack_request(request)) < 300


def _address():
    from gateway.enrolment import HubAddress

    return HubAddress("tcp://hub:7711", make_keys("hub").curve_public)
