"""Where each key and value of a TOML file stands, so that an error can say file:line:column.

tomllib (TOML 1.0) parses but gives no positions. This scanner runs over text that tomllib has
already accepted, follows keys through tables, dotted keys, inline tables, arrays and arrays of
tables, and notes the place of each. It reads no values; it only finds where they begin and end.
"""

import ast
import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import ConfigError

Path = tuple[str | int, ...]  # ("sensor", "air", "stages", 0, "throttle")

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")  # blanks, line ends and comments
_SPACE: Final = re.compile(r"[ \t]*")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]*")  # numbers, booleans, dates; also "1979-05-27 07:32:00"
_STRINGS: Final = (
    # Multi-line strings first: their quotes begin like those of the others. A closing run may hold
    # up to five quotes, of which the first two belong to the text.
    re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)
_COORDINATES: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)
_AT_END: Final = re.compile(r"(.*) \(at end of document\)", re.DOTALL)
_NAMES_A_TABLE: Final = re.compile(r"Cannot (declare|mutate immutable namespace) (\(.*\))(?: twice)?")
_PLAINER: Final = {
    "Illegal character '\\n'": "a text lacks its second quote",
    'Expected "\'"': "a text lacks its second quote",
    "Unescaped '\\' in a string": "a lone backslash; write two, or use single quotes",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A line and a column, both counted from 1; columns count characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Places:
    """Places of one file's keys (where they first appear) and of the values behind them."""

    name: str
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)

    def key(self, path: Path) -> str:
        """`file:line:column` of the key, or of the nearest table around it that is written down."""
        return self._where(path, self.keys)

    def value(self, path: Path) -> str:
        """`file:line:column` of the value, or of the key if it is a table; else of what is around it."""
        return self._where(path, self.values)

    def _where(self, path: Path, places: dict[Path, Place]) -> str:
        while path:
            place = places.get(path) or self.values.get(path) or self.keys.get(path)
            if place is not None:
                return f"{self.name}:{place.line}:{place.column}"
            path = path[:-1]
        return f"{self.name}:1:1"


def load_toml(raw: bytes, name: str) -> tuple[dict[str, Any], Places]:
    """Parse a TOML file and find its keys. Raises ConfigError with file:line:column for bad syntax."""
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        place = _place(before, len(before))
        raise ConfigError(
            "this byte is not UTF-8; save the file as UTF-8 text", f"{name}:{place.line}:{place.column}"
        ) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, name) from None
    except RecursionError:
        raise ConfigError("its arrays or tables are nested too deep", f"{name}:1:1") from None
    return table, locate(text, name)


def locate(text: str, name: str = "") -> Places:
    """The place of each key and value in `text`, which must be TOML that tomllib accepts."""
    scanner = _Scanner(text, Places(name))
    scanner.document()
    return scanner.places


def _syntax_error(text: str, source: str, name: str) -> ConfigError:
    if match := _COORDINATES.fullmatch(text):
        line = source.split("\n")[int(match[2]) - 1]
        return ConfigError(f"not TOML: {_reworded(match[1], line)}", f"{name}:{match[2]}:{match[3]}")
    match = _AT_END.fullmatch(text)
    place = _place(source, len(source))
    where = f"{name}:{place.line}:{place.column}"
    return ConfigError(f"not TOML: {_reworded(match[1], '')}, where the file ends" if match else text, where)


def _reworded(text: str, line: str) -> str:
    """An error of tomllib without the Python in it; `line` is the line it is about."""
    if match := _NAMES_A_TABLE.fullmatch(text):
        table = ".".join(ast.literal_eval(match[2]))
        if match[1] == "declare":
            return f"[{table}] is there already; rename one, or join them"
        return f"{table!r} is a list or in braces above; nothing can be added here"
    if text == "Cannot overwrite a value":
        key = line.strip("[] ") if line.lstrip().startswith("[") else line.partition("=")[0].strip()
        return f"{key!r} is there already; leave one out"
    return _PLAINER.get(text, text[:1].lower() + text[1:])


def _place(text: str, at: int) -> Place:
    return Place(text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


class _Scanner:
    """Walks a valid document once. `_at` is the next character; `_table` the path of the open table."""

    def __init__(self, text: str, places: Places) -> None:
        self._text = text
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._at = 0
        self._table: Path = ()
        self._lengths: dict[Path, int] = {}  # arrays of tables: how many tables so far
        self.places = places

    def document(self) -> None:
        """Statements up to the end of the text: headers and key-value pairs."""
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._table)
            self._skip(_BLANK)

    def _header(self) -> None:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        self._skip(_SPACE)
        parts = self._dotted()
        path: Path = ()
        for n, (part, place) in enumerate(parts):
            path = (*path, part)
            self.places.keys.setdefault(path, place)
            if is_array and n == len(parts) - 1:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:  # a header names the newest table of an array
                path = (*path, self._lengths[path] - 1)
                self.places.keys.setdefault(path, place)
        self._table = path
        self._at += 2 if is_array else 1

    def _pair(self, table: Path) -> None:
        path = table
        for part, place in self._dotted():
            path = (*path, part)
            self.places.keys.setdefault(path, place)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _dotted(self) -> list[tuple[str, Place]]:
        """The parts of a key and the place of each; stops at the sign that ends it."""
        parts = []
        while True:
            place = self._here()
            parts.append((self._key(), place))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1
            self._skip(_SPACE)

    def _key(self) -> str:
        begin = self._at
        if self._text[begin] in "\"'":
            self._string()
            key: str = tomllib.loads(f"key = {self._text[begin : self._at]}")["key"]
            return key
        self._skip(_BARE_KEY)
        return self._text[begin : self._at]

    def _value(self, path: Path) -> None:
        self.places.values[path] = self._here()
        match self._text[self._at]:
            case '"' | "'":
                self._string()
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        index = 0
        while self._text[self._at] != "]":
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)

    def _string(self) -> None:
        for pattern in _STRINGS:
            if match := pattern.match(self._text, self._at):
                self._at = match.end()
                return
        raise AssertionError("tomllib accepted a string that does not end")

    def _here(self) -> Place:
        line = bisect_right(self._line_starts, self._at)
        return Place(line, self._at - self._line_starts[line - 1] + 1)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
