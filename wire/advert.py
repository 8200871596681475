"""What a PoP tells the others about itself: whom it reaches, and which tunnel connections it holds.

Advertisements travel on the control connections of the overlay, as the JSON body of a POST: a list
of the newest advertisement of each PoP that changed. They are passed on (flooded), so that they
reach PoPs that are not neighbours; `seq` tells old from new.
"""

from __future__ import annotations

import msgspec

from wire.errors import UNREADABLE, WireError

PATH = b"/.popnet/advertisements"
LARGEST = 4 * 1024 * 1024


class AdvertError(WireError):
    """A body that is not a list of advertisements."""


class AdvertisedExit(msgspec.Struct, frozen=True, array_like=True):
    """One tunnel connection. `rtt_us` is connector and back, in microseconds."""

    tunnel: str
    connection: str
    rtt_us: int
    load: int = 0
    draining: bool = False


class Advertisement(msgspec.Struct, frozen=True):
    """All of one PoP at one moment. It replaces every earlier one of that PoP.

    `up` lists the neighbours to which the PoP has a live data connection, sorted.
    """

    origin: str
    seq: int
    up: tuple[str, ...] = ()
    exits: tuple[AdvertisedExit, ...] = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Advertisement])


def encode_adverts(adverts: list[Advertisement]) -> bytes:
    return _encoder.encode(adverts)


def parse_adverts(body: bytes) -> list[Advertisement]:
    """Raises AdvertError."""
    try:
        adverts = _decoder.decode(body)
    except UNREADABLE as error:
        raise AdvertError(f"advertisements: {error}") from None
    if any(advert.seq < 1 for advert in adverts):
        raise AdvertError("advertisements: a sequence number below 1")
    return adverts
