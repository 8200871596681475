"""Checks of meaning for `security` and `access`: one action a rule, and only credentials that are declared."""

from __future__ import annotations

import ipaddress
import json

from topology.document import Document, Path
from topology.model import World
from topology.model_security import RULE_ACTIONS, SecurityRule
from topology.names import Names
from topology.problems import either, shown


def check_security(document: Document, world: World, names: Names) -> None:
    for i, rule in enumerate(world.security):
        path = ("security", document.index(("security",), i))
        actions = [action for action in RULE_ACTIONS if getattr(rule, action) is not None]
        if len(actions) != 1:
            found = either(actions).replace(" or ", " and ") if actions else "no action"
            document.problem(path, found, f"one of {either(RULE_ACTIONS)}")
        _check_values(document, path, rule)
        for j, visitor in enumerate(rule.visitor or ()):
            names.check((*path, "visitor", j), visitor, names.visitors, "visitor")
        _check_of(document, path, rule, world, names)


def _check_values(document: Document, path: Path, rule: SecurityRule) -> None:
    if rule.block is not None and not isinstance(rule.block, bool):
        if not 400 <= rule.block <= 599:
            document.problem(
                (*path, "block"), shown(rule.block), "true, or a status from 400 to 599"
            )
    elif rule.block is False:
        document.problem((*path, "block"), "false", "true, or a status from 400 to 599")
    for key in ("challenge", "log"):
        if getattr(rule, key) is False:
            document.problem((*path, key), "false", "true")
    for j, address in enumerate(rule.address or ()):
        try:
            ipaddress.ip_network(address)
        except ValueError:
            allowed = "an address or a prefix such as 100.64.0.0/10"
            document.problem((*path, "address", j), shown(address), allowed)


def _check_of(
    document: Document, path: Path, rule: SecurityRule, world: World, names: Names
) -> None:
    if rule.of is not None and rule.require is None:
        document.problem((*path, "of"), "no require beside it", "of only beside require")
        return
    declared = {
        "service_token": ("service_tokens", tuple(world.access.service_tokens)),
        "mtls": ("certificates", tuple(world.access.certificates)),
        "jwt": ("jwt", tuple(world.access.jwt)),
    }
    if rule.require is not None:
        section, known = declared[rule.require]
        if not known:
            found = f"{rule.require}, and access.{section} names none"
            document.problem((*path, "require"), found, f"a name in access.{section}")
            return
        for j, name in enumerate(rule.of or ()):
            names.check((*path, "of", j), name, known, f"name in access.{section}")


def key_set_problem(text: str) -> str | None:
    """What keeps a text from being a JWKS, if anything does; the keys themselves are read where they are used."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"no JSON ({error})"
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list) or not found["keys"]:
        return "no list `keys`"
    return None
