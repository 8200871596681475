"""Reads a world file. Everything that is wrong with it is said at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from topology.check_security import key_set_problem
from topology.document import Document, parse
from topology.files import read
from topology.matrix import read_matrix
from topology.model import World
from topology.names import Names
from topology.problems import Problem, WorldError, near_miss, shown
from topology.references import check
from topology.shape import shaped

__all__ = ["Check", "Problem", "WorldError", "load_world", "parse_world"]

Check = Callable[[Document, World], None]
"""Notes in the document what is wrong with the world. For who knows more than this room does."""


def load_world(path: Path | str, *checks: Check) -> World:
    """The world in a file. Raises WorldError, whose `problems` say what to mend."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise WorldError([_unreadable(str(path), str(found))]) from error
    return parse_world(text, *checks, file=str(path), directory=path.parent)


def parse_world(
    text: str, *checks: Check, file: str = "world", directory: Path | None = None
) -> World:
    """The world that a text describes; files that it names are looked for in `directory`."""
    return world_of(parse(text, file), *checks, directory=directory)


def world_of(document: Document, *checks: Check, directory: Path | None = None) -> World:
    """The world that a document describes. Raises WorldError."""
    cleaned = shaped(document, World)
    if isinstance(document.data, dict) and "pops" not in document.data:
        # Everything refers to PoPs: whatever else is wrong will be seen when there are some.
        raise document.error()
    # What is required and missing has been noted; with a stand-in the rest can be checked as well.
    world = msgspec.convert({"popnet": 1, "pops": {}, **cleaned}, World)
    check(document, world)
    world, matrix_problems = _with_matrix(world, document, directory or Path())
    world = _with_keys(world, document, directory or Path())
    world = _with_algorithm(world, document, directory or Path())
    for more in checks:
        more(document, world)
    if document.problems or matrix_problems:
        raise document.error(matrix_problems)
    return world


def _with_matrix(world: World, document: Document, directory: Path) -> tuple[World, list[Problem]]:
    """The world with its CSV matrix read into `one_way_ms`, below what the file itself says."""
    internet = world.internet
    if internet.rtt_csv is None:
        return world, []
    path = ("internet", "rtt_csv")
    try:
        matrix = read_matrix(directory / internet.rtt_csv, Names(document).nodes)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        found = (error.strerror if isinstance(error, OSError) else "") or "bytes that are not UTF-8"
        document.problem(
            path, f"{shown(internet.rtt_csv)}: {found}", "a readable CSV file beside this one"
        )
        return world, []
    table = {
        a: {
            b: delay
            for b, delay in row.items()
            if b not in internet.rtt_ms.get(a, {}) and a not in internet.rtt_ms.get(b, {})
        }
        for a, row in matrix.one_way_ms.items()
    }
    for a, row in internet.one_way_ms.items():
        table.setdefault(a, {}).update(row)
    internet = msgspec.structs.replace(internet, one_way_ms=table)
    return msgspec.structs.replace(world, internet=internet), matrix.problems


def _with_keys(world: World, document: Document, directory: Path) -> World:
    """The world with the key sets of its issuers read into it."""
    issuers = {}
    for name, issuer in world.access.jwt.items():
        text = issuer.jwks
        path = ("access", "jwt", name, "jwks")
        named = not text.lstrip().startswith("{")
        if named:
            try:
                text = read(directory / issuer.jwks)
            except (OSError, UnicodeDecodeError, ValueError) as error:
                found = (error.strerror if isinstance(error, OSError) else "") or "no UTF-8"
                document.problem(
                    path, f"{shown(issuer.jwks)}: {found}", "a readable file with a JWKS"
                )
                continue
        if problem := key_set_problem(text):
            where = f"{shown(issuer.jwks)}: " if named else ""
            document.problem(path, where + problem, "a JWKS: a JSON object with a list `keys`")
            continue
        issuers[name] = msgspec.structs.replace(issuer, jwks=text)
    if not issuers:
        return world
    return msgspec.structs.replace(world, access=msgspec.structs.replace(world.access, jwt=issuers))


def _with_algorithm(world: World, document: Document, directory: Path) -> World:
    """The world with the text of the algorithm, where that is a file, read into it."""
    routing = world.routing
    path = ("routing", "algorithm")
    if routing.source is not None or not routing.algorithm.endswith(".py"):
        return world
    try:
        text = read(directory / routing.algorithm)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        found = (error.strerror if isinstance(error, OSError) else "") or "no UTF-8"
        beside = (directory / routing.algorithm).parent
        names = [str(one.relative_to(directory)) for one in _python_files(beside, directory)]
        document.problem(
            path,
            f"{shown(routing.algorithm)}: {found}",
            "a readable Python file, by its path from this one",
            near_miss(routing.algorithm, names),
        )
        return world
    routing = msgspec.structs.replace(routing, source=text)
    return msgspec.structs.replace(world, routing=routing)


def _python_files(beside: Path, directory: Path) -> list[Path]:
    return sorted(beside.glob("*.py")) if beside.is_relative_to(directory) else []


def _unreadable(file: str, found: str) -> Problem:
    return Problem(
        file=file, line=0, column=0, key="", found=found, allowed="a readable world file in UTF-8"
    )
