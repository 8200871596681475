"""A world document made of bytes, and bytes made of one: every byte chooses what a person may write at that place.

The model says what may stand where, so that almost every input has keys that exist and values of the right kind, and
gets past the shape into the checks of meaning. The nodes are those of the YAML library, which would take a hundred
times as long to make them of text; its own part is harness `yaml`.

The first byte chooses the writer. An even one writes with care, names only what there is, puts no key twice: mostly a
world, which gets as far as the plan. With the other, bytes may also choose what is wrong at a place: another kind of
value, an unknown key, a key twice, an alias, a merge, a tag, any text.

At any place a byte below ORDINARY chooses a value as the type has it, one above it something else (`_other`). Members
of mappings and lists follow one another, each after its key or a byte that is not END.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache, lru_cache
from typing import Any

from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tag import Tag

from topology.model import World
from topology.model_types import ASSERTION_PATTERN, NAME_PATTERN
from topology.shape import within
from topology.wording import unwrapped

END = 0
ORDINARY = 0xF0


class _Code(IntEnum):
    """What stands at a place that is not what the type says. TEXT is in quotes, PLAIN is not."""

    ALIAS = 0xF0
    TEXT = 0xF1
    PLAIN = 0xF2
    TAGGED = 0xF3
    MAPPING = 0xF4
    SEQUENCE = 0xF5
    WORD = 0xF6
    MERGE = 0xF7  # among keys only, as NODE is
    NODE = 0xF8
    NULL = 0xFF  # and all others


_TAG = "tag:yaml.org,2002:"
_TAGS = [_TAG + name for name in ("str", "int", "float", "bool", "null", "merge", "binary")] + [
    "!x"
]

# What people write where the type alone says little; also what they should not.
NAMES = (
    *("LHR", "FRA", "NRT", "IAD", "tokyo", "london", "sao-paulo", "dublin", "app", "web", "A", "x"),
    *("x1", "lab", "Tokyo", "lhr", "springfield", "valencia", "LHX", "tokio", "", "a b", "-"),
    *("a" * 33, "wan", "\n", "é", "dubln", "one"),
)
TEXTS = {
    NAME_PATTERN: NAMES,
    ASSERTION_PATTERN: ("availability >= 99.9%", "p99 < 300ms", "loss within 5s", "x", "a==1"),
    "^[/*]": ("/", "*", "/admin/*", "/%2e%2e/", "x"),
    "^/": ("/", "/health", "x"),
    "^[1-5]([0-9][0-9]|xx)$": ("200", "2xx", "999", "5xx"),
    "^https?://": (
        *("https://app.example.com/", "http://app.example.com/{size}", "http://[x", "http://"),
        *("https://APP.example.com:0/", "http://app.example.com:99999/", "ftp://x"),
    ),
    "^[A-Z]+$": ("GET", "POST", "get"),
    "^[a-z][a-z0-9_]*$": ("cubic", "bbr", "BBR"),
    "^[A-Za-z0-9_-]{1,40}$": ("popnet", "a b"),
}
ANY_TEXT = (
    *("app.example.com", "www.example.com", "App.Example.com", "a.argotunnel.com", "a", "a..b"),
    *("one-relay", "lowest-rtt", "k-disjoint", "no-such", "decide.py", "no.py", "/dev/zero", ""),
    *("matrix.csv", "keys.json", '{"keys": [{}]}', '{"keys": []}', "{", ".", "\0", "\ud800", "\n"),
    *("hello", "http://localhost:8000", "http://[", "unix:/x", "http_status:404", "hello_world"),
    *("100.64.0.0/10", "100.64.0.1/10", "::1", "1.2.3", "address", "header:x-a", "all", "JP", "*"),
    *("ewma", "last", "min", "quantile", "median", "mean_deviation", "x" * 61, "tokyo", "berlin"),
)
INTEGERS = (
    *("0", "1", "2", "3", "16", "32", "33", "404", "576", "1500", "65535", "65536", "-1", "0x10"),
    *("9223372036854775807", "9223372036854775808", "1_0", "600", ""),
)
REALS = (
    *("0.0", "0.5", "1.0", "1e-320", "1.7e308", "1e309", ".inf", ".nan", "-0.0", "-1e300", "99.9"),
    *("180.5", "1e-6"),
)
DURATIONS = (
    *("3s", "250ms", "1m", "1us", "0s", "0.0000001us", "9" * 400 + "s", "1h ", "s", "3 s", "-1s"),
)

# What a careful writer names, below these keys, and calls these things.
_POPS, _CITIES, _SITES, _TUNNELS = ("LHR", "FRA", "NRT"), ("tokyo",), ("dublin",), ("app",)
REFERENCES = {
    **dict.fromkeys(
        ("from", "to", "cut", "kill", "pause", "vanish", "partition", "neighbors"), _POPS
    ),
    **dict.fromkeys(("rtt_ms", "one_way_ms", "pin", "access"), _POPS),
    **dict.fromkeys(("tunnel", "fallback", "pool"), _TUNNELS),
    **dict.fromkeys(("visitors", "visitor", "city"), _CITIES),
    "site": _SITES,
    "load_balancer": ("both",),
    "of": ("lab",),
    "algorithm": ("one-relay", "lowest-rtt", "direct", "decide.py"),
    "beside": ("one-relay", "lowest-rtt"),
    "estimator": ("last", "ewma", "min", "median"),
    "jwks": ("keys.json", '{"keys": [{}]}'),
    "rtt_csv": ("matrix.csv",),
    "url": ("https://app.example.com/", "http://app.example.com/"),
    "mix": ("https://app.example.com/", "http://app.example.com/"),
    "address": ("100.64.0.0/10", "::1"),
    "name": ("careful",),
    "source": ("",),
}
CALLED = {
    "Pop": _POPS,
    "Visitor": _CITIES,
    "Site": _SITES,
    "Tunnel": _TUNNELS,
    "LoadBalancer": ("both",),
    "DnsName": ("app.example.com", "www.example.com", "www.example.org"),
}
_BASE = """popnet: 1
pops: {LHR: {}, FRA: {}, NRT: {}}
visitors: {tokyo: {}}
sites: {dublin: {}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


class _Mark:
    """Where something stands; here: the how many-th it is."""

    __slots__ = ("column", "line")

    def __init__(self, line: int) -> None:
        self.line = self.column = line


def _texts(kind: inspect.Type) -> tuple[str, ...]:
    if isinstance(kind, inspect.StrType):
        return TEXTS.get(kind.pattern or "", ANY_TEXT)
    return ANY_TEXT


class _Types:
    """The types of the model with what a byte chooses among, worked out once."""

    def __init__(self) -> None:
        self.fields: dict[int, list[tuple[str, inspect.Type]]] = {}
        self.plain: dict[int, tuple[inspect.Type, str]] = {}
        self.words: list[str] = []
        self._kept: list[inspect.Type] = []
        self._fitting: dict[int, tuple[str, ...]] = {}
        root = inspect.type_info(World)
        self.root = root
        self._look(root)
        self.words = sorted(set(self.words))

    def fitting(
        self, kind: inspect.IntType | inspect.FloatType, texts: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The numbers that the type's bounds let through."""
        if id(kind) not in self._fitting:
            numbers = [
                text for text in texts if text not in ("", "0x10", "1_0", ".inf", ".nan", "1e309")
            ]
            self._fitting[id(kind)] = tuple(text for text in numbers if within(float(text), kind))
        return self._fitting[id(kind)]

    def _look(self, kind: inspect.Type) -> None:
        if id(kind) in self.plain:
            return
        self._kept.append(kind)
        self.plain[id(kind)] = unwrapped(kind)
        inner = self.plain[id(kind)][0]
        match inner:
            case inspect.StructType():
                if id(inner) not in self.fields:
                    self.fields[id(inner)] = [(f.encode_name, f.type) for f in inner.fields]
                    self.words += [f.encode_name for f in inner.fields]
                    for field in inner.fields:
                        self._look(field.type)
            case inspect.DictType():
                self._look(inner.key_type)
                self._look(inner.value_type)
            case inspect.VarTupleType():
                self._look(inner.item_type)
            case inspect.TupleType():
                for one in inner.item_types:
                    self._look(one)
            case inspect.UnionType():
                for one in inner.types:
                    self._look(one)
            case inspect.LiteralType():
                self.words += [choice for choice in inner.values if isinstance(choice, str)]
        if inner is not kind:
            self._look(inner)


_TYPES = _Types()
_ANY = inspect.AnyType()
_NAME = inspect.StrType(pattern=NAME_PATTERN)
_resolver = YAML(typ="safe", pure=True).resolver

_MAP, _SEQ = Tag(suffix=_TAG + "map"), Tag(suffix=_TAG + "seq")


@lru_cache(1000)
def _tag(text: str) -> str:
    """Of a scalar without quotes."""
    return str(_resolver.resolve(ScalarNode, text, (True, False)))


@lru_cache(100)
def _made(tag: str) -> Tag:
    """A tag works its text out once: with one for each node, that would be the most of all work."""
    return Tag(suffix=tag)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.nodes: list[Node] = []
        self.depth = 0
        # The field that is being written, of the innermost struct.
        self.field = ""
        self.careful = not self.byte() & 1

    def root(self) -> Node:
        root = self._mapping(_TYPES.root)
        if self.careful:
            written = {key.value: value for key, value in root.value}
            for key, value in _base():
                if key.value in written:
                    _complete(written[key.value], value)
                else:
                    root.value.append((key, value))
        return root

    def texts(self, kind: inspect.Type) -> tuple[str, ...]:
        texts = _texts(kind)
        if not self.careful:
            return texts
        return REFERENCES.get(self.field) or texts[: max(1, len(texts) // 2)]

    def keys(self, kind: inspect.DictType) -> tuple[str, ...]:
        if self.careful and self.field == "pin":
            return _CITIES
        if self.careful:
            value = unwrapped(kind.value_type)[0]
            called = (
                CALLED.get(value.cls.__name__) if isinstance(value, inspect.StructType) else None
            )
            if called:
                return called
        return self.texts(unwrapped(kind.key_type)[0])

    def numbers(self, kind: inspect.IntType | inspect.FloatType) -> tuple[str, ...]:
        numbers = INTEGERS if isinstance(kind, inspect.IntType) else (*INTEGERS, *REALS)
        return _TYPES.fitting(kind, numbers) if self.careful else numbers

    def byte(self) -> int:
        at = self.at
        self.at = at + 1
        return self.data[at] if at < len(self.data) else END

    def text(self) -> str:
        size = self.byte()
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode("utf-8", "replace")

    def node(self, kind: inspect.Type) -> Node:
        self.depth += 1
        kind, sugar = _TYPES.plain.get(id(kind)) or unwrapped(kind)
        chosen = self.byte()
        if chosen >= ORDINARY or self.depth > 60:
            node = self._other(chosen, kind)
        elif sugar and chosen & 1:
            node = self._short(sugar, kind, chosen >> 1)
        else:
            node = self._value(kind, chosen >> 1 if sugar else chosen)
        self.depth -= 1
        return node

    def scalar(self, text: str, tag: str = "") -> Node:
        mark = _Mark(self.at)
        return self._kept(ScalarNode(_made(tag or _tag(text)), text, mark, mark))

    def _kept(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def _value(self, kind: inspect.Type, chosen: int) -> Node:
        match kind:
            case inspect.StructType() | inspect.DictType():
                return self._mapping(kind)
            case inspect.VarTupleType():
                return self._sequence(kind.item_type)
            case inspect.TupleType():
                node = self._kept(SequenceNode(_SEQ, [], _Mark(self.at), None))
                node.value += [self.node(one) for one in kind.item_types]
                return node
            case inspect.UnionType():
                return self.node(kind.types[chosen % len(kind.types)])
            case inspect.LiteralType():
                choice = kind.values[chosen % len(kind.values)]
                return self.scalar(
                    str(choice), _TAG + ("str" if isinstance(choice, str) else "int")
                )
            case inspect.BoolType():
                return self.scalar(("true", "false", "TRUE")[chosen % 3])
            case inspect.IntType() | inspect.FloatType():
                numbers = self.numbers(kind)
                return self.scalar(numbers[chosen % len(numbers)])
            case inspect.NoneType():
                return self.scalar("", _TAG + "null")
            case _:
                texts = self.texts(kind)
                return self.scalar(texts[chosen % len(texts)], _TAG + "str")

    def _short(self, sugar: str, kind: inspect.Type, chosen: int) -> Node:
        match sugar:
            case "duration":
                most = 4 if self.careful else len(DURATIONS)
                return self.scalar(DURATIONS[chosen % most])
            case "service":
                return self.scalar(ANY_TEXT[chosen % len(ANY_TEXT)], _TAG + "str")
            case "one":
                types = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
                return self.node(getattr(types[0], "item_type", _NAME))
        return self._sequence(_NAME)

    def _mapping(self, kind: inspect.Type) -> Node:
        mapping = self._kept(MappingNode(_MAP, [], _Mark(self.at), None))
        there = set[str]()
        while (chosen := self.byte()) != END:
            if chosen >= ORDINARY:
                key, inner = self._other_key(chosen), getattr(kind, "value_type", _ANY)
            elif isinstance(kind, inspect.StructType):
                fields = _TYPES.fields[id(kind)]
                name, inner = fields[(chosen - 1) % len(fields)]
                key, self.field = self.scalar(name, _TAG + "str"), name
            elif isinstance(kind, inspect.DictType):
                names = self.keys(kind)
                key = self.scalar(names[(chosen - 1) % len(names)], _TAG + "str")
                inner = kind.value_type
            else:
                key, inner = self.scalar(_TYPES.words[chosen % len(_TYPES.words)]), _ANY
            member = key, self.node(inner)
            if not self.careful or key.value not in there:
                mapping.value.append(member)
                there.add(key.value) if self.careful else None
        return mapping

    def _sequence(self, item: inspect.Type) -> Node:
        sequence = self._kept(SequenceNode(_SEQ, [], _Mark(self.at), None))
        while self.byte() != END:
            sequence.value.append(self.node(item))
        return sequence

    def _other_key(self, chosen: int) -> Node:
        if chosen == _Code.TEXT:
            return self.scalar(self.text(), _TAG + "str")
        if chosen == _Code.MERGE:
            return self.scalar("<<", _TAG + "merge")
        if chosen == _Code.NODE and not self.careful:
            return self.node(_ANY)
        return self.scalar(_TYPES.words[self.byte() % len(_TYPES.words)], _TAG + "str")

    def _other(self, chosen: int, kind: inspect.Type) -> Node:
        if self.depth > 60:
            return self.scalar("", _TAG + "null")
        if self.careful and chosen not in (_Code.ALIAS, _Code.TEXT, _Code.PLAIN):
            return self._value(kind, chosen)
        match chosen:
            case _Code.ALIAS if self.nodes:
                return self.nodes[self.byte() % len(self.nodes)]
            case _Code.TEXT:
                return self.scalar(self.text(), _TAG + "str")
            case _Code.PLAIN:
                return self.scalar(self.text())
            case _Code.TAGGED:
                return self.scalar(self.text(), _TAGS[self.byte() % len(_TAGS)])
            case _Code.MAPPING:
                return self._mapping(_ANY)
            case _Code.SEQUENCE:
                return self._sequence(_ANY)
            case _Code.WORD:
                return self.scalar(_TYPES.words[self.byte() % len(_TYPES.words)], _TAG + "str")
            case _:
                return self.scalar("", _TAG + "null")


def document_of(data: bytes) -> Node:
    """The root of a world file that these bytes choose; every input has one."""
    return _Reader(data).root()


@cache
def _base() -> list[tuple[Node, Node]]:
    return list(YAML(typ="safe", pure=True).compose(_BASE).value)


def _complete(section: Node, base: Node) -> None:
    """All that may be named is there."""
    if not isinstance(base, MappingNode):
        return
    if isinstance(section, MappingNode):
        there = {key.value for key, _ in section.value}
        section.value += [member for member in base.value if member[0].value not in there]
    elif isinstance(section, SequenceNode):
        there = {one.value for one in section.value if isinstance(one, ScalarNode)}
        section.value += [key for key, _ in base.value if key.value not in there]


def bytes_of(text: str) -> bytes:
    """What chooses such a world file, as far as aliases do not matter: a seed made of a real one."""
    said = bytearray(b"\1")
    _write_members(YAML(typ="safe", pure=True).compose(text), _TYPES.root, said)
    return bytes(said)


def _write(node: Node, kind: inspect.Type, said: bytearray) -> None:
    kind, sugar = unwrapped(kind)
    if isinstance(kind, inspect.UnionType):
        fitting = [i for i, one in enumerate(kind.types) if _fits(node, one)]
        if sugar == "one" and isinstance(node, ScalarNode) and node.tag != _TAG + "null":
            said.append(1)
            _write(node, getattr(kind.types[0], "item_type", _NAME), said)
        elif sugar == "pair" and isinstance(node, SequenceNode):
            said.append(1)
            _write_members(node, inspect.VarTupleType(_NAME), said)
        elif fitting:
            said.append(fitting[0] << bool(sugar))
            _write(node, kind.types[fitting[0]], said)
        else:
            _write_anything(node, said)
    elif isinstance(node, ScalarNode):
        texts = _texts(kind) if isinstance(kind, inspect.StrType) else ()
        if sugar == "one":
            said.append(1)
            _write(node, getattr(kind, "item_type", _NAME), said)
        elif node.tag == _TAG + "str" and node.value in texts and not sugar:
            said.append(texts.index(node.value))
        else:
            _write_anything(node, said)
    elif isinstance(node, SequenceNode) and sugar in ("names", "pair", "groups"):
        if sugar == "groups" and any(isinstance(one, SequenceNode) for one in node.value):
            said.append(0)
            _write_members(node, kind, said)
        else:
            said.append(1)
            _write_members(node, inspect.VarTupleType(_NAME), said)
    elif _fits(node, kind):
        said.append(0)
        _write_members(node, kind, said)
    else:
        _write_anything(node, said)


def _fits(node: Node, kind: inspect.Type) -> bool:
    kind, sugar = unwrapped(kind)
    match kind:
        case inspect.StructType() | inspect.DictType():
            return isinstance(node, MappingNode)
        case inspect.VarTupleType() | inspect.TupleType():
            return isinstance(node, SequenceNode)
        case inspect.UnionType():
            return any(_fits(node, one) for one in kind.types)
        case inspect.NoneType():
            return node.tag == _TAG + "null"
        case inspect.BoolType():
            return node.tag == _TAG + "bool"
        case inspect.IntType():
            return node.tag == _TAG + "int"
        case inspect.FloatType():
            number = node.tag in (_TAG + "int", _TAG + "float")
            return number or (bool(sugar) and isinstance(node, ScalarNode))
    return isinstance(node, ScalarNode)


def _write_members(node: Node, kind: inspect.Type, said: bytearray) -> None:
    if isinstance(kind, inspect.TupleType):
        for one, item in zip(node.value, kind.item_types, strict=False):
            _write(one, item, said)
        return
    for member in node.value:
        if isinstance(node, SequenceNode):
            said.append(1)
            _write(member, getattr(kind, "item_type", _ANY), said)
            continue
        key, value = member
        inner = _write_key(key.value, kind, said)
        _write(value, inner, said)
    said.append(END)


def _write_key(name: str, kind: inspect.Type, said: bytearray) -> inspect.Type:
    """Returns the type of what stands below it."""
    if isinstance(kind, inspect.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
        if name in fields:
            said.append(list(fields).index(name) + 1)
            return fields[name]
    elif isinstance(kind, inspect.DictType):
        names = _texts(unwrapped(kind.key_type)[0])
        if name in names:
            said.append(names.index(name) + 1)
            return kind.value_type
    raw = name.encode()[:255]
    said += bytes([_Code.TEXT, len(raw)]) + raw
    return getattr(kind, "value_type", _ANY)


def _write_anything(node: Any, said: bytearray) -> None:
    if isinstance(node, ScalarNode):
        raw = node.value.encode()[:255]
        code = _Code.PLAIN if _tag(node.value) == node.tag else _Code.TEXT
        said += bytes([code, len(raw)]) + raw
    elif isinstance(node, MappingNode):
        said.append(_Code.MAPPING)
        _write_members(node, _ANY, said)
    else:
        said.append(_Code.SEQUENCE)
        _write_members(node, _ANY, said)
