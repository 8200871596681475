"""What PoPs tell each other of themselves."""

from __future__ import annotations

from wire.advert import AdvertisedExit, Advertisement, encode_adverts, parse_adverts
from wire.errors import WireError

SEEDS = (
    encode_adverts(
        [Advertisement("A", 1, ("B", "C"), (AdvertisedExit("t", "c.0", 100, 1, True),))]
    ),
    b"[]",
    b'[{"origin":"A","seq":0}]',
)


def one(data: bytes) -> None:
    try:
        adverts = parse_adverts(data)
    except WireError:
        return
    assert parse_adverts(encode_adverts(adverts)) == adverts
