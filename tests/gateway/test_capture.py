"""Captures: what is written is read back; what is wrong is named with its line."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture import (
    CaptureWriter,
    Entry,
    Received,
    Sent,
    is_capture,
    long_uuid,
    read_capture,
    read_header,
)
from gateway.driver import Advertisement, Edge, Notification
from gateway.errors import ConfigError

SAMPLE = r"""# capture: 1
# driver: sds011
# where: north mast, line 3: the long one
# when:
0.000000 < aac0 d404 3a0a a160 1dab
# the receiver restarts here

1 < "$GPZDA\"\\,*4F\r\n\x00"
1.5 > a00101a2
2.000000001 adv a4:c1:38:00:00:01 -61 fcd2=40006401 mfr:004C=0215
2.25 edge door north 1
"""


def lines(text: str) -> io.StringIO:
    return io.StringIO(text)


def test_a_capture_of_every_kind_of_entry_is_read() -> None:
    assert list(read_capture(lines(SAMPLE), "x")) == [
        Entry(0, Received(bytes.fromhex("aac0d4043a0aa1601dab"))),
        Entry(10**9, Received(b'$GPZDA"\\,*4F\r\n\x00')),
        Entry(1_500_000_000, Sent(bytes.fromhex("a00101a2"))),
        Entry(
            2_000_000_001,
            Advertisement(
                "A4:C1:38:00:00:01",
                -61,
                {"0000fcd2-0000-1000-8000-00805f9b34fb": bytes.fromhex("40006401")},
                {0x4C: bytes.fromhex("0215")},
            ),
        ),
        Entry(2_250_000_000, Edge("door north", True)),
    ]


EDGES = [
    Edge("1", False),
    Edge("a 1 b", True, lost=3),
    Edge("LAMP", True, asked=False),
    Edge("LAMP", False, found=True, lost=2, asked=True),
]


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_is_read_as_it_was_written(edge: Edge) -> None:
    out = io.StringIO()
    CaptureWriter(out, {}).add(5_000, edge)
    assert [entry.what for entry in read_capture(lines(out.getvalue()), "x")] == [edge]


def test_the_header_is_read_alone() -> None:
    expected = {"driver": "sds011", "where": "north mast, line 3: the long one", "when": ""}
    assert read_header(lines(SAMPLE), "x") == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 < a", "pairs of hex digits"),
        ("0 <", "no bytes"),
        ('0 < "open', "double quotes"),
        (r'0 < "\q"', "double quotes"),
        ('0 < "\u00fc"', "double quotes"),
        ("zero < aa", "SECONDS"),
        ("0.1234567891 < aa", "SECONDS"),
        ("0 edge door", "edge LINE"),
        ("0 edge door 2", "edge LINE"),
        ("0 adv A4:C1 -61", "adv AA:BB"),
        ("0 adv A4:C1:38:00:00:01 loud", "RSSI"),
        ("0 adv A4:C1:38:00:00:01 -61 fcd2", "UUID=HEX"),
        ("0 adv A4:C1:38:00:00:01 -61 fcd2=4", "UUID=HEX"),
        ("0 adv A4:C1:38:00:00:01 -61 fcd=40", "no UUID"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        list(read_capture(lines(f"# capture: 1\n# by: me\n\n{line}\n"), "cap.txt"))
    assert caught.value.where == "cap.txt:4"


def test_entries_before_a_wrong_line_are_given_out() -> None:
    entries = read_capture(lines("# capture: 1\n0 < aa\n0 < zz\n"), "x")
    assert next(entries).what == Received(b"\xaa")
    with pytest.raises(ConfigError, match="x:3"):
        next(entries)


def test_time_does_not_go_back() -> None:
    with pytest.raises(ConfigError, match="before the line above"):
        list(read_capture(lines("# capture: 1\n1 < aa\n0.9 < aa\n"), "x"))


@pytest.mark.parametrize("first", ["", "# capture: 2\n0 < aa\n", "$GPGGA,1\n"])
def test_another_file_is_no_capture(first: str) -> None:
    with pytest.raises(ConfigError, match="first line of a capture"):
        read_header(lines(first), "x")


def test_a_capture_is_told_from_other_files(tmp_path) -> None:
    capture, log = tmp_path / "a", tmp_path / "b"
    capture.write_text("# capture: 1\n")
    log.write_bytes(b"# Name: a log of another program\n")
    assert is_capture(capture)
    assert not is_capture(log)


ADDRESSES = st.binary(min_size=6, max_size=6).map(lambda six: six.hex(":").upper())
UUIDS = st.uuids().map(str) | st.integers(0, 0xFFFF).map(lambda short: long_uuid(f"{short:04x}"))
RECORDED = st.one_of(
    st.binary(max_size=40).map(Received),
    st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=40).map(
        lambda text: Sent(text.encode())
    ),
    st.builds(Edge, st.from_regex(r"[A-Za-z0-9_#-]{1,8}( [A-Za-z0-9]{1,3})?", fullmatch=True), st.booleans()),
    st.builds(Notification, ADDRESSES, UUIDS, st.binary(max_size=9)),
    st.builds(
        Advertisement,
        ADDRESSES,
        st.integers(-127, 20),
        st.dictionaries(UUIDS, st.binary(max_size=9), max_size=3),
        st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=9), max_size=3),
    ),
)


@given(st.lists(st.builds(Entry, st.integers(0, 10**17), RECORDED), max_size=8))
def test_what_is_written_is_read_back(entries: list[Entry]) -> None:
    entries.sort(key=lambda entry: entry.at_ns)
    out = io.StringIO()
    writer = CaptureWriter(out, {"driver": "any", "where": "two\nlines"})
    for entry in entries:
        writer.add(entry.at_ns, entry.what)
    out.seek(0)
    assert list(read_capture(out, "x")) == entries
    assert read_header(io.StringIO(out.getvalue()), "x") == {"driver": "any", "where": "two lines"}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        list(read_capture(io.StringIO("# capture: 1\n" + text), "x"))
