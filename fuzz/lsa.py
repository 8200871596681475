"""What PoPs tell each other of themselves, and what a database makes of it."""

from __future__ import annotations

import random

from routing.errors import LsaError
from routing.lsa import (
    Answer,
    Lsa,
    LsaExit,
    LsaLink,
    decode_answer,
    decode_digest,
    decode_lsas,
    encode_answer,
    encode_digest,
    encode_lsas,
    version,
)
from routing.lsdb import Lsdb

_B = Lsa(
    "B", 5, 100, 2.0, (LsaLink("A", 1000, 5, 0.1, 3, 50),), (LsaExit("t", "c.0", 100, 1.0, True),)
)
_FORMER = Lsa("A", 9, 0, 0.0, (LsaLink("B", 1000),))
SEEDS = (
    encode_lsas([_B, _FORMER]),
    encode_lsas([Lsa("C", 2**53 - 1, withdrawn=True)]),
    encode_digest({"A": version(_FORMER), "B": version(_B)}),
    encode_answer(Answer((_B,), ("A", "C"))),
    b"[]",
    b'[{"origin":"A","seq":0}]',
)


def one(data: bytes) -> None:
    lsdb = Lsdb("A", rng=random.Random(1), members=("A", "B", "C"))
    lsdb.set_local((LsaLink("B", 1000),), (LsaExit("t", "d.0", 100),), 0.0, 1.0)
    try:
        lsas = decode_lsas(data)
        assert decode_lsas(encode_lsas(lsas)) == lsas
        lsdb.receive(lsas, 2.0)
        # What we pass on, say ourselves, and answer, all can read again.
        timed = lsdb.handle_timer(1000.0)
        assert decode_lsas(
            encode_lsas([*lsdb.selected(["A", "B", "C"], 1001.0), *filter(None, [timed.own])])
        )
        lsdb.links(1001.0)
        lsdb.exits()
    except LsaError:
        pass
    try:
        answer = lsdb.answer(decode_digest(data), 3.0)
        assert decode_answer(encode_answer(answer)) == answer
    except LsaError:
        pass
    try:
        decode_answer(data)
    except LsaError:
        return
