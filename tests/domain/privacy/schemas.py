"""A strict reader of the few words of JSON Schema (2020-12) that our published schemas use; any other word is an error."""

import json
import re
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
ABOUT = {"$schema", "$id", "title", "description"}
KNOWN = ABOUT | {
    "type", "const", "enum", "required", "properties", "additionalProperties", "items", "pattern",
}  # fmt: skip


def published(name: str) -> dict[str, Any]:
    """A schema of docs/schemas."""
    read: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return read


def faults(schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """Where a value is not as its schema says, in words; an empty list when it is."""
    assert set(schema) <= KNOWN, f"{at}: this reader does not know {set(schema) - KNOWN}"
    found = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{at} is not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at} is none of {schema['enum']}: {value}")
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted or []
    if names and not any(type(value) in TYPES[name] for name in names):
        return [*found, f"{at} is a {type(value).__name__}, not {names}"]
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at} is not like {schema['pattern']}")
    if isinstance(value, dict):
        found += _of_object(schema, value, at)
    for place, item in enumerate(value if isinstance(value, list) and "items" in schema else []):
        found += faults(schema["items"], item, f"{at}[{place}]")
    return found


def _of_object(schema: dict[str, Any], value: dict[str, Any], at: str) -> list[str]:
    known = schema.get("properties", {})
    found = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
    if schema.get("additionalProperties") is False:
        found += [f"{at}.{name} is not in the schema" for name in value if name not in known]
    for name, part in known.items():
        if name in value:
            found += faults(part, value[name], f"{at}.{name}")
    return found
