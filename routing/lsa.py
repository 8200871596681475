"""What a PoP tells all others about itself: the links it measured and the tunnel connections it holds.

A link-state advertisement (LSA; after OSPF, RFC 2328 section 12) holds all of one PoP at one moment and replaces every
earlier one of that PoP. It is passed on from neighbour to neighbour until all have it. Nobody's clock is compared with
another's: `age_ms` grows by the time an LSA lay at each PoP, and what the wire takes is not counted.

Messages are JSON, arrays instead of objects where there are many. Three of them: a list of LSAs; a digest (what is
known, by origin); and the answer to a digest: what its sender lacks, and what it has newer.
"""

from __future__ import annotations

import zlib
from typing import Annotated, NamedTuple

import msgspec

from routing.errors import LsaError

LARGEST = 4 * 1024 * 1024
# Numbers stay exact in any reader of JSON, and nobody can jump to the end of them by accident.
HIGHEST_SEQ = 2**53 - 1

_Micros = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Millis = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Seq = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_SEQ)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Load = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]


class LsaLink(msgspec.Struct, frozen=True, array_like=True):
    """One neighbour that can be used, as the origin measured it. `age_ms`: since its last answer, at the origin."""

    to: _Name
    rtt_us: _Micros
    jitter_us: _Micros = 0
    loss: _Ratio = 0.0
    samples: _Count = 0
    age_ms: _Millis = 0


class LsaExit(msgspec.Struct, frozen=True, array_like=True):
    """One tunnel connection. `connection` is `CONNECTOR.INDEX`; `rtt_us` is connector and back; `load` requests run.

    `up`: the service behind it is well, where it is checked; `check_us`: round trip of the checks from there.
    """

    tunnel: _Name
    connection: _Name
    rtt_us: _Micros
    load: _Load = 0.0
    draining: bool = False
    up: bool = True
    check_us: _Micros = 0


class Lsa(msgspec.Struct, frozen=True):
    """All of one PoP at one moment. `load`: requests under way there. `withdrawn`: it has left, and says so."""

    origin: _Name
    seq: _Seq
    age_ms: _Millis = 0
    load: _Load = 0.0
    links: tuple[LsaLink, ...] = ()
    exits: tuple[LsaExit, ...] = ()
    withdrawn: bool = False


class Version(NamedTuple):
    """Which of an origin's LSAs. The higher is the newer one.

    Two with the same number exist when a PoP has restarted and not yet met its own former words; which of the two is
    kept does not matter as long as all keep the same, so the checksum decides (RFC 2328 section 13.1).
    """

    seq: int
    checksum: int


Digest = dict[str, Version]
"""What a database holds: origin -> version."""


class Answer(msgspec.Struct, frozen=True):
    """To a digest: what its sender lacks, and the origins of which it has newer words than we have."""

    newer: tuple[Lsa, ...] = ()
    wanted: tuple[_Name, ...] = ()


# All that msgspec raises about JSON from a stranger: also text that is not UTF-8, and what nests too deep for a stack.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder()
_lsas = msgspec.json.Decoder(list[Lsa])
_answer = msgspec.json.Decoder(Answer)
_digest = msgspec.json.Decoder(
    dict[_Name, tuple[_Seq, Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]]]
)


def version(lsa: Lsa) -> Version:
    """Its age is left out: that is the only thing that changes on the way."""
    said = _encoder.encode((lsa.load, lsa.links, lsa.exits, lsa.withdrawn))
    return Version(lsa.seq, zlib.crc32(said))


def encode_lsas(lsas: list[Lsa]) -> bytes:
    return _encoder.encode(lsas)


def decode_lsas(body: bytes) -> list[Lsa]:
    """Raises LsaError."""
    try:
        return _lsas.decode(body)
    except _UNREADABLE as error:
        raise LsaError(f"link state: {error}") from None


def encode_digest(digest: Digest) -> bytes:
    return _encoder.encode(digest)


def decode_digest(body: bytes) -> Digest:
    """Raises LsaError."""
    try:
        return {origin: Version(*one) for origin, one in _digest.decode(body).items()}
    except _UNREADABLE as error:
        raise LsaError(f"digest: {error}") from None


def encode_answer(answer: Answer) -> bytes:
    return _encoder.encode(answer)


def decode_answer(body: bytes) -> Answer:
    """Raises LsaError."""
    try:
        return _answer.decode(body)
    except _UNREADABLE as error:
        raise LsaError(f"answer to a digest: {error}") from None
