"""DNS records of public names: which tunnel or load balancer a host name leads to, the same at every PoP.

A replicated map. Each name holds the newest of its records; "newer" is a higher version, and among equal versions the
greater origin and content, so that any order of messages ends alike everywhere. A removal is a record too, without a
target: it must not come back with a PoP that has missed it. Versions are Lamport's clock (CACM 1978): one more than
the highest version known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from wire.errors import WireError

PATH = b"/.popnet/records"
LARGEST = 4 * 1024 * 1024
MOST_RECORDS = 10_000

# RFC 1123 section 2.1; at least two labels, so that no name is taken for a node.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{4,253}}$){_LABEL}(\.{_LABEL})+")


class RecordError(WireError):
    """What came is no list of records."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, order=True):
    """`name` lower case. With neither `tunnel` nor `load_balancer` it says that the name is gone. TTL in seconds."""

    version: int
    origin: str
    name: str
    tunnel: str = ""
    load_balancer: str = ""
    ttl: int = 60

    @property
    def removed(self) -> bool:
        return not (self.tunnel or self.load_balancer)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Record])


def encode_records(records: Iterable[Record]) -> bytes:
    return _encoder.encode(list(records))


def parse_records(body: bytes) -> list[Record]:
    """Raises RecordError."""
    try:
        records = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise RecordError(f"records: {error}") from None
    for record in records:
        if not valid_name(record.name):
            raise RecordError(f"records: {record.name[:80]!r} is no host name in lower case")
        if record.version < 0 or not 0 <= record.ttl <= 604_800:
            raise RecordError(f"records: {record.name}: version or TTL out of bounds")
        if record.tunnel and record.load_balancer:
            raise RecordError(f"records: {record.name}: two targets")
    return records


def valid_name(name: str) -> bool:
    return _HOSTNAME.fullmatch(name) is not None


class Records:
    """The map of one PoP. `me` signs what is changed here."""

    def __init__(self, me: str, first: Iterable[Record] = ()) -> None:
        self._me = me
        self._known: dict[str, Record] = {}
        self.receive(first)

    @property
    def version(self) -> int:
        """The highest version known: two PoPs with equal maps have equal ones."""
        return max((record.version for record in self._known.values()), default=0)

    def put(self, name: str, *, tunnel: str = "", load_balancer: str = "", ttl: int = 60) -> Record:
        """Point a name at something, or (without a target) remove it. Returns what to tell the others."""
        record = Record(self.version + 1, self._me, name, tunnel, load_balancer, ttl)
        self._known[name] = record
        return record

    def receive(self, records: Iterable[Record]) -> list[Record]:
        """Take what others know; returns what was news here, to pass on."""
        news = []
        for record in records:
            known = self._known.get(record.name)
            if known is None and len(self._known) >= MOST_RECORDS:
                continue
            if known is None or record > known:
                self._known[record.name] = record
                news.append(record)
        return news

    def get(self, name: str) -> Record | None:
        """What a name leads to; None when it is not there or was removed."""
        record = self._known.get(name)
        return None if record is None or record.removed else record

    def everything(self) -> list[Record]:
        """Also what was removed, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def present(self) -> list[Record]:
        return [record for record in self.everything() if not record.removed]
