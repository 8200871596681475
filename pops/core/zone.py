"""The names of this world, as every PoP answers them.

Public hosts have the visitors' anycast address; nodes their own, as a single label; and the names
of tunnel discovery are those that a connector of cloudflared's make looks up. A root zone says no
to everything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby

from pops.config import PopConfig
from pops.core.records import Record as NameRecord
from wire.dns import Record, Zone, reverse_name

DISCOVERY_ZONE = "argotunnel.com"
DISCOVERY = f"_v2-origintunneld._tcp.{DISCOVERY_ZONE}"
NAME_SERVER = "ns.popnet"

# No QUIC here: without this, connectors would probe for it and warn on every start.
_FEATURES = {"dv3_2": 0, "skip_prechecks": True}
_PROTOCOLS = [{"protocol": "http2", "percentage": 100}, {"protocol": "quic", "percentage": 0}]


# A serial number has 32 bits and goes round (RFC 1982).
_SERIALS = 1 << 32


def zones(config: PopConfig, names: Iterable[NameRecord]) -> list[Zone]:
    """All that this PoP answers for. `names`: what is known of public names, also of those that were removed."""
    ttl = config.dns.ttl if config.dns is not None else 60
    return [*_hosts(config, names), _discovery(config, ttl), *_nodes(config, ttl)]


def address(name: str, literal: str, ttl: int) -> Record:
    return Record(name, "AAAA" if ":" in literal else "A", literal, ttl)


def _zone_of(host: str) -> str:
    return ".".join(host.split(".")[-2:])


def _hosts(config: PopConfig, names: Iterable[NameRecord]) -> list[Zone]:
    """The serial of a zone is the version of what changed in it last, a removal too; 0: as the world file says."""
    ordered = sorted(names, key=lambda one: (_zone_of(one.name), one.name))
    found = []
    for origin, group in groupby(ordered, lambda one: _zone_of(one.name)):
        held = list(group)
        there = [one for one in held if not one.removed]
        if there:
            records = [
                address(one.name, literal, one.ttl)
                for one in there
                for literal in config.visitors.addresses
            ]
            serial = max(one.version for one in held) % _SERIALS
            found.append(Zone(origin, tuple(records), ns=NAME_SERVER, serial=serial))
    return found


def _discovery(config: PopConfig, ttl: int) -> Zone:
    listen = config.tunnels_listen
    port = 7844 if listen is None else (listen.advertised_port or listen.port)
    records = [_text(f"cfd-features.{DISCOVERY_ZONE}", _FEATURES, ttl)]
    records.append(_text(f"protocol-v2.{DISCOVERY_ZONE}", _PROTOCOLS, ttl))
    for region, addresses in sorted(config.regions.items()):
        target = f"region{region}.v2.{DISCOVERY_ZONE}"
        # Connectors take the first two by priority as region 1 and region 2.
        records.append(Record(DISCOVERY, "SRV", f"{region} 1 {port} {target}.", ttl))
        records.extend(address(target, literal, ttl) for literal in addresses)
    return Zone(DISCOVERY_ZONE, tuple(records), ns=NAME_SERVER)


def _text(name: str, value: object, ttl: int) -> Record:
    text = json.dumps(value, separators=(",", ":")).replace('"', '\\"')
    return Record(name, "TXT", f'"{text}"', ttl)


def _nodes(config: PopConfig, ttl: int) -> list[Zone]:
    """Node names live in the root; their addresses have names too, so that traceroute shows them."""
    forward = [address(node.name, node.address, ttl) for node in config.nodes]
    if config.dns is not None:
        forward.extend(address(NAME_SERVER, literal, ttl) for literal in config.dns.addresses)
    backward: dict[str, list[Record]] = {"in-addr.arpa": [], "ip6.arpa": []}
    for node in config.nodes:
        name = reverse_name(node.address)
        backward[".".join(name.split(".")[-2:])].append(Record(name, "PTR", f"{node.name}.", ttl))
    return [
        Zone("", tuple(forward), ns=NAME_SERVER),
        *(Zone(origin, tuple(records), ns=NAME_SERVER) for origin, records in backward.items()),
    ]
