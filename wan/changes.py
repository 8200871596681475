"""Changes of links while packets pass: checked as a whole, then made as a whole, or not at all.

A wish names one direction (or one node's access) and fields of LinkSpec; who wishes is remembered, so that
the end of a timeline entry takes back its own wishes and nobody else's (see `Link.plan`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from topology.happenings import nodes
from topology.plan import Happening, LinkSpec
from wan.fabric import Fabric
from wan.link import Layers, Link

Fields = dict[str, object]
Plan = tuple[LinkSpec, Layers]
FIELDS = LinkSpec.__struct_fields__


class ChangeError(Exception):
    """A change that makes no sense. Nothing was changed."""

    def __init__(self, key: str, found: object, allowed: str) -> None:
        super().__init__(f"{key}: found {found!r}, allowed: {allowed}")
        self.key = key
        self.found = found
        self.allowed = allowed


class Wish(NamedTuple):
    """`fields` None: what was wished before is taken back. `destination` "": the access of `source`, upwards;
    `source` "": the access of `destination`, downwards."""

    source: str
    destination: str
    fields: Fields | None


def read_wishes(fabric: Fabric, raw: object) -> list[Wish]:
    """The `changes` of a control message. Raises ChangeError at the first that is wrong."""
    if not isinstance(raw, list) or not raw:
        raise ChangeError("changes", raw, "a list of {from, to, set}")
    wishes: list[Wish] = []
    for number, change in enumerate(raw):
        wishes += _read(fabric, f"changes[{number}]", change)
    return wishes


def _read(fabric: Fabric, where: str, change: object) -> Iterable[Wish]:
    if not isinstance(change, dict):
        raise ChangeError(where, change, "{from, to, set} or {access, set}")
    known = ("from", "to", "access", "both", "set")
    if strange := [key for key in change if key not in known]:
        raise ChangeError(f"{where}.{strange[0]}", change[strange[0]], near(strange[0], known))
    fields = change.get("set")
    if not isinstance(fields, dict) or not fields:
        raise ChangeError(f"{where}.set", fields, f"some of {', '.join(FIELDS)}")
    both = change.get("both", False)
    if not isinstance(both, bool):
        raise ChangeError(f"{where}.both", both, "true or false")
    if "access" in change:
        name = node(fabric, f"{where}.access", change["access"])
        _check(f"{where}.set", fields)
        return [Wish(name, "", fields), Wish("", name, fields)]
    source = node(fabric, f"{where}.from", change.get("from"))
    destination = node(fabric, f"{where}.to", change.get("to"))
    if source == destination:
        raise ChangeError(f"{where}.to", destination, f"another node than {source}")
    fields = _halve(where, fields, both)
    _check(f"{where}.set", fields)
    back = [Wish(destination, source, fields)] if both else []
    return [Wish(source, destination, fields), *back]


def _halve(where: str, fields: Fields, both: bool) -> Fields:
    """There and back is half each way."""
    if "rtt_s" not in fields:
        return fields
    rtt = fields["rtt_s"]
    if not both:
        raise ChangeError(f"{where}.set.rtt_s", rtt, 'one_way_s, or rtt_s with "both": true')
    if "one_way_s" in fields:
        raise ChangeError(f"{where}.set.rtt_s", rtt, "one of rtt_s and one_way_s")
    if isinstance(rtt, bool) or not isinstance(rtt, int | float) or rtt < 0:
        raise ChangeError(f"{where}.set.rtt_s", rtt, "seconds, 0 or more")
    rest = {key: value for key, value in fields.items() if key != "rtt_s"}
    return {**rest, "one_way_s": rtt / 2}


def _check(where: str, fields: Mapping[str, object]) -> None:
    for key, value in fields.items():
        if key not in FIELDS:
            raise ChangeError(f"{where}.{key}", value, near(key, (*FIELDS, "rtt_s")))
        try:
            LinkSpec().patched({key: value})
        except msgspec.ValidationError as error:
            raise ChangeError(f"{where}.{key}", value, str(error).split(" - at ")[0]) from None


def near(found: object, known: Sequence[str]) -> str:
    """What is allowed, with what was probably meant in front."""
    guess = difflib.get_close_matches(str(found), known, n=1)
    meant = f"{guess[0]}? " if guess else ""
    return meant + "one of " + ", ".join(known)


def node(fabric: Fabric, where: str, name: object) -> str:
    if not isinstance(name, str) or name not in fabric.doors:
        raise ChangeError(where, name, near(name, tuple(fabric.doors)))
    return name


def pair(fabric: Fabric, where: str, raw: object) -> tuple[str, str]:
    if not isinstance(raw, list) or len(raw) != 2:
        raise ChangeError(where, raw, "two names of nodes")
    return node(fabric, f"{where}[0]", raw[0]), node(fabric, f"{where}[1]", raw[1])


def direction(fabric: Fabric, where: str, raw: object) -> tuple[str, str]:
    """As a pair; an empty name at one end means the access of the other (see Wish)."""
    if isinstance(raw, list) and len(raw) == 2 and "" in raw and raw != ["", ""]:
        return (
            node(fabric, f"{where}[0]", raw[0]) if raw[0] else "",
            node(fabric, f"{where}[1]", raw[1]) if raw[1] else "",
        )
    return pair(fabric, where, raw)


def link_of(fabric: Fabric, source: str, destination: str) -> Link:
    if not destination:
        return fabric.access(source)[0]
    if not source:
        return fabric.access(destination)[1]
    return fabric.link(source, destination)


def happenings(fabric: Fabric, raw: object) -> tuple[Happening, ...]:
    """A timeline in a control message: entries as a plan has them."""
    try:
        found = msgspec.convert(raw, tuple[Happening, ...])
    except msgspec.ValidationError as error:
        raise ChangeError("happenings", raw, str(error)) from None
    for number, happening in enumerate(found):
        for name in nodes(happening.what):
            node(fabric, f"happenings[{number}]", name)
    return found


def grant(fabric: Fabric, owner: str, wishes: Iterable[Wish], now: float) -> list[Wish]:
    """Carry out all wishes, or none: raises ChangeError. Returns those that changed what holds."""
    planned: dict[str, tuple[Wish, Link, Plan]] = {}
    for wish in wishes:
        link = link_of(fabric, wish.source, wish.destination)
        fields = wish.fields
        if fields is not None and link.name in planned:
            earlier = planned[link.name][0].fields
            fields = {**(earlier or {}), **fields}
        try:
            planned[link.name] = (wish._replace(fields=fields), link, link.plan(owner, fields))
        except msgspec.ValidationError as error:
            raise ChangeError(link.name, wish.fields, str(error)) from None
    changed: list[Wish] = []
    for wish, link, (spec, layers) in planned.values():
        if spec != link.spec:
            changed.append(wish)
        link.change(spec, layers)
    fabric.changed([(w.source, w.destination) for w in changed if w.source and w.destination], now)
    return changed
