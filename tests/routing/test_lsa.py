"""Link state on the wire: what comes back as it went, and what is refused."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    version,
)

COUNTS = st.integers(0, 10**12)
NAMES = st.text(min_size=1, max_size=20)
LINKS = st.builds(LsaLink, NAMES, COUNTS, COUNTS, st.floats(0, 1), COUNTS, COUNTS)
EXITS = st.builds(LsaExit, NAMES, NAMES, COUNTS, st.floats(0, 1e6), st.booleans())
LSAS = st.builds(
    Lsa,
    origin=NAMES,
    seq=st.integers(1, 2**53 - 1),
    age_ms=COUNTS,
    load=st.floats(0, 1e6),
    links=st.lists(LINKS, max_size=3).map(tuple),
    exits=st.lists(EXITS, max_size=3).map(tuple),
    withdrawn=st.booleans(),
)


@given(st.lists(LSAS, max_size=3))
def test_lsas_come_back_and_are_the_same_version(lsas: list[Lsa]) -> None:
    back = decode_lsas(encode_lsas(lsas))
    assert back == lsas
    assert [version(lsa) for lsa in back] == [version(lsa) for lsa in lsas]


@given(
    st.dictionaries(NAMES, st.builds(Version, st.integers(1, 2**53 - 1), st.integers(0, 2**32 - 1)))
)
def test_digests_come_back(digest: dict[str, Version]) -> None:
    assert decode_digest(encode_digest(digest)) == digest


@given(st.builds(Answer, st.lists(LSAS, max_size=2).map(tuple), st.lists(NAMES).map(tuple)))
def test_answers_come_back(answer: Answer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(LSAS, COUNTS)
def test_age_is_no_part_of_the_version(lsa: Lsa, age_ms: int) -> None:
    assert version(msgspec.structs.replace(lsa, age_ms=age_ms)) == version(lsa)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'[{"origin":"A"}]',
        b'[{"origin":"A","seq":0}]',
        b'[{"origin":"","seq":1}]',
        b'[{"origin":"A","seq":9007199254740992}]',
        b'[{"origin":"A","seq":1,"age_ms":-1}]',
        b'[{"origin":"A","seq":1,"links":[["B",-5]]}]',
        b'[{"origin":"A","seq":1,"links":[["B",5,0,1.5]]}]',
        b'[{"origin":"A","seq":1,"load":1e400}]',
        b"[" * 5000,
    ],
)
def test_what_is_no_list_of_lsas_is_refused(body: bytes) -> None:
    with pytest.raises(LsaError):
        decode_lsas(body)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_decoders(body: bytes) -> None:
    for decode in (decode_lsas, decode_digest, decode_answer):
        with contextlib.suppress(LsaError):
            decode(body)
