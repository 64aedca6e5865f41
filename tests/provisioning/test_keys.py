"""Keys and enrolment as files, and the texts people carry between hub and box."""

import os
from dataclasses import asdict
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from gateway.enrolment import (
    Accepted,
    HubAddress,
    Refused,
    Request,
    new_token,
    next_port,
    pack_answer,
    pack_request,
    parse_address,
    parse_token,
    show_token,
    unpack_answer,
    unpack_request,
)
from gateway.errors import ConfigError, WireError
from gateway.keys import (
    Enrolment,
    enrolment_path,
    is_curve_key,
    keys_path,
    read_box_keys,
    read_enrolment,
    write_box_keys,
    write_enrolment,
    write_private_json,
    z85_decode,
    z85_encode,
)
from gateway_provisioning.identity import ensure_keys, make_keys


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    os.umask(0o022)
    keys = ensure_keys(tmp_path, "elm-1")
    path = keys_path(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_box_keys(path) == keys == ensure_keys(tmp_path, "elm-1")
    renamed = ensure_keys(tmp_path, "elm-2")
    assert (renamed.box, renamed.curve_secret) == ("elm-2", keys.curve_secret)
    assert sorted(p.name for p in path.parent.iterdir()) == ["box.json"], "nothing is left beside it"


def test_a_state_folder_made_for_keys_is_private(tmp_path: Path) -> None:
    os.umask(0o022)
    state = tmp_path / "new" / "state"
    ensure_keys(state, "elm-1")
    assert [folder.stat().st_mode & 0o777 for folder in (state.parent, state, state / "keys")] == [0o700] * 3


def test_secrets_do_not_show_in_logs() -> None:
    keys = make_keys("elm-1")
    assert keys.curve_secret not in repr(keys)
    assert keys.sign_secret not in repr(keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_keys_open_to_others_are_refused_with_the_line_that_mends_it(tmp_path: Path, mode: int) -> None:
    ensure_keys(tmp_path, "elm-1")
    path = keys_path(tmp_path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        read_box_keys(path)


_EMPTY = {"box": "x", "curve_public": "", "curve_secret": "", "sign_public": "", "sign_secret": ""}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is damaged"),
        ("[]", "no JSON object"),
        ("{}", "box, curve_public, curve_secret, sign_public, sign_secret missing"),
        (
            '{"box": "x", "curve_public": 1, "curve_secret": "", "sign_public": "", "sign_secret": ""}',
            "curve_public",
        ),
        (
            '{"box": "X", "curve_public": "", "curve_secret": "", "sign_public": "", "sign_secret": ""}',
            "box name",
        ),
        (
            '{"box": "x", "curve_public": "", "curve_secret": "", "sign_public": "", "sign_secret": ""}',
            "CURVE",
        ),
    ],
)
def test_damaged_keys_are_named(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "box.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=complaint):
        read_box_keys(path)


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gateway enrol HUB TOKEN"):
        read_box_keys(keys_path(tmp_path))
    with pytest.raises(ConfigError, match="gateway enrol HUB TOKEN"):
        read_enrolment(enrolment_path(tmp_path))


def test_a_link_laid_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "box.json.new").symlink_to(target)
    write_box_keys(tmp_path / "box.json", make_keys("elm-1"))
    assert target.read_text() == "precious"


def test_enrolment_round_trip(tmp_path: Path) -> None:
    hub = make_keys("hub")
    enrolment = Enrolment("elm-1", "tcp://hub:7711", hub.curve_public, hub.sign_public)
    write_enrolment(enrolment_path(tmp_path), enrolment)
    assert read_enrolment(enrolment_path(tmp_path)) == enrolment
    assert asdict(enrolment).keys() == {"box", "hub", "hub_key", "hub_sign"}


def test_enrolment_from_before_hubs_signed_commands_is_read_and_a_wrong_key_is_told(tmp_path: Path) -> None:
    path, before = enrolment_path(tmp_path), {"box": "elm-1", "hub": "tcp://hub:7711"}
    before["hub_key"] = make_keys("hub").curve_public
    write_private_json(path, before)
    assert read_enrolment(path) == Enrolment(**before)
    for wrong in ("ab" * 31, "X" * 64, 7):
        write_private_json(path, before | {"hub_sign": wrong})
        with pytest.raises(ConfigError, match="enrol this box again"):
            read_enrolment(path)


@given(st.binary(max_size=64))
def test_z85_is_the_one_of_zeromq(raw: bytes) -> None:
    raw = raw[: len(raw) // 4 * 4]
    assert z85_encode(raw) == z85.encode(raw).decode()
    assert z85_decode(z85_encode(raw)) == raw


@given(st.text(max_size=45))
def test_no_text_breaks_the_key_check(text: str) -> None:
    assert not is_curve_key(text) or len(text) == 40


@given(st.binary(min_size=32, max_size=32))
def test_address_carries_endpoint_and_key(raw: bytes) -> None:
    address = HubAddress("tcp://10.0.0.1:7711", z85_encode(raw))
    assert parse_address(str(address)) == address
    assert address.enrol_endpoint == "tcp://10.0.0.1:7712"
    assert not set(str(address)) & set(" $&*?;|<>()[]{}'\"\\!#~`"), "it survives any shell"


@pytest.mark.parametrize(
    "text", ["", "hub:7711", "tcp://hub:7711", "tcp://hub:7711/short", "tcp://hub:0/" + "A" * 43]
)
def test_wrong_address_is_told(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


def test_last_port_has_no_next() -> None:
    with pytest.raises(ConfigError, match="65534"):
        next_port("tcp://hub:65535")


def test_token_survives_being_typed() -> None:
    token = new_token()
    assert parse_token(show_token(token)) == token
    assert parse_token(show_token(token).lower().replace("-", " ")) == token
    assert parse_token("oil0-1lio-OILU".replace("U", "V")) == "0110" + "1110" + "011V"
    for wrong in ("", "7F3K", "7F3K-9QXM-2TBU", "7F3K-9QXM-2TBD-1"):
        with pytest.raises(ConfigError, match="12 letters and digits"):
            parse_token(wrong)


def test_messages_round_trip() -> None:
    keys = make_keys("elm-1")
    request = Request(new_token(), "elm-1", keys.curve_public, bytes(32), bytes(16), bytes(64))
    assert unpack_request(pack_request(request)) == request
    for answer in (Accepted("elm-1", "hub"), Accepted("elm-1", "hub", b"k" * 32), Refused("used", "text")):
        assert unpack_answer(pack_answer(answer)) == answer


def test_answer_of_a_hub_from_before_it_signed_commands_is_read() -> None:
    assert unpack_answer(msgpack.packb([1, "Y", "elm-1", "hub"])) == Accepted("elm-1", "hub", b"")
    for wrong in (b"k" * 31, "k" * 32, None):
        with pytest.raises(WireError, match="signing key"):
            unpack_answer(msgpack.packb([1, "Y", "elm-1", "hub", wrong]))


@pytest.mark.parametrize("before", [b"\x98", b"\x98\x01"])
def test_nested_list_is_a_wire_error_and_not_the_end(before: bytes) -> None:
    for unpack in (unpack_request, unpack_answer):
        with pytest.raises(WireError):
            unpack(before + b"\x91" * 1010 + b"\xc0" * 8)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_break_the_messages(junk: bytes, at: int, flip: int) -> None:
    keys = "0" * 40
    good = bytearray(pack_request(Request("A" * 12, "elm-1", keys, bytes(32), bytes(16), bytes(64))))
    good[at % len(good)] ^= flip
    for frame in (junk, bytes(good)):
        for unpack in (unpack_request, unpack_answer):
            try:
                unpack(frame)
            except WireError as error:
                assert error.reason in {"malformed", "version", "unknown_letter", "too_long"}
