"""The nouns a plan resolves to: nodes, their addresses, and one direction of a link. SI units."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Probability = Annotated[float, Meta(ge=0, le=1)]
Kind = Literal["pop", "visitor", "site"]
Seconds = Annotated[float, Meta(ge=0)]


class Burst(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Gilbert-Elliott losses: the chances, per packet, of changing state and of loss in each."""

    enter: Probability
    leave: Probability
    loss_good: Probability = 0.0
    loss_bad: Probability = 1.0


class LinkSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One direction of a pair of nodes, or a node's access: seconds, bits per second, chances."""

    one_way_s: Seconds = 0.0
    jitter_s: Seconds = 0.0
    jitter_distribution: Literal["normal", "uniform", "pareto"] = "normal"
    jitter_correlation: Probability = 0.0
    loss: Probability = 0.0
    burst: Burst | None = None
    rate_bps: Annotated[float, Meta(gt=0)] | None = None
    queue_s: Seconds = 0.05
    reorder: Probability = 0.0
    duplicate: Probability = 0.0
    mtu: Annotated[int, Meta(ge=68, le=65535)] = 1500
    down: bool = False

    def patched(self, fields: dict[str, Any]) -> LinkSpec:
        """This link with some fields changed: JSON values, as files of ours and control messages say.

        Raises msgspec.ValidationError for an unknown field or a value out of bounds.
        """
        merged = {name: getattr(self, name) for name in self.__struct_fields__}
        merged["burst"] = msgspec.to_builtins(self.burst)
        return msgspec.convert({**merged, **fields}, LinkSpec)


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Anything attached to the WAN. `country` is ISO 3166-1 alpha-2, empty when not known."""

    name: str
    kind: Kind
    lat: float
    lon: float
    address: str
    region: int | None = None
    private: bool = False
    country: str = ""
    place: str = ""


class Anycast(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One address that several PoPs announce."""

    address: str
    members: tuple[str, ...]
