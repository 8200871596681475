"""Checks of meaning for the `internet` section: tables, single links, access lines."""

from __future__ import annotations

from topology.document import Document, Path
from topology.model import World
from topology.model_links import Impairments, LinkChange
from topology.names import Names
from topology.problems import shown


def check_internet(document: Document, world: World, names: Names) -> None:
    """Names that are nodes, pairs of two, and no pair told twice in different ways."""
    internet = world.internet
    for key, table in (("rtt_ms", internet.rtt_ms), ("one_way_ms", internet.one_way_ms)):
        for a, row in table.items():
            path = ("internet", key, a)
            known = names.check(path, a, names.nodes, "node", at_key=True)
            for b in row:
                here = (*path, b)
                if a == b:
                    document.problem(here, f"{shown(a)} twice", "two different nodes", at_key=True)
                if names.check(here, b, names.nodes, "node", at_key=True) and known:
                    _check_agreement(document, key, table, a, b)
    check_impairments(document, ("internet", "defaults"), internet.defaults)
    for i, entry in enumerate(internet.links):
        check_link(
            document, ("internet", "links", document.index(("internet", "links"), i)), entry, names
        )
    for name, line in internet.access.items():
        path = ("internet", "access", name)
        names.check(path, name, names.nodes, "node", at_key=True)
        check_impairments(document, path, line)


def _check_agreement(
    document: Document, key: str, table: dict[str, dict[str, float]], a: str, b: str
) -> None:
    """An RTT belongs to the pair, whoever measures it: both directions must say the same."""
    there, back = table[a][b], table.get(b, {}).get(a)
    if key != "rtt_ms" or back is None or back == there:
        return
    here, other = document.spot((*_RTT, a, b)), document.spot((*_RTT, b, a))
    if here > other:
        found = f"{there:g}, but {back:g} in line {other[0]}"
        document.problem((*_RTT, a, b), found, "one RTT a pair; one_way_ms tells directions apart")


_RTT = ("internet", "rtt_ms")


def check_link(document: Document, path: Path, entry: LinkChange, names: Names) -> None:
    """One entry of `links`, or what a timeline sets."""
    names.check_pair(path, entry.from_, entry.to)
    check_delays(document, path, entry.one_way_ms, entry.rtt_ms, entry.both)
    check_impairments(document, path, entry)


def check_delays(
    document: Document, path: Path, one_way: object, rtt: object, both: bool | None
) -> None:
    """Either of the two delays; an RTT is always about both directions."""
    if one_way is not None and rtt is not None:
        document.problem((*path, "rtt_ms"), "one_way_ms and rtt_ms", "one of the two", at_key=True)
    if rtt is not None and both is False:
        allowed = "true: an RTT is about both directions; one_way_ms is about one"
        document.problem((*path, "both"), "false", allowed)


def check_impairments(document: Document, path: Path, entry: Impairments) -> None:
    """What single bounds cannot say."""
    burst = entry.burst
    if burst is not None and burst.enter_pct > 0 and burst.leave_pct == 0:
        here = (*path, "burst", "leave_pct")
        document.problem(here, "0", "more than 0: a burst must end (use loss_pct for steady loss)")
