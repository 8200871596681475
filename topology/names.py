"""The names that a world file gives to things, for checking what refers to them.

They are taken from the document, not from the model: an entry that is wrong in itself was left out of
the model, but what refers to it must not be called wrong for that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from topology import addresses, places
from topology.document import Document, Path
from topology.model import Pop, Site, Visitor, World
from topology.problems import either, near_miss, shown

# What events, commands and programs already call something else than a node of the world.
RESERVED = ("wan", "lab", "all", "localhost", "region1", "region2")
KINDS = {"pops": "PoP", "visitors": "visitor", "sites": "site"}
_SECTIONS = {
    "visitor": "visitors",
    "site": "sites",
    "tunnel": "tunnels",
    "load balancer": "load_balancers",
    "name in dns": "dns",
}

# Names in file order, quick to look one up in.
Ordered = dict[str, None]


class Names:
    """All names by kind, in file order, and the check that a reference meets one of them."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._missing: set[str] = set()
        by_section: dict[str, Ordered] = {}
        for path in document.keys:
            if len(path) == 2:
                by_section.setdefault(str(path[0]), {})[str(path[1])] = None
        self.pops = by_section.get("pops", {})
        self.visitors = by_section.get("visitors", {})
        self.sites = by_section.get("sites", {})
        self.tunnels = by_section.get("tunnels", {})
        self.load_balancers = by_section.get("load_balancers", {})
        self.hostnames = by_section.get("dns", {})
        self.nodes = {**self.pops, **self.visitors, **self.sites}

    def check(
        self, path: Path, name: str, among: Collection[str], kind: str, *, at_key: bool = False
    ) -> bool:
        """Whether the name is one of `among`; notes a problem when it is not. A section that is missing is one."""
        if name in among:
            return True
        section = _SECTIONS.get(kind, "")
        if section and not among and not self._document.said((section,)):
            if section not in self._missing:
                self._missing.add(section)
                allowed = f"none: there is no section `{section}`"
                found = f"{shown(name)}, which is no {kind}"
                self._document.problem(path, found, allowed, at_key=at_key)
            return False
        found, allowed = f"{shown(name)}, which is no {kind}", either(among)
        self._document.problem(path, found, allowed, near_miss(name, among), at_key=at_key)
        return False

    def check_pair(self, path: Path, a: str, b: str) -> None:
        """That `from` and `to` below a path are two different nodes."""
        self.check((*path, "from"), a, self.nodes, "node")
        self.check((*path, "to"), b, self.nodes, "node")
        if a == b:
            self._document.problem((*path, "to"), f"{shown(b)} twice", "two different nodes")


def check_nodes(document: Document, world: World, names: Names) -> None:
    """Names of nodes: once each, not reserved, few enough; and every node's place is known."""
    seen: dict[str, tuple[str, str]] = {name: (name, "") for name in RESERVED}
    for section in KINDS:
        for name in getattr(names, section):
            other, taken = seen.setdefault(name.casefold(), (name, section))
            if (other, taken) == (name, section):
                continue
            path = (section, name)
            if not taken:
                document.problem(path, f"the reserved name {shown(name)}", "any other", at_key=True)
                continue
            line = document.spot((taken, other), at_key=True)[0]
            found = f"{shown(name)}, also the name of a {KINDS[taken]} (line {line})"
            allowed = "names that differ, not only in capitals: they share one DNS"
            document.problem(path, found, allowed, at_key=True)
        count = len(getattr(names, section))
        if count > addresses.CAPACITY:
            found, allowed = f"{count} of them", f"at most {addresses.CAPACITY} addresses a kind"
            document.problem((section,), found, allowed, at_key=True)
    sections: tuple[tuple[str, Mapping[str, Pop | Visitor | Site]], ...] = (
        ("pops", world.pops),
        ("visitors", world.visitors),
        ("sites", world.sites),
    )
    for section, entries in sections:
        for name, entry in entries.items():
            if entry.at is not None or document.said((section, name, "at")):
                continue
            if isinstance(entry, Pop):
                _check_airport(document, name)
            else:
                _check_city(document, (section, name), name, entry.city)


def _check_airport(document: Document, code: str) -> None:
    if places.airport(code) is None:
        hint = places.near_airport(code)
        found = f"{shown(code)}, which is no IATA code"
        document.problem(
            ("pops", code), found, "an IATA code, or a name with at:", hint, at_key=True
        )


def _check_city(document: Document, path: Path, name: str, city: str | None) -> None:
    place = places.city(city or name)
    if isinstance(place, places.Place):
        return
    found, where = shown(city or name), (*path, "city") if city else path
    if place is None:
        hint = places.near_city(city or name)
        found += ", which is no city known here"
    else:
        hint = f"did you mean {either(place.names)}?" if place.names else ""
        found += ", a name of several cities"
    allowed = "a city, or at: [latitude, longitude]"
    document.problem(where, found, allowed, hint, at_key=not city)
