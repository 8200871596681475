"""The JSON Schema of a world file, generated from the model: editors complete and check with it.

`python -m topology.schema` prints it; a test holds the committed `topology.schema.json` equal to that.
Draft 7, because the common YAML language server knows that one best. It says what one value may be;
what fits together (names, places, pairs) only `popnet validate` knows.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from msgspec import inspect

from topology.model import TARGETS, World
from topology.model_security import RULE_ACTIONS
from topology.model_timeline import ACTIONS
from topology.model_types import DURATION_PATTERN

Schema = dict[str, Any]

_EXACTLY_ONE = {
    "DnsName": TARGETS,
    "SecurityRule": RULE_ACTIONS,
    "TimelineEntry": ACTIONS,
}


def schema() -> Schema:
    """The whole schema."""
    definitions: Schema = {}
    root = inspect.type_info(World)
    assert isinstance(root, inspect.StructType)
    body = _struct(root, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "popnet world file",
        **body,
        "definitions": dict(sorted(definitions.items())),
    }


def rendered() -> str:
    """As committed."""
    return json.dumps(schema(), indent=2) + "\n"


def _struct(kind: inspect.StructType, definitions: Schema) -> Schema:
    required = [field.encode_name for field in kind.fields if field.required]
    body: Schema = {
        "description": (kind.cls.__doc__ or "").strip(),
        # `LHR:` with nothing behind it is an entry without keys.
        "type": "object" if required else ["object", "null"],
        "properties": {field.encode_name: _field(field, definitions) for field in kind.fields},
        "additionalProperties": False,
    }
    if required:
        body["required"] = required
    if kind.cls.__name__ in _EXACTLY_ONE:
        body["oneOf"] = [{"required": [key]} for key in _EXACTLY_ONE[kind.cls.__name__]]
    return body


def _field(field: inspect.Field, definitions: Schema) -> Schema:
    said = _schema(field.type, definitions)
    if isinstance(field.default, bool | int | float | str):
        said["default"] = field.default
    return said


def _schema(kind: inspect.Type, definitions: Schema) -> Schema:
    """Of one type, with the description, example and short forms that its annotations give it."""
    sugar = ""
    notes: Schema = {}
    while isinstance(kind, inspect.Metadata):
        sugar = (kind.extra or {}).get("sugar", sugar)
        # Outer annotations are written nearer to the field and win over inner ones.
        notes = {**(kind.extra_json_schema or {}), **notes}
        kind = kind.type
    body = _plain(kind, definitions)
    if sugar:
        body = _sweetened(body, sugar)
    if "$ref" in body and notes:
        body = {"allOf": [body]}  # draft 7 ignores what stands beside a $ref
    return {**notes, **body}


def _plain(kind: inspect.Type, definitions: Schema) -> Schema:
    match kind:
        case inspect.StructType():
            name = kind.cls.__name__
            if name not in definitions:
                definitions[name] = {}
                definitions[name] = _struct(kind, definitions)
            return {"$ref": f"#/definitions/{name}"}
        case inspect.UnionType():
            return _union([_schema(one, definitions) for one in kind.types])
        case inspect.DictType():
            body: Schema = {"type": ["object", "null"]}
            key = _schema(kind.key_type, definitions)
            if "pattern" in key:
                body["propertyNames"] = {"pattern": key["pattern"]}
            body["additionalProperties"] = _schema(kind.value_type, definitions)
            if kind.min_length:
                body["type"] = "object"
            return body | _limits(kind, "minProperties", "maxProperties")
        case inspect.VarTupleType():
            items = _schema(kind.item_type, definitions)
            limits = _limits(kind, "minItems", "maxItems")
            return {"type": "array" if limits else ["array", "null"], "items": items, **limits}
        case inspect.TupleType():
            members = [_schema(item, definitions) for item in kind.item_types]
            count = len(members)
            return {"type": "array", "items": members, "minItems": count, "maxItems": count}
        case inspect.LiteralType():
            return {"enum": list(kind.values)}
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.StrType():
            pattern = {"pattern": kind.pattern} if kind.pattern else {}
            return {"type": "string", **pattern, **_limits(kind, "minLength", "maxLength")}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.NoneType():
            return {"type": "null"}
    raise AssertionError(f"the model uses a type that the schema cannot say: {kind}")


def _union(members: list[Schema]) -> Schema:
    """`type: [number, null]` where that says it, `anyOf` where not; one description, at the top."""
    *said, last = members
    simple = all(set(member) & {"enum", "$ref", "anyOf", "allOf"} == set() for member in said)
    if len(said) == 1 and last == {"type": "null"} and simple:
        kinds = said[0]["type"]
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return {**said[0], "type": kinds if "null" in kinds else [*kinds, "null"]}
    return {"anyOf": members}


def _sweetened(body: Schema, sugar: str) -> Schema:
    """The same, or its short form."""
    if sugar == "duration":
        kinds = ["number", "string"]
        return {**body, "type": kinds, "pattern": DURATION_PATTERN}
    if sugar == "names":
        names = {"type": "string", **body["propertyNames"]}
        kinds, least = ["object", "array", "null"], {}
        if "minProperties" in body:
            kinds, least = kinds[:-1], {"minItems": body["minProperties"]}
        return {**body, "type": kinds, "items": names, "uniqueItems": True, **least}
    if sugar == "one":
        return {"anyOf": [body["items"], body]}
    if sugar == "pair":
        pair = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
        return {"anyOf": [*body["anyOf"], pair]}
    if sugar == "groups":
        return {"anyOf": [body, body["items"]]}
    assert sugar == "service"
    return {"anyOf": [{"type": "string"}, body]}


def _number(kind: inspect.IntType | inspect.FloatType) -> Schema:
    bounds = {
        "minimum": kind.ge,
        "exclusiveMinimum": kind.gt,
        "maximum": kind.le,
        "exclusiveMaximum": kind.lt,
    }
    name = "integer" if isinstance(kind, inspect.IntType) else "number"
    return {"type": name, **{key: _plain_number(v) for key, v in bounds.items() if v is not None}}


def _plain_number(value: float) -> float:
    """0 for 0.0: `typing` makes one of equal annotations, and which of the two stands there hangs on who came first."""
    return int(value) if value == int(value) else value


def _limits(
    kind: inspect.DictType | inspect.VarTupleType | inspect.StrType, least: str, most: str
) -> Schema:
    return {
        key: value
        for key, value in ((least, kind.min_length), (most, kind.max_length))
        if value is not None
    }


if __name__ == "__main__":
    sys.stdout.write(rendered())
