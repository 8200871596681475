"""The names of a world, as programs look them up."""

from __future__ import annotations

import json

from pops.config import parse
from pops.core.records import Record
from pops.core.zone import DISCOVERY, zones
from wire.dns import Answer, Question, Transport, Zones, make_query, parse_response, respond

CONFIG = parse(
    json.dumps(
        {
            "name": "NRT",
            "address": "100.64.0.1",
            "visitors": {"addresses": ["198.18.0.1"], "https": None},
            "overlay": {"certificate": "o", "ca": "c"},
            "dns": {"addresses": ["198.18.0.53"]},
            "nodes": [
                {"name": "NRT", "address": "100.64.0.1"},
                {"name": "sao-paulo", "address": "100.64.1.2"},
            ],
            "hosts": {"app.example.com": {"tunnel": "app"}, "a.b.example.org": {"tunnel": "app"}},
            "tunnels": [
                {
                    "name": "app",
                    "id": "11111111-2222-4333-8444-555555555555",
                    "account_tag": "a",
                    "secret": "",
                }
            ],
        }
    ).encode()
)
NAMES = [Record(0, "", host, "app") for host in CONFIG.hosts]
ZONES = Zones(zones(CONFIG, NAMES))


def ask(name: str, kind: str, known: Zones = ZONES) -> Answer:
    wire = respond(make_query(Question(name, kind), 1), known, Transport.UDP)
    assert wire is not None
    return parse_response(wire, Question(name, kind), 1)


def data(name: str, kind: str) -> list[str]:
    return [record.data for record in ask(name, kind).of(kind)]


def test_hosts_are_at_the_visitors_anycast_address() -> None:
    assert data("app.example.com", "A") == ["198.18.0.1"]
    assert data("a.b.example.org", "A") == ["198.18.0.1"]
    assert ask("app.example.com", "AAAA").rcode == "NOERROR"
    assert ask("other.example.com", "A").rcode == "NXDOMAIN"


def test_connectors_find_two_regions_in_order() -> None:
    assert data(DISCOVERY, "SRV") == [
        "1 1 7844 region1.v2.argotunnel.com.",
        "2 1 7844 region2.v2.argotunnel.com.",
    ]
    assert len(data("region1.v2.argotunnel.com", "A")) == 10
    assert data("region2.v2.argotunnel.com", "A")[0] == "198.18.2.1"


def test_what_connectors_read_is_json() -> None:
    for name in ("cfd-features.argotunnel.com", "protocol-v2.argotunnel.com"):
        (text,) = data(name, "TXT")
        json.loads(text[1:-1].replace('\\"', '"'))


def test_nodes_have_names_and_their_addresses_too() -> None:
    assert data("nrt", "A") == ["100.64.0.1"]
    assert data("sao-paulo", "A") == ["100.64.1.2"]
    assert data("2.1.64.100.in-addr.arpa", "PTR") == ["sao-paulo."]


def test_other_names_do_not_exist() -> None:
    assert ask("update.argotunnel.com", "A").rcode == "NXDOMAIN"
    assert ask("example.net", "A").rcode == "NXDOMAIN"


def test_the_name_server_is_itself_found() -> None:
    assert data("example.com", "NS") == ["ns.popnet."]
    assert data("ns.popnet", "A") == ["198.18.0.53"]


def serial(origin: str, *changes: Record) -> int:
    known = Zones(zones(CONFIG, [*NAMES, *changes]))
    (record,) = ask(origin, "SOA", known).of("SOA")
    return int(record.data.split()[2])


def test_a_zones_serial_is_the_version_of_its_last_change() -> None:
    assert serial("example.com") == 0, "as the world file says"
    changed = Record(3, "NRT", "shop.example.com", "app")
    assert serial("example.com", changed) == 3
    assert serial("example.org", changed) == 0, "another zone"
    assert serial("example.com", changed, Record(5, "LHR", "old.example.com")) == 5, "a removal"


def test_a_serial_goes_round_where_a_version_does_not() -> None:
    assert serial("example.com", Record(2**32 + 7, "NRT", "shop.example.com", "app")) == 7
