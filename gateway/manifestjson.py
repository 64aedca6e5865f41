"""Reads a JSON object key by key, strictly: each key once, of its type, within bounds, and none left over."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import BundleError

_TEXT_MAX: Final = 2_000
_FIGURES_MAX: Final = 512

whole: Final = int  # a whole number; never a bool, as types are compared exactly


class Table:
    """One object of a JSON document. `path` says where it stands, for error texts. Raises BundleError."""

    def __init__(self, plain: Any, path: str) -> None:
        if type(plain) is not dict:
            raise BundleError(f"{path or 'the manifest'} must be an object in braces, not {plain!r:.40}")
        self.path = path
        self._left: dict[str, Any] = dict(plain)

    @classmethod
    def parse(cls, content: bytes) -> "Table":
        """The object that a whole document is. A key that stands twice, NaN and Infinity are refused."""
        try:
            plain = json.loads(
                content.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_such_number
            )
        except (ValueError, RecursionError) as error:
            raise BundleError(f"is not JSON ({error!s:.200}); install the bundle again") from error
        return cls(plain, "")

    def has(self, key: str) -> bool:
        """Whether the key is there and was not taken yet."""
        return key in self._left

    def take(self, key: str, kind: type) -> Any:
        """The value of a key, which must be of just this type."""
        if key not in self._left:
            raise BundleError(f"{self._at(key)} is missing")
        value = self._left.pop(key)
        if type(value) is not kind:
            raise BundleError(f"{self._at(key)} must be {_KINDS[kind]}, not {value!r:.40}")
        return value

    def table(self, key: str) -> "Table":
        """The object under a key."""
        return Table(self.take(key, dict), self._at(key))

    def tables(self, key: str, least: int, most: int) -> "list[Table]":
        """The list of objects under a key."""
        values = self._list(key, least, most)
        return [Table(value, f"{self._at(key)}[{index}]") for index, value in enumerate(values)]

    def text(self, key: str) -> str:
        """A text that says something."""
        return _checked_text(self.take(key, str), self._at(key))

    def matching(self, key: str, pattern: re.Pattern[str], wanted: str) -> str:
        """A text of a certain form; `wanted` describes it."""
        value: str = self.take(key, str)
        if not pattern.fullmatch(value):
            raise BundleError(f"{self._at(key)} must be {wanted}, not {value!r:.60}")
        return value

    def between(self, key: str, low: int, high: int) -> int:
        """A whole number within bounds."""
        value: int = self.take(key, whole)
        if not low <= value <= high:
            raise BundleError(f"{self._at(key)} must lie between {low} and {high}, not {value!r:.40}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number within bounds; a whole one will do."""
        if key not in self._left:
            raise BundleError(f"{self._at(key)} is missing")
        return _checked_number(self._left.pop(key), self._at(key), low, high)

    def numbers(self, key: str, low: float, high: float) -> tuple[float, ...]:
        """A list of finite numbers within bounds."""
        values = self._list(key, 1, 64)
        return tuple(
            _checked_number(value, f"{self._at(key)}[{index}]", low, high)
            for index, value in enumerate(values)
        )

    def texts(self, key: str, least: int, most: int) -> tuple[str, ...]:
        """A list of texts."""
        values = self._list(key, least, most)
        return tuple(_checked_text(value, f"{self._at(key)}[{index}]") for index, value in enumerate(values))

    def figures(self, key: str) -> Mapping[str, Any]:
        """Numbers, or null where nothing could be measured, by name; names may be grouped in objects."""
        found = self.take(key, dict)
        _check_figures(found, self._at(key), _FIGURES_MAX)
        checked: Mapping[str, Any] = found
        return checked

    def end(self) -> None:
        """Nothing may be left over."""
        if self._left:
            raise BundleError(f"unknown key {self._at(min(self._left))!r:.80}; this gateway does not know it")

    def _list(self, key: str, least: int, most: int) -> list[Any]:
        values: list[Any] = self.take(key, list)
        if not least <= len(values) <= most:
            raise BundleError(f"{self._at(key)} must have {least} to {most} entries, not {len(values)}")
        return values

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


_KINDS: Final = {
    int: "a whole number",
    str: "a text",
    list: "a list in brackets",
    dict: "an object in braces",
}


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.60} stands twice")
    return found


def _no_such_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _checked_number(value: Any, path: str, low: float, high: float) -> float:
    if type(value) not in {int, float} or not low <= value <= high:  # a NaN lies nowhere
        raise BundleError(f"{path} must be a number between {low:g} and {high:g}, not {value!r:.40}")
    return float(value)


def _checked_text(value: Any, path: str) -> str:
    if type(value) is not str or not value.strip() or len(value) > _TEXT_MAX or not value.isprintable():
        raise BundleError(f"{path} must be a text of one line that says something, not {value!r:.40}")
    text: str = value
    return text


def _check_figures(plain: Mapping[str, Any], path: str, room: int) -> int:
    for name, value in plain.items():
        room -= 1
        if room < 0:
            raise BundleError(f"figures has more than {_FIGURES_MAX} entries; the rest belongs in card.md")
        if type(value) is dict and path.count(".") < 3:
            room = _check_figures(value, f"{path}.{name}", room)
        elif value is not None:
            _checked_number(value, f"{path}.{name!r:.60}", -1e18, 1e18)
    return room
