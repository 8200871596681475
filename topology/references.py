"""Checks of meaning: whether what a world file says of tunnels, names, pins and pools fits together.

They work on the model, as far as its shape was right, and note problems in the document.
"""

from __future__ import annotations

import re

from topology.check_internet import check_internet
from topology.check_load import check_assertions, check_load, host_of
from topology.check_pools import check_pools
from topology.check_security import check_security
from topology.check_timeline import check_timeline
from topology.document import Document, Path
from topology.model import TARGETS, World
from topology.names import Names, check_nodes
from topology.problems import either, near_miss, shown
from topology.wording import SUGAR_ALLOWED

# RFC 1123, section 2.1; at least two labels, so that no hostname is taken for a node.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{4,253}}$){_LABEL}(\.{_LABEL})+", re.IGNORECASE)
# The lab's own zone: the names by which connectors find the regions.
_OWN_ZONE = "argotunnel.com"
_ORIGIN = re.compile(r"(https?://[^/\s]+(/.*)?|unix:/.+|http_status:[1-5][0-9][0-9]|hello_world)")


def check(document: Document, world: World) -> None:
    """All of them; `document.problems` then holds what is wrong."""
    names = Names(document)
    check_nodes(document, world, names)
    _check_regions(document, world, names)
    check_internet(document, world, names)
    _check_anycast(document, world, names)
    _check_sites(document, world, names)
    _check_dns(document, world, names)
    check_pools(document, world, names)
    check_security(document, world, names)
    _check_timeouts(document, world)
    check_load(document, world, names)
    check_timeline(document, world, names)
    check_assertions(document, world, names)


def _check_regions(document: Document, world: World, names: Names) -> None:
    regions = {pop.region for pop in world.pops.values()}
    path, allowed = ("pops",), "PoPs in both regions: a connector dials two"
    if path not in document.keys:
        pass  # noted as missing
    elif len(names.pops) < 2:
        found = "no PoP" if not names.pops else "one PoP"
        document.problem(path, found, f"at least two {allowed}", at_key=True)
    elif None not in regions and len(regions) == 1 and len(names.pops) == len(world.pops):
        found = f"every PoP in region {next(iter(regions))}"
        document.problem(path, found, allowed, at_key=True)
    for name, pop in world.pops.items():
        for i, neighbor in enumerate(pop.neighbors or ()):
            here = ("pops", name, "neighbors", i)
            names.check(here, neighbor, names.pops, "PoP")
            if neighbor == name:
                document.problem(here, f"{shown(name)} itself", "other PoPs")


def _check_anycast(document: Document, world: World, names: Names) -> None:
    for visitor, pop in world.anycast.pin.items():
        path = ("anycast", "pin", visitor)
        names.check(path, visitor, names.visitors, "visitor", at_key=True)
        names.check(path, pop, names.pops, "PoP")


def _check_sites(document: Document, world: World, names: Names) -> None:
    for name, tunnel in world.tunnels.items():
        for i, place in enumerate(tunnel.sites):
            here: Path = ("tunnels", name, "site")
            if isinstance(document.data["tunnels"][name]["site"], list):
                here = (*here, document.index(here, i))
            if names.check(here, place, names.sites, "site") and place in tunnel.sites[:i]:
                document.problem(here, f"{shown(place)} twice", "each site once")
    for name, site in world.sites.items():
        path: Path = ("sites", name, "service")
        service = site.service
        if service.url is not None and (
            not _ORIGIN.fullmatch(service.url) or host_of(service.url) is None
        ):
            known = ["hello", "http_status:404", "hello_world"]
            allowed = "hello, http://..., https://..., unix:/... or http_status:N"
            here = (*path, "url")
            document.problem(here, shown(service.url), allowed, near_miss(service.url, known))
        if service.hello and (service.url or service.command):
            document.problem(path, "hello and another service", "one service")
        elif not (service.hello or service.url or service.command) and not any(
            getattr(service, key) is None and document.said((*path, key))
            for key in ("url", "command")
        ):
            document.problem(path, "no service", SUGAR_ALLOWED["service"])
        own = [tunnel for tunnel, entry in world.tunnels.items() if name in entry.sites]
        for i, connector in enumerate(site.connectors):
            path = ("sites", name, "connectors", document.index(("sites", name, "connectors"), i))
            if connector.tunnel is not None and connector.tunnel not in own:
                among = own if connector.tunnel in names.tunnels else names.tunnels
                kind = f"tunnel of {name}" if connector.tunnel in names.tunnels else "tunnel"
                names.check((*path, "tunnel"), connector.tunnel, among, kind)


def _check_dns(document: Document, world: World, names: Names) -> None:
    seen: dict[str, str] = {}
    for host, entry in world.dns.items():
        path = ("dns", host)
        if not _HOSTNAME.fullmatch(host):
            allowed = "a hostname such as app.example.com"
            document.problem(path, shown(host), allowed, at_key=True)
        elif host.casefold().endswith("." + _OWN_ZONE) or host.casefold() == _OWN_ZONE:
            document.problem(path, shown(host), f"a name outside {_OWN_ZONE}", at_key=True)
        elif seen.setdefault(host.casefold(), host) != host:
            first = document.spot(("dns", seen[host.casefold()]), at_key=True)[0]
            found = f"{shown(host)} a second time"
            document.problem(path, found, f"once, as in line {first}", at_key=True)
        targets = [key for key in TARGETS if getattr(entry, key) is not None]
        if len(targets) != 1 and not any(
            p.key.startswith(f"dns.{host}.") for p in document.problems
        ):
            found = either(targets).replace(" or ", " and ") if targets else "no target"
            document.problem(path, found, f"one of {either(TARGETS)}", at_key=True)
        if entry.tunnel is not None:
            names.check((*path, "tunnel"), entry.tunnel, names.tunnels, "tunnel")
        if entry.load_balancer is not None:
            among = names.load_balancers
            names.check((*path, "load_balancer"), entry.load_balancer, among, "load balancer")


def _check_timeouts(document: Document, world: World) -> None:
    first, most = world.timeouts.reconnect_first, world.timeouts.reconnect_most
    if first > most:
        keys = ("reconnect_first", "reconnect_most")
        path = ("timeouts", next(key for key in keys if document.said(("timeouts", key))))
        found = f"first after {first:g} s, at most after {most:g} s"
        document.problem(path, found, "reconnect_first no longer than reconnect_most")
