"""Checks of meaning for `security` and `access`: one action a rule, only credentials that are declared.

And nothing that no request can be: who writes a guard that never matches believes in one that is not there.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Final

from topology.document import Document, Path
from topology.model import World
from topology.model_security import RULE_ACTIONS, SecurityRule
from topology.names import Names
from topology.problems import either, shown

# RFC 9110, section 5.6.2: methods and field names.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
# Labels of a name, in which a `*` may stand for any text.
_HOST: Final = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*")
# What is gone from a path before rules are held against it; a blank or another letter may well be behind an escape.
_NOT_IN_A_PATH: Final = {
    re.compile(r"[?#]"): "a path without ? and #: a rule does not see what follows them",
    re.compile(
        r"%[0-9A-Fa-f]{2}"
    ): "the letters themselves: escapes in a request are resolved first",
    re.compile(
        r"\\|/\.{0,2}/|/\.{1,2}$"
    ): "a path in which \\, //, . and .. are resolved, as in requests",
    re.compile(r"^\s|\s$|[\x00-\x1f\x7f]"): "a path without blanks around it",
}


def check_security(document: Document, world: World, names: Names) -> None:
    for i, rule in enumerate(world.security):
        path = ("security", document.index(("security",), i))
        actions = [action for action in RULE_ACTIONS if getattr(rule, action) is not None]
        if len(actions) != 1:
            found = either(actions).replace(" or ", " and ") if actions else "no action"
            document.problem(path, found, f"one of {either(RULE_ACTIONS)}")
        _check_values(document, path, rule)
        _check_matches(document, path, rule)
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


def _check_matches(document: Document, path: Path, rule: SecurityRule) -> None:
    """What a request must be like: something that a request can be."""
    # As written: what was wrong in a list has been noted, and is no longer in the rule.
    written = document.data["security"][path[1]] or {}
    for key in ("method", "country", "visitor", "address", "header", "of"):
        # A mapping may be empty because what was wrong in it has been noted.
        if written.get(key) == [] or (written.get(key) == {} and not document.problems):
            document.problem((*path, key), "nothing in it", "at least one, or no such key")
    for j, method in enumerate(rule.method or ()):
        if not _TOKEN.fullmatch(method):
            here = (*path, "method", document.index((*path, "method"), j))
            document.problem(here, shown(method), "a method such as GET or POST")
    for j, country in enumerate(rule.country or ()):
        if not _COUNTRY.fullmatch(country):
            here = (*path, "country", document.index((*path, "country"), j))
            document.problem(here, shown(country), "two letters such as JP (ISO 3166-1)")
    for name in rule.header or ():
        if not _TOKEN.fullmatch(name):
            allowed = "the name of a header field, such as x-scanner"
            document.problem((*path, "header", name), shown(name), allowed, at_key=True)
    if rule.host is not None and not _HOST.fullmatch(rule.host):
        allowed = "a host name such as app.example.com or *.example.com"
        document.problem((*path, "host"), shown(rule.host), allowed)
    for wrong, allowed in _NOT_IN_A_PATH.items():
        if rule.path is not None and wrong.search(rule.path):
            document.problem((*path, "path"), shown(rule.path), allowed)
            break


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
