"""The broker that ThingsBoard Gateway idles at, and what is counted on a disk."""

import socket
from pathlib import Path

import pytest

from benchmarks.footprint.broker import Broker, answer
from benchmarks.footprint.process import on_disk


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (0x10, b"\x00\x04MQTT\x05\x82\x00x\x00\x00\x00\x00\x01x", "2003000000"),  # CONNECT, answered CONNACK
        (0x82, b"\x00\x07\x00\x00\x0ev1/gateway/rpc\x01", "900400070001"),  # SUBSCRIBE, SUBACK with its id
        (0x32, b"\x00\x03a/b\x00\x09\x00{}", "40020009"),  # PUBLISH with QoS 1, PUBACK
        (0x30, b"\x00\x03a/b\x00{}", ""),  # with QoS 0
        (0xC0, b"", "d000"),  # PINGREQ, PINGRESP
        (0xE0, b"", ""),  # DISCONNECT
    ],
)
def test_the_broker_says_yes(kind: int, body: bytes, said: str) -> None:
    assert answer(kind, body).hex() == said


def test_who_connects_in_pieces_is_connected() -> None:
    with Broker() as broker, socket.create_connection(("127.0.0.1", broker.port)) as client:
        body = b"\x00\x04MQTT\x05\x82\x00x\x00\x00\xc8" + bytes(200)  # a length of two bytes
        for octet in b"\x10" + bytes((0x80 | len(body) & 0x7F, len(body) >> 7)) + body:
            client.sendall(bytes((octet,)))
        client.settimeout(5)
        assert client.recv(5) == bytes.fromhex("2003000000")
        assert broker.connected.wait(5)


def test_packages_are_found_by_any_spelling_of_their_name(tmp_path: Path) -> None:
    for name in ("Some_Package", "other.one"):
        there = tmp_path / f"{name}-1.0.dist-info"
        there.mkdir()
        (tmp_path / f"{name}.py").write_bytes(bytes(500_000))
        (there / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        (there / "RECORD").write_text(f"{name}.py,,\n", "utf-8")
    assert on_disk([str(tmp_path)]) == (2, 1.0)
    assert on_disk([str(tmp_path)], frozenset({"some-package"})) == (1, 0.5)
    assert on_disk([str(tmp_path)], frozenset({"other-one", "third"})) == (1, 0.5)
