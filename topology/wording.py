"""What may stand in a place of a world file, in words, from the types of the model."""

from __future__ import annotations

from msgspec import inspect

from topology.model_types import DURATION_UNITS, PATTERNS
from topology.problems import either


def unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type without its annotations, and the short form that they allow it."""
    sugar = ""
    while isinstance(kind, inspect.Metadata):
        sugar = (kind.extra or {}).get("sugar", sugar)
        kind = kind.type
    return kind, sugar


DURATION_ALLOWED = "a duration such as 250ms, 3s or 1m, or a number of seconds"


def allowed(kind: inspect.Type) -> str:
    """What may stand there, in words."""
    kind, sugar = unwrapped(kind)
    if sugar == "duration" and isinstance(kind, inspect.FloatType):
        return DURATION_ALLOWED.replace("such", f"{_span(kind)}such")
    if sugar in SUGAR_ALLOWED:
        least = isinstance(kind, inspect.DictType) and kind.min_length
        return SUGAR_ALLOWED[sugar] + (" of at least one" if least else "")
    match kind:
        case inspect.UnionType():
            words = [allowed(one) for one in kind.types if not isinstance(one, inspect.NoneType)]
            return either(words)
        case inspect.LiteralType():
            return either(str(choice) for choice in kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _bounds(kind)
        case inspect.FloatType():
            return "a number" + _bounds(kind)
        case inspect.StrType():
            most = f" of at most {kind.max_length} characters" if kind.max_length else ""
            return PATTERNS.get(
                kind.pattern or "", f"text like {kind.pattern}" if kind.pattern else f"text{most}"
            )
        case inspect.StructType():
            return f"a mapping with {either((f.encode_name for f in kind.fields), 40)}"
        case inspect.DictType():
            exactly = " with one key" if kind.max_length == 1 else ""
            some = " of at least one" if kind.min_length and not exactly else ""
            return f"a mapping{exactly}{some}"
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)}, each {allowed(kind.item_types[0])}"
        case inspect.VarTupleType():
            return f"a list{' of at least one' if kind.min_length else ''}, each {allowed(kind.item_type)}"
        case _:
            return "a value"


SUGAR_ALLOWED = {
    "duration": DURATION_ALLOWED,
    "names": "a mapping or a list of names",
    "pair": "[A, B], or a mapping with from, to or both",
    "service": "hello, a URL such as http://localhost:8000, or a mapping with command and url",
}


def _span(kind: inspect.FloatType) -> str:
    """The bounds of a duration, in its units; that it is not negative goes without saying."""
    least = _spelled(kind.ge) if kind.ge else ""
    if kind.le is None:
        above = "" if kind.gt is None else f"above {_plain(kind.gt)} "
        return f"of at least {least} " if least else above
    return f"from {least} to {_spelled(kind.le)} " if least else f"up to {_spelled(kind.le)} "


def _spelled(seconds: float) -> str:
    """In the largest unit of which it is a whole number, as a file would say it."""
    for unit, size in sorted(DURATION_UNITS.items(), key=lambda each: -each[1]):
        number = round(seconds / size, 9)
        if number == int(number):
            return f"{int(number)}{unit}"
    return f"{seconds:g}s"


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    least, above, most = _plain(kind.ge), _plain(kind.gt), _plain(kind.le)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    low = f" of at least {least}" if least is not None else ""
    if above is not None:
        low = f" above {above}"
    return low if most is None else f"{low} up to {most}"


def _plain(bound: float | None) -> float | None:
    """0 for 0.0: see `topology.schema`, where it is done for the same reason."""
    return int(bound) if bound is not None and bound == int(bound) else bound
