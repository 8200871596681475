"""What PoPs tell each other of themselves: LSAs, digests, and answers to digests."""

from __future__ import annotations

from contextlib import suppress

from routing.errors import LsaError
from routing.lsa import (
    Answer,
    Lsa,
    LsaExit,
    LsaLink,
    Version,
    decode_answer,
    decode_digest,
    decode_lsas,
    encode_answer,
    encode_digest,
    encode_lsas,
)

_ONE = Lsa(
    "A", 1, links=(LsaLink("B", 100, 5, 0.01, 3),), exits=(LsaExit("t", "c.0", 100, 1.0, True),)
)
SEEDS = (
    encode_lsas([_ONE]),
    encode_digest({"A": Version(1, 7)}),
    encode_answer(Answer((_ONE,), ("B",))),
    b"[]",
    b'[{"origin":"A","seq":0}]',
)


def one(data: bytes) -> None:
    with suppress(LsaError):
        lsas = decode_lsas(data)
        assert decode_lsas(encode_lsas(lsas)) == lsas
    with suppress(LsaError):
        digest = decode_digest(data)
        assert decode_digest(encode_digest(digest)) == digest
    with suppress(LsaError):
        answer = decode_answer(data)
        assert decode_answer(encode_answer(answer)) == answer
