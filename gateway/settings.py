"""Settings of drivers and stages: the rules they are checked by, secrets, and building them from a plan.

A settings class is a frozen stdlib dataclass. The compile step checks what a person wrote against it
with pydantic and stores plain values in the plan; a worker builds the dataclass from those values
with `build_settings`, without pydantic.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from gateway.errors import ConfigError

T = TypeVar("T")

# What pydantic is told (it looks for `__pydantic_config__`): an unknown setting is an error, and
# "9600" is no number.
RULES: Final[Mapping[str, object]] = {"extra": "forbid", "strict": True}

_SECRET_MAX: Final = 4096  # bytes; a key or a password, never a file of something else


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a setting that holds a secret: `bindkey: Annotated[str, Secret()] = ""`.

    The site file and the plan then hold a reference, "file:/path" or "env:NAME"; only the worker
    that needs the secret reads it.
    """


def is_reference(text: str) -> bool:
    """True for "file:/absolute/path" and "env:NAME", the two ways to point at a secret."""
    scheme, _, place = text.partition(":")
    return (scheme == "file" and place.startswith("/")) or (scheme == "env" and place.isidentifier())


def secret_names(settings_type: type) -> frozenset[str]:
    """Names of the settings marked as Secret."""
    hints = get_type_hints(settings_type, include_extras=True)
    return frozenset(f.name for f in fields(settings_type) if _is_secret(hints[f.name]))


def fits_plan(settings: Any, plain: Mapping[str, Any]) -> bool:
    """Whether the plan's plain values give back these settings (secrets aside, they are references)."""
    hints = get_type_hints(type(settings), include_extras=True)
    return all(
        _is_secret(hints[f.name]) or _shaped(hints[f.name], plain[f.name]) == getattr(settings, f.name)
        for f in fields(settings)
    )


def build_settings(settings_type: type[T], plain: Mapping[str, Any]) -> T:
    """The settings dataclass from a plan's plain values, secrets read from where they are kept.

    JSON knows no tuples, so lists become tuples where the field says so. Raises ConfigError if a
    secret cannot be read or the values do not fit the class (the driver changed after the plan was made).
    """
    hints = get_type_hints(settings_type, include_extras=True)
    arguments = {}
    for name, value in plain.items():
        hint = hints.get(name, Any)
        if value and _is_secret(hint):
            arguments[name] = _read_secret(name, value)
        else:
            arguments[name] = _shaped(hint, value)
    try:
        return settings_type(**arguments)
    except (TypeError, ValueError) as error:
        kept = [plain[name] for name in sorted(secret_names(settings_type)) if plain.get(name)]
        look = f", or look into {' and '.join(kept)}" if kept else ""
        raise ConfigError(
            f"the plan does not fit {settings_type.__name__} ({error}); compile it again{look}"
        ) from None


def _is_secret(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(mark, Secret) or mark is Secret for mark in get_args(hint)[1:]
    )


def _shaped(hint: Any, value: Any) -> Any:
    """`value` with every list turned into the tuple its type hint asks for."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if not isinstance(value, list):
        return value
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_shaped(inner[0], each) for each in value)
        return tuple(_shaped(h, each) for h, each in zip(inner, value, strict=False))
    options = [h for h in get_args(hint) if get_origin(h) is tuple]  # tuple[...] | None
    return _shaped(options[0], value) if options else value


def _read_secret(name: str, reference: str) -> str:
    if not is_reference(reference):
        raise ConfigError(f'{name} must be a reference, "file:/path" or "env:NAME", not the secret itself')
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        if place not in os.environ:
            raise ConfigError(f"{name} is kept in the environment variable {place}, which is not set")
        return os.environ[place]
    try:
        with Path(place).open("rb") as file:
            raw = file.read(_SECRET_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{name} is kept in {place}, which cannot be read: {error.strerror}") from None
    if len(raw) > _SECRET_MAX:
        raise ConfigError(
            f"{name} is kept in {place}, which is over {_SECRET_MAX} bytes; is it the right file?"
        )
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is kept in {place}, which is not text") from None
