"""The authoritative side answers what the RFCs say, and never anything to nonsense."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.dns import (
    UDP_PAYLOAD,
    DnsError,
    Question,
    Record,
    Transport,
    Zone,
    Zones,
    make_query,
    parse_response,
    respond,
    reverse_name,
)

SRV = "_v2-origintunneld._tcp.argotunnel.com"
MANY = tuple(Record("many.example.com", "A", f"10.0.{n // 250}.{n % 250}") for n in range(200))
ZONES = Zones(
    [
        Zone("", (Record("nrt", "A", "100.64.0.1"),)),
        Zone(
            "example.com",
            (
                Record("app.example.com", "A", "198.18.0.1", ttl=60),
                Record("www.example.com", "CNAME", "app.example.com."),
                Record("away.example.com", "CNAME", "elsewhere.example.net."),
                Record("loop.example.com", "CNAME", "loop.example.com."),
                Record("deep.under.example.com", "A", "198.18.0.1"),
                *MANY,
            ),
        ),
        Zone(
            "argotunnel.com",
            (
                Record(SRV, "SRV", "1 1 7844 region1.v2.argotunnel.com."),
                Record(SRV, "SRV", "2 1 7844 region2.v2.argotunnel.com."),
                Record("cfd-features.argotunnel.com", "TXT", '"{}"'),
            ),
        ),
    ]
)
NOT_OURS = Zones([Zone("example.com", ())])


def ask(
    name: str,
    kind: str,
    transport: Transport = Transport.UDP,
    zones: Zones = ZONES,
    **options: object,
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    wire = respond(query.to_wire(), zones, transport)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert query.is_response(response)
    return response


def answers(response: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in response.answer for rdata in rrset]


def test_an_address() -> None:
    response = ask("app.example.com", "A")
    assert answers(response) == ["198.18.0.1"]
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert response.flags & dns.flags.RD
    assert response.authority == []


def test_no_such_type_is_nodata_with_soa() -> None:
    response = ask("app.example.com", "AAAA")
    assert (response.rcode(), response.answer) == (dns.rcode.NOERROR, [])
    assert response.authority[0].name.to_text() == "example.com."
    assert response.authority[0].ttl == 5


def test_no_such_name_is_nxdomain_with_soa_of_the_closest_zone() -> None:
    response = ask("nope.example.com", "A")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.authority[0].name.to_text() == "example.com."


def test_a_name_between_exists_without_data() -> None:
    assert ask("under.example.com", "A").rcode() == dns.rcode.NOERROR


def test_foreign_names_do_not_exist() -> None:
    response = ask("debian.org", "A")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.authority[0].name.to_text() == "."


def test_without_a_root_zone_foreign_names_are_refused() -> None:
    response = ask("debian.org", "A", zones=NOT_OURS)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA


def test_single_labels_resolve_in_any_case() -> None:
    assert answers(ask("NRT", "A")) == ["100.64.0.1"]


def test_the_case_of_the_question_is_kept() -> None:
    response = ask("aPp.ExAmPlE.cOm", "A")
    assert response.question[0].name.to_text() == "aPp.ExAmPlE.cOm."
    assert response.answer[0].name.to_text() == "aPp.ExAmPlE.cOm."


def test_cname_is_followed_inside_and_left_alone_outside() -> None:
    assert answers(ask("www.example.com", "A")) == ["app.example.com.", "198.18.0.1"]
    assert answers(ask("www.example.com", "CNAME")) == ["app.example.com."]
    away = ask(
        "away.example.com",
        "A",
        zones=Zones(
            [Zone("example.com", (Record("away.example.com", "CNAME", "elsewhere.example.net."),))]
        ),
    )
    assert (away.rcode(), answers(away)) == (dns.rcode.NOERROR, ["elsewhere.example.net."])
    gone = ask("away.example.com", "A")
    assert (gone.rcode(), answers(gone)) == (dns.rcode.NXDOMAIN, ["elsewhere.example.net."])


def test_a_cname_loop_ends() -> None:
    assert len(ask("loop.example.com", "A").answer) <= 8


def test_srv_targets_are_not_compressed() -> None:
    query = dns.message.make_query(SRV, "SRV")
    wire = respond(query.to_wire(), ZONES, Transport.UDP)
    assert wire is not None
    assert wire.count(b"\x07region1\x02v2\x0aargotunnel\x03com\x00") == 1
    assert wire.count(b"\x07region2\x02v2\x0aargotunnel\x03com\x00") == 1


def test_soa_and_ns_at_the_apex() -> None:
    assert answers(ask("example.com", "SOA"))[0].startswith("ns.popnet. hostmaster.ns.popnet. 1 ")
    assert answers(ask("example.com", "NS")) == ["ns.popnet."]


def test_any_is_answered_with_little() -> None:
    assert answers(ask("many.example.com", "ANY")) == ['"RFC8482" ""']


def test_too_large_for_udp_is_truncated_and_whole_over_tcp() -> None:
    for options in ({"use_edns": False}, {"use_edns": 0, "payload": 4096}):
        query = dns.message.make_query("many.example.com", "A", **options)  # type: ignore[arg-type]
        wire = respond(query.to_wire(), ZONES, Transport.UDP)
        assert wire is not None
        assert len(wire) <= 512
        response = dns.message.from_wire(wire)
        assert response.flags & dns.flags.TC
        assert response.answer == []
    assert len(answers(ask("many.example.com", "A", Transport.TCP))) == len(MANY)


def test_edns_is_answered_with_edns_and_only_then() -> None:
    assert ask("app.example.com", "A", use_edns=0).payload == UDP_PAYLOAD
    assert ask("app.example.com", "A", use_edns=False).edns == -1


def test_a_newer_edns_is_refused_by_version() -> None:
    response = ask("app.example.com", "A", use_edns=1)
    assert (response.rcode(), response.answer) == (dns.rcode.BADVERS, [])


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(kind: str) -> None:
    assert ask("example.com", kind).rcode() == dns.rcode.REFUSED


def test_other_classes_are_refused() -> None:
    assert ask("version.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


def test_a_signed_query_is_answered_unsigned_or_refused() -> None:
    query = dns.message.make_query("app.example.com", "A")
    key = dns.tsig.Key("k.", b"0123456789abcdef")
    query.use_tsig(key)
    wire = respond(query.to_wire(), ZONES, Transport.UDP)
    assert wire is not None
    assert dns.message.from_wire(wire, keyring=False).id == query.id


def header(wire: bytes) -> tuple[int, int, int]:
    """Id, opcode, rcode of a response."""
    number, flags = struct.unpack("!HH", wire[:4])
    assert flags & 0x8000
    return number, flags >> 11 & 0xF, flags & 0xF


def test_other_operations_are_not_implemented() -> None:
    update = bytes.fromhex("abcd 2800 0000 0000 0000 0000")
    wire = respond(update, ZONES, Transport.UDP)
    assert wire is not None
    assert header(wire) == (0xABCD, dns.opcode.UPDATE, dns.rcode.NOTIMP)


def test_malformed_queries_get_formerr() -> None:
    good = dns.message.make_query("app.example.com", "A", use_edns=False).to_wire()
    two = good[:4] + b"\0\2" + good[6:] + good[12:]
    none = good[:4] + b"\0\0" + good[6:12]
    for bad in (good[:-3], good + b"junk", two, none):
        wire = respond(bad, ZONES, Transport.UDP)
        assert wire is not None
        assert header(wire)[2] == dns.rcode.FORMERR


def test_silence_for_responses_and_scraps() -> None:
    response = dns.message.make_response(dns.message.make_query("app.example.com", "A"))
    assert respond(response.to_wire(), ZONES, Transport.UDP) is None
    assert respond(b"", ZONES, Transport.UDP) is None
    assert respond(b"\0" * 11, ZONES, Transport.UDP) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_it(query: bytes) -> None:
    wire = respond(query, ZONES, Transport.UDP)
    if wire is not None:
        assert wire[:2] == query[:2]
        assert wire[2] & 0x80


@given(st.data())
def test_no_mutation_of_a_query_breaks_it(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["A", "SRV", "ANY", "TXT", "SOA"]))
    query = bytearray(dns.message.make_query(SRV, kind, id=1).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        query[data.draw(st.integers(0, len(query) - 1))] = data.draw(st.integers(0, 255))
    wire = respond(bytes(query), ZONES, Transport.UDP)
    if wire is not None:
        assert len(wire) <= UDP_PAYLOAD
        assert wire[:2] == query[:2]


def exchange(name: str, kind: str) -> bytes:
    wire = respond(make_query(Question(name, kind), 77), ZONES, Transport.UDP)
    assert wire is not None
    return wire


def test_the_stub_reads_what_the_server_writes() -> None:
    answer = parse_response(exchange(SRV, "SRV"), Question(SRV, "SRV"), 77)
    assert (answer.rcode, answer.truncated) == ("NOERROR", False)
    assert [record.data for record in answer.of("SRV")] == [
        "1 1 7844 region1.v2.argotunnel.com.",
        "2 1 7844 region2.v2.argotunnel.com.",
    ]
    gone = parse_response(exchange("x.test", "A"), Question("x.test", "A"), 77)
    assert (gone.rcode, gone.records) == ("NXDOMAIN", ())


def test_the_stub_refuses_answers_to_other_questions() -> None:
    wire = exchange("app.example.com", "A")
    for question, number in (
        (Question("app.example.com", "AAAA"), 77),
        (Question("www.example.com", "A"), 77),
        (Question("app.example.com", "A"), 78),
    ):
        with pytest.raises(DnsError):
            parse_response(wire, question, number)
    with pytest.raises(DnsError):
        parse_response(wire[:20], Question("app.example.com", "A"), 77)
    with pytest.raises(DnsError):
        make_query(Question("a..b", "A"), 1)


@given(st.binary(max_size=200))
def test_no_response_breaks_the_stub(wire: bytes) -> None:
    with pytest.raises(DnsError):
        parse_response(b"\0\1" + wire, Question("app.example.com", "A"), 77)


def test_a_record_outside_its_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not in zone"):
        Zones([Zone("example.com", (Record("example.net", "A", "10.0.0.1"),))])


def test_reverse_names() -> None:
    assert reverse_name("100.64.0.1") == "1.0.64.100.in-addr.arpa"
