"""YAML text to plain values, each with the place where it stands.

ruamel.yaml composes the tree of nodes, which carries positions of keys, values and list members;
its round-trip loader would cost twice the time and forget those of list members that are scalars.
A path is a tuple of keys and indices; `("pops", "LHR")` has the place of the key and of the value.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from math import isfinite
from typing import Any, Final

from msgspec import Struct, field
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from topology.problems import Problem, WorldError, shown
from topology.syntax import Fault, fault

Path = tuple[str | int, ...]
Spot = tuple[int, int]

_TAG = "tag:yaml.org,2002:"
# Stands for a value whose problem has been noted: there is no more to say of it.
BROKEN: Final = object()
# A world nests six levels deep; far more than that is an attack on the stack or an alias loop.
MAX_DEPTH = 40
# Aliases of aliases can make billions of values of one page; 490 nodes with all their RTTs are 120,000.
MAX_VALUES = 500_000
# Nobody reads more, and each costs a search for what may have been meant.
MOST_PROBLEMS = 500


def dotted(path: Path) -> str:
    """`("security", 0, "path")` -> `security[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Document(Struct):
    """The values of one file, and where each stands. Lines and columns count from 1."""

    file: str
    data: Any
    keys: dict[Path, Spot]
    values: dict[Path, Spot]
    problems: list[Problem]
    most: int
    # Of lists: which of the members written there are left after the check of their shape.
    indices: dict[Path, list[int]] = field(default_factory=dict)

    def problem(
        self,
        path: Path,
        found: str,
        allowed: str,
        hint: str = "",
        *,
        at_key: bool = False,
    ) -> None:
        """Note a problem where the path's value (or its key) stands, or its closest parent."""
        line, column = self.spot(path, at_key=at_key)
        self.problems.append(
            Problem(
                file=self.file,
                line=line,
                column=column,
                key=dotted(path),
                found=found,
                allowed=allowed,
                hint=hint,
            )
        )
        if len(self.problems) >= MOST_PROBLEMS:
            raise self.error()

    def error(self, more: Iterable[Problem] = ()) -> WorldError:
        """All that is wrong, in file order."""
        by_place = sorted(self.problems, key=lambda problem: (problem.line, problem.column))
        return WorldError([*by_place, *more])

    def index(self, path: Path, position: int) -> int:
        """Which member of the list as written is at this position in the list as kept."""
        kept = self.indices.get(path)
        return position if kept is None else kept[position]

    def said(self, path: Path) -> bool:
        """Whether a value stands there, be it a wrong one. `at:` with nothing behind it says nothing."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            else:
                value = value[part] if isinstance(value, list) and isinstance(part, int) else None
        return value is not None

    def spot(self, path: Path, *, at_key: bool = False) -> Spot:
        """Where a path stands; of what is not there, where its parent does."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, (1, 1))


def parse(text: str, file: str) -> Document:
    """Raises WorldError when the text is not YAML; duplicate keys are problems of the document."""
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            # An anchor that is set twice is right by YAML 1.2.2, section 3.2.2.2: the last one counts.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = yaml.compose(text)
    except MarkedYAMLError as error:
        raise WorldError([_syntax(file, fault(error, text))]) from error
    except Exception as error:
        # Of texts far from YAML, the library says so with whatever failed inside it: `%YAML 1.9` with an
        # AssertionError, "\\UFFFFFFFF" with an OverflowError, a thousand brackets with a RecursionError.
        found = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise WorldError([_syntax(file, Fault(1, 1, found, "YAML 1.2"))]) from error
    return read(root, file)


def read(root: Node | None, file: str, most: int | None = None) -> Document:
    """What a tree of nodes says, `most` values of it. Raises WorldError when there are more."""
    most = MAX_VALUES if most is None else most
    document = Document(file=file, data=None, keys={}, values={}, problems=[], most=most)
    if root is not None:
        document.data = _value(root, (), document, ())
    return document


def _syntax(file: str, found: Fault) -> Problem:
    line, column, what, allowed = found
    return Problem(file=file, line=line, column=column, key="", found=what, allowed=allowed)


def _spot(node: Node) -> Spot:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _value(node: Node, path: Path, document: Document, above: tuple[Node, ...]) -> Any:
    document.values[path] = _spot(node)
    if node in above or len(above) > MAX_DEPTH:
        document.problem(path, "an alias of itself or too deep a nesting", "a finite tree")
        return BROKEN
    if len(document.values) > document.most:
        found = f"more than {document.most} values"
        document.problem(path, found, "fewer; rtt_csv for a large matrix")
        raise document.error()
    above = (*above, node)
    if isinstance(node, MappingNode):
        return _mapping(node, path, document, above)
    if isinstance(node, SequenceNode):
        return [_value(item, (*path, i), document, above) for i, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(node, path, document)


def _mapping(
    node: MappingNode,
    path: Path,
    document: Document,
    above: tuple[Node, ...],
    taken: Collection[str] = (),
    seen: set[Node] | None = None,
) -> dict[str, Any]:
    """What stands there; below `<<`, without the keys `taken` and the mappings `seen` by who merges it."""
    values: dict[str, Any] = {}
    merged: list[Node] = []
    for key, value in node.value:
        name = _whole(key.value) if isinstance(key, ScalarNode) else None
        here = (*path, str(name))
        if name is None:
            line, column = _spot(key)
            half = isinstance(key, ScalarNode)
            found = shown(key.value) if half else "a list or mapping as a key"
            allowed = "whole characters" if half else "a word as a key"
            document.problems.append(
                Problem(
                    file=document.file,
                    line=line,
                    column=column,
                    key=dotted(path),
                    found=found,
                    allowed=allowed,
                )
            )
        elif key.tag == _TAG + "merge":
            merged += value.value if isinstance(value, SequenceNode) else [value]
        elif name in taken:
            continue
        elif here in document.keys:
            first = document.keys[here]
            document.keys[here] = _spot(key)
            document.problem(
                here, "the key a second time", f"once, as in line {first[0]}", at_key=True
            )
            document.keys[here] = first
        else:
            document.keys[here] = _spot(key)
            values[name] = _value(value, here, document, above)
    # What stands here itself wins, then the earliest. Merged again, a mapping has nothing to add.
    seen = set() if seen is None else seen
    for part in merged:
        if not isinstance(part, MappingNode) or part in above or len(above) > MAX_DEPTH:
            document.keys[(*path, "<<")] = _spot(part)
            document.problem((*path, "<<"), "what cannot be merged", "other mappings", at_key=True)
        elif part not in seen:
            seen.add(part)
            taken = {*taken, *values}
            values |= _mapping(part, path, document, (*above, part), taken, seen)
    return values


def _whole(text: str) -> str | None:
    r"""With `"\ud83d\ude00"`, as JSON writes one character, made one; None for half of one, which is no text."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def _scalar(node: ScalarNode, path: Path, document: Document) -> Any:
    tag, text = str(node.tag), _whole(node.value)
    if text is None:
        document.problem(path, shown(node.value), "whole characters")
        return BROKEN
    try:
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                number = int(
                    text.replace("_", ""),
                    0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10,
                )
                if not -(2**63) <= number < 2**63:
                    document.problem(path, shown(text), "a whole number of at most 64 bits")
                    return BROKEN
                return number
            case "float":
                real = float(
                    text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
                )
                if not isfinite(real):
                    document.problem(path, shown(text), "a finite number")
                    return BROKEN
                return real
            case "str" | "timestamp":
                return text
    except ValueError:
        return text
    document.problem(path, f"{shown(text)} tagged {tag}", "a value without a tag")
    return BROKEN
