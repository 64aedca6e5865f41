"""The site file as a JSON Schema (draft 2020-12), with the settings of every installed driver, for editors.

As a program, `python -m gateway.schema` prints it; `gateway schema` runs that in a child, because it
loads every driver. A driver that cannot be loaded is left out and named on stderr.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, Final

from pydantic import TypeAdapter

from gateway.compile import answer_alone
from gateway.errors import ConfigError, GatewayError
from gateway.measureconfig import KEYS as MEASURE_KEYS
from gateway.plan import CALIBRATION_ID, SpoolPlan
from gateway.plugins import DRIVERS, STAGES, Plugin, asking, found
from gateway.ports.url import SCHEMES, port_schemes
from gateway.reading import NAME, SENSOR_NAME
from gateway.ruleconfig import REST_S
from gateway.settings import secret_names
from gateway.spoolconfig import QUOTA_MAX, QUOTA_MIN, RESERVE_MAX

_NAME: Final = f"^{SENSOR_NAME.pattern}$"
_SECRET: Final = "^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"  # noqa: S105  a pattern, not a secret


def site_schema(drivers: Iterable[Plugin], stages: Iterable[Plugin]) -> dict[str, Any]:
    """The schema for these drivers and stages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pole-gateway site file",
        "type": "object",
        "required": ["box", "state"],
        "additionalProperties": False,
        "properties": {
            "box": {"type": "string", "pattern": _NAME, "description": "The box's name at the hub."},
            "state": {"type": "string", "minLength": 1, "description": "Folder for its keys and records."},
            "spool": _spool(SpoolPlan()),
            "sensor": {
                "type": "object",
                "propertyNames": {"pattern": _NAME},
                "additionalProperties": {"oneOf": list(_loaded(drivers, _driver))},
            },
            "rule": {
                "type": "object",
                "propertyNames": {"pattern": _NAME},
                "additionalProperties": _rule(),
            },
        },
        "$defs": {"stages": {"type": "array", "items": {"oneOf": list(_loaded(stages, _stage))}}}
        | _measures(),
    }


def _spool(default: SpoolPlan) -> dict[str, Any]:
    mib = {"type": "integer"}
    four = {
        "type": "array",
        "prefixItems": [
            mib | {"minimum": low, "maximum": high} for low, high in zip(QUOTA_MIN, QUOTA_MAX, strict=True)
        ],
        "minItems": 4,
        "maxItems": 4,
    }
    lanes = "for alerts, state, telemetry and bulk"
    quota = {"default": list(default.quota_mib), "description": f"The most MiB on disk {lanes}."}
    floor = {"default": list(default.floor_mib), "description": f"MiB no other lane takes away, {lanes}."}
    reserve = {
        "minimum": 0,
        "maximum": RESERVE_MAX,
        "description": "MiB to leave free; a twentieth of the disk where not given.",
    }
    properties = {"quota_mib": four | quota, "floor_mib": four | floor, "reserve_mib": mib | reserve}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _rule() -> dict[str, Any]:
    """One local rule; which sensors, events and commands there are, only `gateway check` knows."""
    text = {"type": "string"}
    span = text | {"pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|min|h)\s*$"}
    properties = {
        "when": text | {"description": 'Like "mic.gunshot" or "river.water_level > 2.5".'},
        "do": text | {"description": 'A command of a sensor, like "lamp.on".'},
        "with": {"type": "object", "additionalProperties": {"type": "number"}},
        "raise": text | {"description": "An event of the sensor that triggered, in place of do."},
        "back": {"type": "number", "description": "Where the value counts as back."},
        "hold": span | {"description": "How long the level must last."},
        "rest": span | {"default": f"{REST_S:g} s", "description": "How long it does nothing after a deed."},
    }
    either = [{"required": ["do"]}, {"required": ["raise"]}]
    return {
        "type": "object",
        "required": ["when"],
        "oneOf": either,
        "additionalProperties": False,
        "properties": properties,
    }


def _measures() -> dict[str, Any]:
    """What a sensor's entry says of its measures (gateway.measureconfig); a day is text to JSON."""
    day = {"type": "string", "format": "date"}
    number = {"type": "number"}
    calibration = {
        "measure": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "gain": number | {"default": 1.0, "not": {"const": 0}},
        "offset": number | {"default": 0.0, "description": "truth = gain * what the sensor says + offset"},
        "date": day,
        "id": {"type": "string", "pattern": f"^{CALIBRATION_ID.pattern}$"},
        "due": day,
    }
    item = {"type": "object", "required": ["measure", "date", "id"], "additionalProperties": False}
    names = {"type": "object", "propertyNames": {"pattern": f"^{NAME.pattern}$"}}
    still = {"type": "string", "description": 'How long it may stand still, like "12 h", or "off".'}
    drift = {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "off"}],
        "description": "How far it may drift.",
    }
    return {
        "calibration": {"type": "array", "items": item | {"properties": calibration}},
        "still": names | {"additionalProperties": still},
        "drift": names | {"additionalProperties": drift},
        "reference": {"type": "string", "pattern": _NAME, "description": "The sensor that says the truth."},
    }


def _loaded(
    plugins: Iterable[Plugin], make: Callable[[Plugin, Any], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for plugin in plugins:
        try:
            with asking(plugin):
                schema = make(plugin, plugin.load())
        except ConfigError as error:
            sys.stderr.write(f"left out: {error}\n")
        else:
            yield schema


def _driver(plugin: Plugin, driver: Any) -> dict[str, Any]:
    """One sensor with this driver: its settings beside the words every sensor has."""
    schema = settings_schema(driver.settings_type())
    schemes = "|".join(port_schemes(driver.kind)) if driver.kind in SCHEMES else "replay"
    own = {
        "driver": {"const": plugin.name},
        "port": {"type": "string", "pattern": f"^({schemes}):.+"},
        "stages": {"$ref": "#/$defs/stages"},
    } | {key: {"$ref": f"#/$defs/{key}"} for key in MEASURE_KEYS}
    return {
        "title": f"{plugin.name} ({plugin.distribution})",
        "description": (driver.__doc__ or "").strip(),
        "type": "object",
        "required": ["driver", "port", *schema.get("required", [])],
        "additionalProperties": False,
        "properties": own | schema["properties"],
    }


def _stage(plugin: Plugin, stage: Any) -> dict[str, Any]:
    """One entry of `stages`; the first field of the settings goes by the stage's name."""
    schema = settings_schema(stage.settings_type)
    names = {f.name: f.name for f in fields(stage.settings_type)}
    if names:
        names[next(iter(names))] = plugin.name
    return {
        "title": plugin.name,
        "description": (stage.settings_type.__doc__ or "").strip(),
        "type": "object",
        "required": sorted({plugin.name} | {names[name] for name in schema.get("required", [])}),
        "additionalProperties": False,
        "properties": {names[name]: rule for name, rule in schema["properties"].items()},
    }


def settings_schema(settings_type: type) -> dict[str, Any]:
    """Pydantic's schema of a settings dataclass, whole in itself, secrets as references."""
    schema: dict[str, Any] = TypeAdapter(settings_type).json_schema()
    schema.setdefault("properties", {})
    for name in secret_names(settings_type):
        schema["properties"][name] |= {
            "pattern": _SECRET,
            "description": "A reference, file:/path or env:NAME.",
        }
    if "$defs" in schema:
        raise ConfigError(f"{settings_type.__name__} nests a type; settings are flat")
    return schema


def main() -> int:
    """The child: print the schema for all that is installed."""
    with answer_alone() as answer:
        schema = site_schema(found(DRIVERS).values(), found(STAGES).values())
        answer.write(json.dumps(schema, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(os.EX_DATAERR)
