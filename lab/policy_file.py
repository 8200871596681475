"""A file with another policy for a running lab: `security`, perhaps `access`, or a whole world file that has them.

An edge without rules lets everybody in. So the file has to say `security`, were it `security: []`: an empty file or a
key with nothing behind it is a slip and not a wish.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from lab.policy import build
from pops.core import credentials
from pops.core.policy import Judge
from pops.core.rules import Issuer, Policy, PolicyError, parse_policy
from topology.check_security import key_set_problem
from topology.document import Document, parse
from topology.load import world_of
from topology.model import World
from topology.model_security import Access
from topology.plan import Plan
from topology.problems import Problem, WorldError, near_miss, shown

KEYS: Final = ("security", "access")
_ALLOWED: Final = ", ".join(KEYS)


def read(plan: Plan, file: Path) -> tuple[Policy, Access]:
    """The policy that the file says, without a version, held against the running world; and its credentials.

    Raises WorldError with the lines of that file, PolicyError for what only a PoP would have found.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise WorldError([_unreadable(file, str(found))]) from error
    document = parse(text, str(file))
    if isinstance(document.data, dict) and "popnet" in document.data:
        # All of a world file has to be right: a misspelt `access` would be left out unsaid.
        world_of(document, directory=file.parent)
        document = parse(text, str(file))
    else:
        _check_keys_of(document)
    if not document.said(("security",)):
        found = "nothing" if ("security",) in document.keys else "no such key"
        allowed = "a list of rules, [] for none: without rules every request passes"
        document.problem(("security",), found, allowed, at_key=True)
    if document.problems:
        raise document.error()
    _put_into(document, plan)

    def check(document: Document, world: World) -> None:
        check_keys(document, world)
        _check_asked(document, world, plan)

    world = world_of(document, check, directory=file.parent)
    policy = build(plan, world.security, world.access, 0)
    Judge(parse_policy(msgspec.json.encode(policy)))
    return policy, world.access


def key_files(file: Path) -> list[str]:
    """The key sets beside the policy in this file that it names, as it names them.

    What is wrong with the file is for `read` to say, where it is read.
    """
    try:
        access = parse(file.read_text("utf-8"), str(file)).data["access"]
        named = [issuer["jwks"] for issuer in access["jwt"].values()]
    except (OSError, UnicodeDecodeError, WorldError, LookupError, TypeError, AttributeError):
        return []
    beside = [Path(name) for name in named if isinstance(name, str) and name[:1] not in ("{", "/")]
    return [
        str(name) for name in beside if ".." not in name.parts and (file.parent / name).is_file()
    ]


def _put_into(document: Document, plan: Plan) -> None:
    """Leave nothing but KEYS of the file, and let the running world stand around them.

    That is what rules refer to; their problems keep the places that they have in the file.
    """
    document.data = {key: document.data[key] for key in KEYS if key in document.data}
    document.keys = {path: spot for path, spot in document.keys.items() if path[0] in KEYS}
    world: dict[str, Any] = {"popnet": 1, "pops": {}, "visitors": {}}
    for node in plan.nodes.values():
        if node.kind in ("pop", "visitor"):
            region = {"region": node.region} if node.region else {}
            world[f"{node.kind}s"][node.name] = {"at": [node.lat, node.lon], **region}
    document.data |= world
    for kind in ("pops", "visitors"):
        document.keys |= dict.fromkeys([(kind,), *((kind, name) for name in world[kind])], (1, 1))


def _check_keys_of(document: Document) -> None:
    if not isinstance(document.data, dict):
        allowed = f"a mapping with {_ALLOWED} (or a whole world file)"
        raise _with(document, (), shown(document.data), allowed)
    for key in document.data:
        if key not in KEYS:
            hint = near_miss(key, KEYS)
            if not hint and key in World.__struct_fields__:
                hint = "a whole world file begins with popnet: 1"
            document.problem((key,), "an unknown key", _ALLOWED, hint, at_key=True)


def _with(document: Document, path: tuple[str, ...], found: str, allowed: str) -> WorldError:
    document.problem(path, found, allowed)
    return document.error()


def _unreadable(file: Path, found: str) -> Problem:
    return Problem(
        file=str(file),
        line=0,
        column=0,
        key="",
        found=found,
        allowed=f"a readable file with {_ALLOWED}, in UTF-8",
    )


def check_keys(document: Document, world: World) -> None:
    """Whether PoPs can use the keys of every issuer: one that cannot lets nothing pass."""
    for name, issuer in world.access.jwt.items():
        if key_set_problem(issuer.jwks):
            continue  # noted
        try:
            credentials.json_web_token({name: Issuer(jwks=json.loads(issuer.jwks))}, ())
        except PolicyError as error:
            document.problem(("access", "jwt", name, "jwks"), error.found, error.allowed)


def _check_asked(document: Document, world: World, plan: Plan) -> None:
    """PoPs ask visitors for certificates if the world file had a rule that wants one: set when they start."""
    if any(rule.require == "mtls" for rule in plan.world.security):
        return
    for i, rule in enumerate(world.security):
        if rule.require == "mtls":
            path = ("security", document.index(("security",), i), "require")
            found = "mtls, and no PoP of this lab asks visitors for certificates"
            allowed = "service_token or jwt; mtls where the lab came up with such a rule"
            document.problem(path, found, allowed)
