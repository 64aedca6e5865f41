"""The key locator against tomllib: the same keys, each where it is written."""

import tomllib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.toml_keys import Path, Place, load_toml, locate

DOCUMENT = """\
# a site
box = "elm" # its name
a . "b c".'d' = 1

[sensor.air]
stages = [{ throttle = "10 s" }, # first
  { on_change = 1.5, at_least = '''
x''' },
]
text = \"\"\"say \\"\"\" and ""quotes"" \"\"\"\"\"
when = 1979-05-27 07:32:00

[[row]]
n = 1
[row.sub]
z = { x.y = [], e = {} }
[[row]]
n = 2
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("box",), (2, 1), (2, 7)),
        (("a",), (3, 1), None),
        (("a", "b c"), (3, 5), None),
        (("a", "b c", "d"), (3, 11), (3, 17)),
        (("sensor",), (5, 2), None),
        (("sensor", "air"), (5, 9), None),
        (("sensor", "air", "stages"), (6, 1), (6, 10)),
        (("sensor", "air", "stages", 0), None, (6, 11)),
        (("sensor", "air", "stages", 0, "throttle"), (6, 13), (6, 24)),
        (("sensor", "air", "stages", 1, "at_least"), (7, 22), (7, 33)),
        (("sensor", "air", "text"), (10, 1), (10, 8)),
        (("sensor", "air", "when"), (11, 1), (11, 8)),
        (("row",), (13, 3), None),
        (("row", 0, "n"), (14, 1), (14, 5)),
        (("row", 0, "sub", "z", "x", "y"), (16, 9), (16, 13)),
        (("row", 1, "n"), (18, 1), (18, 5)),
    ],
)
def test_keys_and_values_are_where_they_are_written(path, key, value):
    places = locate(DOCUMENT)
    assert places.keys.get(path) == (Place(*key) if key else None)
    assert places.values.get(path) == (Place(*value) if value else None)


def test_what_is_not_written_is_placed_at_the_table_around_it():
    places = locate(DOCUMENT, "site.toml")
    assert places.key(("sensor", "air", "port")) == "site.toml:5:9"
    assert places.value(("sensor", "air", "stages", 0, "throttle", "x")) == "site.toml:6:24"
    assert places.key(("state",)) == "site.toml:1:1"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'box = "elm\n', "f:1:11: not TOML: a text lacks its second quote"),
        (b"box = 'elm\n", "f:2:1: not TOML: a text lacks its second quote, where the file ends"),
        (b'a = "c:\\q"\n', "f:1:10: not TOML: a lone backslash; write two, or use single quotes"),
        (b"[s.a]\n[s.a]\n", "f:2:5: not TOML: [s.a] is there already; rename one, or join them"),
        (b"a = {}\n[a.b]\n", "f:2:5: not TOML: [a.b] is there already; rename one, or join them"),
        (b"a = [1]\n[[a]]\n", "f:2:4: not TOML: 'a' is a list or in braces above; nothing can be added here"),
        (b"[a]\nb = 1\n[a.b]\n", "f:3:5: not TOML: 'a.b' is there already; leave one out"),
        (b"a = 1\nb = \n", "f:2:5: not TOML: invalid value"),
        (b"a = 1\na = 2\n", "f:2:6: not TOML: 'a' is there already; leave one out"),
        (b"a = [1,", "f:1:8: not TOML: invalid value, where the file ends"),
        (b"a = {b = 1", "f:1:11: not TOML: unclosed inline table, where the file ends"),
        (b"a = 1\nb = '\xff'\n", "f:2:6: this byte is not UTF-8; save the file as UTF-8 text"),
        ("ä = 1\n".encode("utf-16"), "f:1:1: this byte is not UTF-8; save the file as UTF-8 text"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "f:1:1: its arrays or tables are nested too deep"),
    ],
)
def test_bad_syntax_has_a_place(raw, text):
    with pytest.raises(ConfigError) as caught:
        load_toml(raw, "f")
    assert str(caught.value) == text


def key_paths(value: Any, path: Path = ()) -> set[Path]:
    """Every key in what tomllib made of a document."""
    paths: set[Path] = set()
    if isinstance(value, dict):
        for name, each in value.items():
            paths |= {(*path, name)} | key_paths(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            paths |= key_paths(each, (*path, index))
    return paths


def assert_agrees(text: str) -> None:
    """Same keys as tomllib, and at each place the key itself, or a value that reads the same."""
    table = tomllib.loads(text)
    places = locate(text)
    lines = text.split("\n")
    assert {p for p in places.keys if isinstance(p[-1], str)} == key_paths(table)
    for path, place in places.keys.items():
        name = next(part for part in reversed(path) if isinstance(part, str))
        rest = lines[place.line - 1][place.column - 1 :]
        token = rest if rest[0] in "\"'" else rest.split("=")[0].split(".")[0].split("]")[0].strip()
        if rest[0] in "\"'":
            token = rest[: rest.index(rest[0], 1) + 1]
        assert tomllib.loads(f"{token} = 0") == {name: 0}
    for path, place in places.values.items():
        found = table
        for part in path:
            found = found[part]
        rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
        assert reads_as(rest, found)


def reads_as(text: str, value: Any) -> bool:
    """Whether some beginning of `text` is a TOML value equal to `value`."""
    for end in range(1, len(text) + 1):
        try:
            if tomllib.loads(f"v = {text[:end]}")["v"] == value:
                return True
        except tomllib.TOMLDecodeError:
            continue
    return False


BARE = st.text("abz09_-", min_size=1, max_size=4)
KEYS = st.one_of(
    BARE, BARE.map("'{}'".format), st.sampled_from(['"a b"', '"a.b"', "'#'", '"="', '"[x]"', "''"])
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
BREAK = st.sampled_from(["", " ", "\n", "# it's \"\n", " # ]}\n\n"])
PLAIN = ["1", "-2.5e3", "true", "inf", "0x1F", "1979-05-27 07:32:00", "07:32:00"]
STRINGS = ['"a # b"', "'\\'", '"\\""', '""', '"]"', "", "'''it's'''", "''''x'''''"]
MORE = ['"""a"b""c"""', '"""\n""\\""""""', '"""# =\n[z]"""']
SCALARS = st.sampled_from([*PLAIN, *STRINGS, *MORE])


@st.composite
def inline_tables(draw, values):
    rows = draw(st.lists(st.tuples(DOTTED, SPACE, values), max_size=3))
    return "{" + ",".join(f" {key}{space}= {value} " for key, space, value in rows) + "}"


@st.composite
def arrays(draw, values):
    rows = draw(st.lists(st.tuples(BREAK, values, BREAK), max_size=3))
    comma = draw(st.sampled_from(["", ","])) if rows else ""
    return "[" + ",".join("".join(row) for row in rows) + comma + draw(BREAK) + "]"


DOTTED = st.lists(KEYS, min_size=1, max_size=3).flatmap(
    lambda parts: SPACE.map(lambda s: f"{s}.{s}".join(parts))
)
VALUES = st.recursive(SCALARS, lambda values: arrays(values) | inline_tables(values), max_leaves=6)
PAIRS = st.tuples(SPACE, DOTTED, SPACE, VALUES, SPACE).map(lambda p: f"{p[0]}{p[1]}{p[2]}={p[4]}{p[3]}")
HEADERS = st.one_of(DOTTED.map("[{}]".format), DOTTED.map("[[ {} ]]".format))
COMMENTS = st.sampled_from(["", "# [no] = 'key'", "\t"])


@settings(max_examples=40)
@given(st.lists(st.one_of(PAIRS, HEADERS, COMMENTS), max_size=8))
@example(["a.b = 1", "[[c]]", "[c.d]", "x = [{y.z = 1}]", "[[c]]", "[[c.d]]", "x=1", "[[c.d]]"])
def test_the_same_keys_as_tomllib(statements):
    # A statement that collides with one before it is no TOML; the rest of the document still counts.
    kept: list[str] = []
    for statement in statements:
        try:
            tomllib.loads("\n".join([*kept, statement]))
        except tomllib.TOMLDecodeError:
            continue
        kept.append(statement)
    assert_agrees("\n".join(kept))


@given(st.text("ab=.[]{},'\"#\\ \n1", max_size=24))
def test_whatever_tomllib_accepts_can_be_located(text):
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert {p for p in locate(text).keys if isinstance(p[-1], str)} == key_paths(table)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_a_plain_error(raw):
    try:
        load_toml(raw, "f")
    except ConfigError as error:
        assert error.where.startswith("f:")
