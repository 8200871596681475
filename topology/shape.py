"""Checks the values of a document against the model, all of them, and writes short forms out in full.

msgspec would stop at the first wrong value and knows no lines. This walk notes every problem and leaves
what is wrong out, so that the checks of meaning (`topology.references`) can still look at the rest.

Short forms (`Meta.extra["sugar"]`): `duration` 3s; `names` a list for a mapping of empty entries; `one` a
member for a list of one; `pair` [A, B] for {from: A, to: B}; `groups` one list for a list of one list;
`service` hello, or a URL.
"""

from __future__ import annotations

import re
from functools import cache
from math import isfinite
from typing import Any, Final

from msgspec import inspect

from topology.document import BROKEN, Document, Path
from topology.model_types import DURATION_PATTERN, DURATION_UNITS
from topology.problems import either, near_miss, shown
from topology.wording import allowed, unwrapped

DROP: Final = object()
_DURATION = re.compile(r"\s*([0-9.]+)\s*([a-z]+)\s*")


def shaped(document: Document, model: type) -> dict[str, Any]:
    """The document's root as `msgspec.convert` takes it, without whatever was wrong."""
    root = _structure(model)
    if not isinstance(document.data, dict):
        document.problem((), shown(document.data), "a mapping that begins with popnet: 1")
        return {}
    cleaned, _ = _fields(document.data, root, (), document)
    return cleaned


@cache
def _structure(model: type) -> inspect.StructType:
    """Ten milliseconds' work: more than all the rest for a small file."""
    root = inspect.type_info(model)
    assert isinstance(root, inspect.StructType)
    return root


@cache
def _by_name(model: type) -> dict[str, inspect.Field]:
    return {field.encode_name: field for field in _structure(model).fields}


def _walk(value: Any, kind: inspect.Type, path: Path, document: Document) -> Any:
    """The value in full, or DROP after noting why."""
    if value is BROKEN:
        return DROP
    written, (kind, sugar) = kind, unwrapped(kind)
    if sugar:
        value = _sweetened(value, sugar, written, path, document)
        if value is DROP:
            return DROP
        if value is not None and not _is_of(value, kind):
            return _wrong(value, written, path, document)
    match kind:
        case inspect.UnionType():
            return _union(value, kind, path, document)
        case inspect.StructType():
            return _struct({} if value is None else value, kind, path, document)
        case inspect.DictType():
            return _dict({} if value is None else value, kind, path, document)
        case inspect.VarTupleType() | inspect.TupleType():
            return _list([] if value is None else value, kind, path, document)
        case _:
            return _scalar(value, kind, written, path, document)


def _wrong(value: Any, kind: inspect.Type, path: Path, document: Document, hint: str = "") -> Any:
    document.problem(path, shown(value), allowed(kind), hint)
    return DROP


def _struct(value: Any, kind: inspect.StructType, path: Path, document: Document) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, kind, path, document)
    cleaned, complete = _fields(value, kind, path, document)
    return cleaned if complete else DROP


def _fields(
    value: dict[str, Any], kind: inspect.StructType, path: Path, document: Document
) -> tuple[dict[str, Any], bool]:
    """What is right, and whether all that is required is there."""
    fields = _by_name(kind.cls)
    cleaned, complete = {}, True
    for key, inner in value.items():
        here = (*path, key)
        if key not in fields:
            hint = near_miss(key, fields)
            document.problem(here, "an unknown key", either(fields, 40), hint, at_key=True)
            continue
        result = _walk(inner, fields[key].type, here, document)
        if result is not DROP:
            cleaned[key] = result
        elif fields[key].required:
            complete = False
    for key, field in fields.items():
        if field.required and key not in value:
            document.problem((*path, key), "no such key", f"{allowed(field.type)}; it is required")
            complete = False
    return cleaned, complete


def _dict(value: Any, kind: inspect.DictType, path: Path, document: Document) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, kind, path, document)
    if not _length_fits(value, kind):
        return _wrong_length(value, kind, path, document)
    cleaned = {}
    for key, inner in value.items():
        here = (*path, key)
        name, _ = unwrapped(kind.key_type)
        if isinstance(name, inspect.StrType) and not _matches(key, name):
            document.problem(here, shown(key), allowed(name), at_key=True)
            continue
        result = _walk(inner, kind.value_type, here, document)
        if result is not DROP:
            cleaned[key] = result
    return cleaned if _length_fits(cleaned, kind) else DROP


def _list(
    value: Any, kind: inspect.VarTupleType | inspect.TupleType, path: Path, document: Document
) -> Any:
    if not isinstance(value, list):
        return _wrong(value, kind, path, document)
    if isinstance(kind, inspect.TupleType):
        kinds = list(kind.item_types)
        if len(kinds) != len(value):
            document.problem(path, f"a list of {len(value)}", allowed(kind))
            return DROP
    else:
        kinds = [kind.item_type] * len(value)
        if not _length_fits(value, kind):
            return _wrong_length(value, kind, path, document)
    results = [
        _walk(inner, item, (*path, i), document)
        for i, (inner, item) in enumerate(zip(value, kinds, strict=True))
    ]
    if isinstance(kind, inspect.TupleType):
        return DROP if DROP in results else results
    document.indices[path] = [i for i, result in enumerate(results) if result is not DROP]
    kept = [result for result in results if result is not DROP]
    return kept if _length_fits(kept, kind) else DROP


def _union(value: Any, kind: inspect.UnionType, path: Path, document: Document) -> Any:
    if value is None and any(isinstance(one, inspect.NoneType) for one in kind.types):
        return None
    fitting = [one for one in kind.types if _is_of(value, one)]
    for one in fitting:
        # Where several forms would do (a rate, or `unlimited`), the message must name them all.
        plain = unwrapped(one)[0]
        if not isinstance(plain, inspect.IntType | inspect.FloatType) or isinstance(value, str):
            return _walk(value, one, path, document)
        if within(value, plain):
            return value
    return _wrong(value, kind, path, document)


def _scalar(
    value: Any, kind: inspect.Type, written: inspect.Type, path: Path, document: Document
) -> Any:
    """Of `kind`; `written` has its annotations, for the message."""
    if isinstance(kind, inspect.LiteralType):
        if not any(value == choice and type(value) is type(choice) for choice in kind.values):
            words = [choice for choice in kind.values if isinstance(choice, str)]
            return _wrong(value, written, path, document, near_miss(str(value), words))
        return value
    if not _is_of(value, kind):
        return _wrong(value, written, path, document)
    if isinstance(kind, inspect.StrType) and not _matches(value, kind):
        return _wrong(value, written, path, document)
    if isinstance(kind, inspect.IntType | inspect.FloatType) and not within(value, kind):
        return _wrong(value, written, path, document)
    return value


def _is_of(value: Any, kind: inspect.Type) -> bool:
    """Whether the value is of the YAML kind that this type is written as."""
    kind, sugar = unwrapped(kind)
    match kind:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            if sugar == "duration" and isinstance(value, str):
                return True
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.LiteralType():
            return any(type(value) is type(choice) for choice in kind.values)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.VarTupleType() | inspect.TupleType():
            return isinstance(value, list)
        case inspect.UnionType():
            return any(_is_of(value, one) for one in kind.types)
        case _:
            return False


def within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _wrong_length(value: Any, kind: inspect.Type, path: Path, document: Document) -> Any:
    document.problem(path, f"{len(value) or 'nothing'} in it", allowed(kind))
    return DROP


def _matches(value: str, kind: inspect.StrType) -> bool:
    return _length_fits(value, kind) and (
        kind.pattern is None or re.search(kind.pattern, value) is not None
    )


def _length_fits(
    value: Any, kind: inspect.DictType | inspect.VarTupleType | inspect.StrType
) -> bool:
    most = kind.max_length
    return len(value) >= (kind.min_length or 0) and (most is None or len(value) <= most)


def _sweetened(value: Any, sugar: str, kind: inspect.Type, path: Path, document: Document) -> Any:
    """A short form written out. What is none passes unchanged, for the type to judge."""
    match sugar, value:
        case "duration", str():
            if not re.search(DURATION_PATTERN, value):
                return _wrong(value, kind, path, document)
            number, unit = re.fullmatch(_DURATION, value).groups()  # type: ignore[union-attr]
            seconds = round(float(number) * DURATION_UNITS[unit], 9)
            if not isfinite(seconds):
                document.problem(path, shown(value), "a finite duration")
                return DROP
            plain = unwrapped(kind)[0]
            if isinstance(plain, inspect.FloatType) and not within(seconds, plain):
                return _wrong(value, kind, path, document)
            return seconds
        case "names", list():
            return _named(value, path, document)
        case "one", str():
            document.values[(*path, 0)] = document.spot(path)
            return [value]
        case "pair", [_, _]:
            for i, name in enumerate(("from", "to")):
                document.values[(*path, name)] = document.spot((*path, i))
            return {"from": value[0], "to": value[1]}
        case "groups", [str(), *_]:
            for i in range(len(value)):
                document.values[(*path, 0, i)] = document.spot((*path, i))
            return [value]
        case "service", str():
            document.values[(*path, "url")] = document.spot(path)
            return {"hello": True} if value == "hello" else {"url": value}
    return value


def _named(value: list[Any], path: Path, document: Document) -> Any:
    names: dict[str, Any] = {}
    for i, name in enumerate(value):
        spot = document.spot((*path, i))
        if not isinstance(name, str):
            document.problem((*path, i), shown(name), "a name")
        elif name in names:
            first = document.spot((*path, name))[0]
            document.problem(
                (*path, i), f"{shown(name)} a second time", f"once, as in line {first}"
            )
        else:
            names[name] = {}
            document.keys[(*path, name)] = document.values[(*path, name)] = spot
    return names if names or not value else DROP
