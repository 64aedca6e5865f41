"""What a person wrote against a settings dataclass: pydantic checks, this module finds the words.

Only the compile step and the schema import this; nothing that runs for long needs pydantic.
"""

import datetime as dt
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from gateway.errors import ConfigError
from gateway.plugins import nearest
from gateway.settings import fits_plan, is_reference, secret_names
from gateway.toml_keys import Path

_TYPES: Final[Mapping[str, str]] = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
}
_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda ctx: f"must be above {ctx['gt']:.12g}",
    "greater_than_equal": lambda ctx: f"must be {ctx['ge']:.12g} or more",
    "less_than": lambda ctx: f"must be below {ctx['lt']:.12g}",
    "less_than_equal": lambda ctx: f"must be {ctx['le']:.12g} or less",
    "multiple_of": lambda ctx: f"must be a multiple of {ctx['multiple_of']:.12g}",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "enum": lambda ctx: f"must be {ctx['expected']}",
    "string_pattern_mismatch": lambda ctx: f"must look like {ctx['pattern']}",
    "string_too_short": lambda ctx: f"must have {ctx['min_length']} characters or more",
    "string_too_long": lambda ctx: f"must have {ctx['max_length']} characters or fewer",
    "too_short": lambda ctx: f"must have {ctx['min_length']} entries or more",
    "too_long": lambda ctx: f"must have {ctx['max_length']} entries or fewer",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `path` leads to it; `on_key` points at the key instead of the value."""

    path: Path
    text: str
    on_key: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """Settings that passed: the dataclass, and the plain JSON values that go into the plan."""

    settings: Any
    plain: dict[str, Any]


def check_settings(
    settings_type: type,
    written: Mapping[str, Any],
    owner: str,
    beside: Collection[str] = (),
    spoken: Mapping[str, str] = MappingProxyType({}),
) -> Checked | list[Problem]:
    """Check `written` against a settings dataclass: the settings, or all problems at once.

    `owner` says whose settings these are ("driver 'sds011'"), `beside` which other keys may stand
    beside them, and `spoken` which fields have another name in the file. Paths in problems begin at
    the setting. Raises ConfigError if the class itself cannot be used.
    """
    problems = [p for name, value in written.items() for p in _not_plain((spoken.get(name, name),), value)]
    if problems:
        return problems
    adapter: TypeAdapter[Any] = TypeAdapter(settings_type)
    try:
        # Through JSON, because its strict mode takes a list for a tuple and text for an enum, but
        # still no "9600" for a number.
        settings = adapter.validate_json(json.dumps(written))
    except ValidationError as error:
        found = [_problem(e, settings_type, owner, beside, spoken) for e in error.errors(include_url=False)]
        return [p if p.path or p.on_key else replace(p, path=_blamed(p.text, written, spoken)) for p in found]
    problems = _literal_secrets(settings_type, settings)
    if problems:
        return problems
    plain: dict[str, Any] = adapter.dump_python(settings, mode="json")
    if not fits_plan(settings, plain):
        raise ConfigError(
            f"{owner} has settings that a plan cannot hold; use str, int, float, bool and tuples of them"
        )
    return Checked(settings, plain)


def shown(value: Any) -> str:
    """A value as it would stand in a TOML file, short enough for one line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _not_plain(path: Path, value: Any) -> list[Problem]:
    """Values TOML knows but no setting takes: dates, times, inf and nan."""
    if isinstance(value, dt.date | dt.time):
        return [Problem(path, f"{path[-1]} is a date or time; put it in quotes if it is meant as text")]
    if isinstance(value, float) and not math.isfinite(value):
        return [Problem(path, f"{path[-1]} must be a finite number, not {value}")]
    if isinstance(value, dict):
        return [p for key, each in value.items() for p in _not_plain((*path, key), each)]
    if isinstance(value, list):
        return [p for n, each in enumerate(value) for p in _not_plain((*path, n), each)]
    return []


def _blamed(text: str, written: Mapping[str, Any], spoken: Mapping[str, str]) -> Path:
    """Which value an error of __post_init__ is about: the only one written, or the only one it quotes.

    Such a rule looks at all settings, so pydantic cannot say. The empty path means the whole table.
    """
    quoted: list[Path] = []
    for name, value in written.items():
        path = (spoken.get(name, name),)
        if isinstance(value, list):
            quoted += [
                (*path, n) for n, each in enumerate(value) if isinstance(each, str) and repr(each) in text
            ]
        elif len(written) == 1 or (isinstance(value, str) and repr(value) in text):
            quoted.append(path)
    return quoted[0] if len(quoted) == 1 else ()


def _literal_secrets(settings_type: type, settings: Any) -> list[Problem]:
    # The text never repeats what was written: it may be the secret.
    return [
        Problem(
            (name,),
            f'{name} is a secret and must not stand in this file; refer to it: "file:/path" or "env:NAME"',
        )
        for name in sorted(secret_names(settings_type))
        if getattr(settings, name) and not is_reference(getattr(settings, name))
    ]


def _problem(
    error: Any, settings_type: type, owner: str, beside: Collection[str], spoken: Mapping[str, str]
) -> Problem:
    """One pydantic error in our words."""
    kind, ctx = error["type"], error.get("ctx", {})
    path = tuple(spoken.get(part, part) for part in error["loc"])
    if kind == "missing" and len(path) == 1:
        return Problem((), f"{owner} needs the setting {path[0]!r}", on_key=True)
    if kind == "unexpected_keyword_argument" and len(path) == 1:
        names = [*(spoken.get(f.name, f.name) for f in fields(settings_type)), *beside]
        return Problem(path, f"{owner} has no setting {path[0]!r}{nearest(path[0], names)}", on_key=True)
    if kind == "value_error":
        return Problem(path, str(ctx["error"]))
    name = ".".join(str(part) for part in path)
    if kind in _TYPES:
        text = _TYPES[kind]
    elif kind in _BOUNDS:
        text = _BOUNDS[kind](ctx)
    else:
        text = error["msg"].replace("Input should", "should", 1)
    if path and path[0] in secret_names(settings_type):
        return Problem(path, f"{name} {text}")  # what was written may be the secret
    return Problem(path, f"{name} {text}, not {shown(error['input'])}")
