"""DNS messages: what an authoritative server answers, and what a stub resolver asks. RFC 1034, 1035.

The only module that knows dnspython. It has no socket: bytes in, bytes out. `Zones` holds the data,
`respond` turns one query into one response (or none). Names are given and returned as text without
a final dot, in lower case; in responses the case of the question is kept, also in owner names,
because some resolvers check it (0x20 encoding).

What is served: exact names, no wildcards, CNAMEs followed inside our own data. Who asks for a name
outside every zone gets NXDOMAIN from the root zone, if there is one, and REFUSED if not: a world
of its own has no other names, and a quick "no" spares every program its resolver's timeouts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from wire.errors import WireError

# DNS Flag Day 2020: larger answers get fragmented somewhere, and fragments get lost.
UDP_PAYLOAD = 1232
UDP_PAYLOAD_WITHOUT_EDNS = 512
TCP_PAYLOAD = 65535
MOST_CNAMES = 8

_ANY_ANSWER = ("HINFO", '"RFC8482" ""')


class DnsError(WireError):
    """A response that cannot be used: malformed, or not to the question asked."""


class Transport(Enum):
    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `data` is its presentation format (RFC 1035 section 5), e.g. `5 0 7844 a.b.`"""

    name: str
    type: str
    data: str
    ttl: int = 60


@dataclass(frozen=True, slots=True)
class Zone:
    """Names from `origin` downwards that one server answers for. `ns` is the name of that server.

    `negative_ttl` says how long "there is no such name" may be remembered (RFC 2308). Short: in a
    lab names appear while resolvers are running.
    """

    origin: str
    records: tuple[Record, ...]
    ns: str = "ns.popnet"
    serial: int = 1
    negative_ttl: int = 5


_Key = tuple[bytes, ...]  # labels of a name in lower case
_Sets = dict[dns.rdatatype.RdataType, tuple[int, tuple[dns.rdata.Rdata, ...]]]


@dataclass(frozen=True, slots=True)
class _ZoneData:
    origin: dns.name.Name
    names: Mapping[_Key, _Sets]  # an empty non-terminal has an entry without sets
    soa: dns.rdata.Rdata
    negative_ttl: int


def _key(name: dns.name.Name) -> _Key:
    return tuple(label.lower() for label in name.labels)


def _rdata(kind: str, data: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text("IN", kind, data, origin=dns.name.root, relativize=False)


# Servers of one process that answer for the same zones share what is made of them.
@lru_cache(maxsize=32)
def _compile(zone: Zone) -> _ZoneData:
    origin = dns.name.from_text(zone.origin)
    names: dict[_Key, _Sets] = {}
    ns = dns.name.from_text(zone.ns)
    soa = _rdata("SOA", f"{ns} hostmaster.{ns} {zone.serial} 3600 600 86400 {zone.negative_ttl}")
    apex = (Record(zone.origin, "NS", str(ns)), Record(zone.origin, "SOA", soa.to_text()))
    for record in (*apex, *zone.records):
        name = dns.name.from_text(record.name)
        if not name.is_subdomain(origin):
            raise ValueError(f"{record.name} is not in zone {zone.origin or '.'}")
        for up in range(len(name.labels) - len(origin.labels) + 1):
            names.setdefault(_key(dns.name.Name(name.labels[up:])), {})
        sets = names[_key(name)]
        kind = dns.rdatatype.from_text(record.type)
        _, rdatas = sets.get(kind, (0, ()))
        sets[kind] = (record.ttl, (*rdatas, _rdata(record.type, record.data)))
    return _ZoneData(origin, names, soa, zone.negative_ttl)


class Zones:
    """All that a server is authoritative for. The zone with the longest matching origin answers."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self.replace(zones)

    def replace(self, zones: Iterable[Zone]) -> None:
        """Answer for these from now on."""
        compiled = [_compile(zone) for zone in zones]
        self._by_origin = {_key(data.origin): data for data in compiled}

    def find(self, name: dns.name.Name) -> _ZoneData | None:
        key = _key(name)
        for up in range(len(key)):
            data = self._by_origin.get(key[up:])
            if data is not None:
                return data
        return None


def respond(query: bytes, zones: Zones, transport: Transport) -> bytes | None:
    """The response to one message, or None where silence is right: answering a response, or what
    has not even a header, would let two servers talk to each other for ever."""
    if len(query) < 12 or query[2] & 0x80:
        return None
    if (query[2] >> 3) & 0x0F != dns.opcode.QUERY:
        return _bare(query, dns.rcode.NOTIMP)
    try:
        message = dns.message.from_wire(query, keyring=False)
    except (dns.exception.DNSException, ValueError, struct.error):
        return _bare(query, dns.rcode.FORMERR)
    if len(message.question) != 1 or query[4:6] != b"\0\1":
        return _bare(query, dns.rcode.FORMERR)
    response = dns.message.make_response(message, our_payload=UDP_PAYLOAD)
    response.flags &= ~dns.flags.RA
    if message.edns > 0:  # RFC 6891 section 6.1.3
        response.set_rcode(dns.rcode.BADVERS)
    else:
        _answer(message, response, zones)
    return _encode(message, response, transport)


def truncated(query: bytes) -> bytes | None:
    """The response that sends an asker to TCP: the question alone, so never longer than the query, and made without
    reading it further. None where silence is right, or where there is no plain question."""
    if len(query) < 12 or query[2] & 0xF8 or query[4:6] != b"\0\1":
        return None
    at = 12
    while at < len(query) and query[at]:
        if query[at] > 63:
            return None
        at += 1 + query[at]
    end = at + 5
    if end > len(query):
        return None
    flags = 0x8200 | (query[2] & 0x01) << 8
    return query[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, 0) + query[12:end]


def _bare(query: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A response of a header alone, made from a query that need not parse."""
    flags = 0x8000 | (query[2] & 0x79) << 8 | int(rcode)
    return query[:2] + struct.pack("!HHHHH", flags, 0, 0, 0, 0)


def _encode(
    query: dns.message.Message, response: dns.message.Message, transport: Transport
) -> bytes:
    # dnspython would shuffle records by the global Random; the same question has the same answer.
    if transport is Transport.TCP:
        return response.to_wire(max_size=TCP_PAYLOAD, want_shuffle=False)
    limit = (
        UDP_PAYLOAD_WITHOUT_EDNS if query.edns < 0 else min(max(query.payload, 512), UDP_PAYLOAD)
    )
    try:
        return response.to_wire(max_size=limit, want_shuffle=False)
    except dns.exception.TooBig:
        # Half an answer is worse than none: the resolver asks again over TCP.
        response.answer, response.authority, response.additional = [], [], []
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=limit, want_shuffle=False)


def _answer(query: dns.message.Message, response: dns.message.Message, zones: Zones) -> None:
    question = query.question[0]
    name, kind = question.name, question.rdtype
    refused = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)
    if question.rdclass != dns.rdataclass.IN or kind in refused:
        response.set_rcode(dns.rcode.REFUSED)
        return
    for _ in range(MOST_CNAMES):
        data = zones.find(name)
        if data is None:
            if not response.answer:
                response.set_rcode(dns.rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        sets = data.names.get(_key(name))
        if sets is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif kind == dns.rdatatype.ANY and sets:
            response.answer.append(_rrset(name, 3600, [_rdata(*_ANY_ANSWER)]))
            return
        elif kind in sets:
            ttl, rdatas = sets[kind]
            response.answer.append(_rrset(name, ttl, rdatas))
            return
        elif dns.rdatatype.CNAME in sets:
            ttl, rdatas = sets[dns.rdatatype.CNAME]
            response.answer.append(_rrset(name, ttl, rdatas))
            name = rdatas[0].target  # type: ignore[attr-defined]
            continue
        # No such name, or no such type: the SOA says for how long (RFC 2308 sections 2.1, 2.2).
        response.authority.append(_rrset(data.origin, data.negative_ttl, [data.soa]))
        return


def _rrset(name: dns.name.Name, ttl: int, rdatas: Sequence[dns.rdata.Rdata]) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, ttl, rdatas)


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `records` are of the answer section, in its order, CNAMEs included."""

    rcode: str
    records: tuple[Record, ...]
    truncated: bool

    def of(self, kind: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.type == kind)


def make_query(question: Question, message_id: int, *, payload: int = UDP_PAYLOAD) -> bytes:
    """A query as a stub resolver sends it (RD set). Raises DnsError for what is no name."""
    try:
        message = dns.message.make_query(
            question.name, question.type, use_edns=0, payload=payload, id=message_id
        )
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{question.name!r} {question.type}: {error}") from None
    return message.to_wire()


def parse_response(wire: bytes, question: Question, message_id: int) -> Answer:
    """Read a response. Raises DnsError, also for one that answers another question."""
    try:
        message = dns.message.from_wire(wire, keyring=False)
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise DnsError(f"malformed response: {error}") from None
    if not message.flags & dns.flags.QR or message.id != message_id:
        raise DnsError("not a response to this query")
    asked = message.question[0] if len(message.question) == 1 else None
    if asked is None or (_text(asked.name), dns.rdatatype.to_text(asked.rdtype)) != (
        question.name.rstrip(".").lower(),
        question.type,
    ):
        raise DnsError("the response repeats another question")
    records = tuple(
        Record(_text(rrset.name), dns.rdatatype.to_text(rrset.rdtype), rdata.to_text(), rrset.ttl)
        for rrset in message.answer
        for rdata in rrset
    )
    truncated = bool(message.flags & dns.flags.TC)
    return Answer(dns.rcode.to_text(message.rcode()), records, truncated)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


@lru_cache(maxsize=4096)
def reverse_name(address: str) -> str:
    """The name under which a PTR record for `address` stands (RFC 1035 section 3.5)."""
    return _text(dns.reversename.from_address(address))
