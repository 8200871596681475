"""Checks of meaning for the `timeline` section: one action an entry, and that it can be done."""

from __future__ import annotations

from topology.check_internet import check_delays, check_link
from topology.document import Document, Path
from topology.model import World
from topology.model_timeline import ACTIONS, RampEntry, TimelineEntry
from topology.names import Names
from topology.problems import either, shown
from topology.units import impairment_fields

# Only PoPs and sites run programs of ours; any node can fall silent.
_RUNS_PROGRAMS = ("kill", "pause")


def check_timeline(document: Document, world: World, names: Names) -> None:
    """Every entry that had the right shape."""
    runs = {**names.pops, **names.sites}
    for i, entry in enumerate(world.timeline):
        path: Path = ("timeline", document.index(("timeline",), i))
        actions = [action for action in ACTIONS if getattr(entry, action) is not None]
        said = [action for action in ACTIONS if document.said((*path, action))]
        if len(said) != 1:
            found = either(said).replace(" or ", " and ") if said else "no action"
            document.problem(path, found, f"one of {either(ACTIONS)}")
        if entry.for_ == 0:
            document.problem((*path, "for"), "0", "more than 0, or no `for`: then it lasts")
        for action in actions:
            if action in ("kill", "pause", "vanish"):
                among = runs if action in _RUNS_PROGRAMS else names.nodes
                kind = "PoP or site" if action in _RUNS_PROGRAMS else "node"
                for j, name in enumerate(getattr(entry, action)):
                    names.check((*path, action, j), name, among, kind)
        _check_links(document, path, entry, names)
        _check_partition(document, (*path, "partition"), entry, names)


def _check_links(document: Document, path: Path, entry: TimelineEntry, names: Names) -> None:
    if entry.set is not None:
        here = (*path, "set")
        check_link(document, here, entry.set, names)
        if not impairment_fields(entry.set):
            document.problem(here, "nothing to set", "a key such as rtt_ms, loss_pct or rate_mbit")
    if entry.cut is not None:
        names.check_pair((*path, "cut"), entry.cut.from_, entry.cut.to)
    if entry.flap is not None:
        names.check_pair((*path, "flap"), entry.flap.from_, entry.flap.to)
    if entry.ramp is not None:
        _check_ramp(document, path, entry, entry.ramp, names)


def _check_ramp(
    document: Document, path: Path, entry: TimelineEntry, ramp: RampEntry, names: Names
) -> None:
    here = (*path, "ramp")
    names.check_pair(here, ramp.from_, ramp.to)
    check_delays(document, here, ramp.one_way_ms, ramp.rtt_ms, ramp.both)
    if entry.for_ is None and not document.said((*path, "for")):
        document.problem(path, "a ramp without `for`", "for: how long it takes", at_key=True)
    keys = [key for key in ramp.__struct_fields__ if key.endswith(("_ms", "_pct", "_mbit"))]
    if all(getattr(ramp, key) is None and not document.said((*here, key)) for key in keys):
        document.problem(here, "nothing to ramp", "a key such as rtt_ms: [100, 400]")


def _check_partition(document: Document, path: Path, entry: TimelineEntry, names: Names) -> None:
    groups = entry.partition
    if groups is None:
        return
    seen: dict[str, int] = {}
    for i, group in enumerate(groups):
        for j, name in enumerate(group):
            here = (*path, i, j)
            names.check(here, name, names.nodes, "node")
            if name in seen:
                document.problem(here, f"{shown(name)} a second time", "every node in one group")
            seen[name] = i
    if not seen:
        document.problem(path, "no group", "a list of PoPs, or several such lists")
    elif len(groups) == 1 and set(names.pops) <= set(seen):
        document.problem(path, "every PoP in one group", "some PoPs outside, or several groups")
