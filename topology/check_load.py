"""Checks of meaning for `load` and `assert`: what is asked for exists, and so does what is claimed something of."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from topology.assertions import Assertion, AssertionSyntaxError
from topology.document import Document, Path
from topology.model import World
from topology.names import Names
from topology.problems import shown

# RFC 3986, section 2: all that a URL is written with, and the braces of {size} and {id}. A blank in it would end the
# request line: a PoP answers 400, and that would count as an answer.
_IN_A_URL = re.compile(r"[!#-;=?-\[\]_a-z{}~]+")
_PLACE = re.compile(r"\{[^{}]*\}|[{}]")


def host_of(url: str) -> str | None:
    """The URL's host, in small letters; None when its host or its port could be none."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.port != 0 else None
    except ValueError:
        return None


def check_load(document: Document, world: World, names: Names) -> None:
    if world.load is None:
        return
    load, known = world.load, [name.lower() for name in names.hostnames]
    asked: list[tuple[Path, str, bool]] = [(("load", "mix", url), url, True) for url in load.mix]
    if load.url is not None:
        asked.insert(0, (("load", "url"), load.url, False))
    for path, url, at_key in asked:
        host = host_of(url)
        places = [place for place in _PLACE.findall(url) if place not in ("{size}", "{id}")]
        if not _IN_A_URL.fullmatch(url):
            allowed = "a URL in ASCII without blanks and quotes: %20 and the like instead"
            document.problem(path, shown(url), allowed, at_key=at_key)
        elif places:
            document.problem(path, places[0], "{size} and {id} in a URL", at_key=at_key)
        elif host is None:
            allowed = "a URL such as https://app.example.com/, with a port up to 65535 if any"
            document.problem(path, shown(url), allowed, at_key=at_key)
        else:
            names.check(path, host, known, "name in dns", at_key=at_key)
    for i, visitor in enumerate(load.visitors):
        here = ("load", "visitors", document.index(("load", "visitors"), i))
        names.check(here, visitor, names.visitors, "visitor")
    # What was left out as wrong has been noted: nothing is missing for that.
    if any(one.key.startswith(("load.url", "load.mix", "load.sizes")) for one in document.problems):
        return
    if (load.url is None) == (not load.mix):
        document.problem(("load",), "both" if load.mix else "neither", "one of url and mix")
    sized = any("{size}" in url for url in (load.url or "", *load.mix))
    if sized != bool(load.sizes):
        found = "{size} in a URL and no sizes" if sized else "sizes and no {size} in a URL"
        document.problem(("load",), found, "both or neither")


def check_assertions(document: Document, world: World, names: Names) -> None:
    for i, text in enumerate(world.assert_):
        here = ("assert", document.index(("assert",), i))
        try:
            flaws = [*Assertion.parse(text).unknown(names)]
        except AssertionSyntaxError as error:
            flaws = [*error.flaws]
        for flaw in flaws:
            document.problem(here, flaw.found, flaw.allowed, flaw.hint)
