"""What is wrong with a site file, collected: every error has its place, and none hides the next."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gateway.errors import ConfigError
from gateway.toml_keys import Path, Places
from gateway.validate import Problem, shown


class SiteErrors(ConfigError):
    """All that is wrong with one site file, in the order in which it stands there, one error a line."""

    def __init__(self, errors: Collection[ConfigError]) -> None:
        self.errors = tuple(sorted(errors, key=_line_and_column))
        super().__init__("\n".join(str(error) for error in self.errors))


class Findings:
    """Collects errors while a site file is read, and reads its tables and texts on the way."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.errors: list[ConfigError] = []

    def at_key(self, path: Path, text: str) -> None:
        """Note that the key itself is wrong (unknown, misspelt, or what it should hold is missing)."""
        self.errors.append(ConfigError(text, self._places.key(path)))

    def at_value(self, path: Path, text: str) -> None:
        """Note that the value behind a key is wrong."""
        self.errors.append(ConfigError(text, self._places.value(path)))

    def add(self, path: Path, problems: Iterable[Problem]) -> None:
        """Note the problems of some settings, whose paths begin at `path`."""
        for problem in problems:
            note = self.at_key if problem.on_key else self.at_value
            note((*path, *problem.path), problem.text)

    def table(self, written: Any, path: Path, otherwise: str) -> Mapping[str, Any] | None:
        """`written` if it is a table; else None and an error that ends in `otherwise`."""
        if isinstance(written, dict):
            return written
        self.at_key(path, f"{path[-1]!r} must be a table, not {shown(written)}; {otherwise}")
        return None

    def text(self, table: Mapping[str, Any], path: Path, key: str, otherwise: str) -> str | None:
        """The text behind a key that must be there; else None and an error that ends in `otherwise`."""
        if key not in table:
            owner = f"sensor {path[-1]!r}" if path else "the site file"
            self.at_key(path, f"{owner} needs the key {key!r}: {otherwise}")
            return None
        value = table[key]
        if isinstance(value, str) and value and value.isprintable():
            return value
        if value == "":
            self.at_value((*path, key), f"{key} is empty: {otherwise}")
            return None
        self.at_value((*path, key), f"{key} must be text in quotes, not {shown(value)}")
        return None


def _line_and_column(error: ConfigError) -> tuple[int, int]:
    *_, line, column = ["0", "0", *error.where.split(":")]
    return (int(line), int(column)) if line.isdigit() and column.isdigit() else (0, 0)
