"""From the units of a file (ms, %, Mbit/s) to those of the code (s, 0..1, bit/s)."""

from __future__ import annotations

from typing import Any

import msgspec

from topology.model_links import Access, BurstLoss, Impairments, LinkChange

# Key of the file -> field of LinkSpec and its factor. `rtt_ms` is a there-and-back: half each way.
_SI = {
    "one_way_ms": ("one_way_s", 1e-3),
    "rtt_ms": ("one_way_s", 0.5e-3),
    "jitter_ms": ("jitter_s", 1e-3),
    "loss_pct": ("loss", 1e-2),
    "rate_mbit": ("rate_bps", 1e6),
    "queue_ms": ("queue_s", 1e-3),
    "reorder_pct": ("reorder", 1e-2),
    "duplicate_pct": ("duplicate", 1e-2),
}


def to_si(key: str, value: float) -> tuple[str, float]:
    """`("loss_pct", 2)` is `("loss", 0.02)`. Rounded, so that 0.1 ms does not become 0.00010000000000000002."""
    name, factor = _SI[key]
    return name, round(value * factor, 12)


def link_fields(entry: LinkChange) -> tuple[dict[str, Any], bool]:
    """The fields of LinkSpec that an entry sets, and whether it means both directions."""
    return impairment_fields(entry), entry.rtt_ms is not None or bool(entry.both)


def impairment_fields(entry: Impairments | LinkChange | Access) -> dict[str, Any]:
    """The fields of LinkSpec that are said, as JSON values."""
    fields: dict[str, Any] = {}
    for key in entry.__struct_fields__:
        value = getattr(entry, key)
        if value is None or key in ("from_", "to", "both"):
            continue
        if isinstance(value, BurstLoss):
            fields["burst"] = {
                name.removesuffix("_pct"): round(chance / 100, 12)
                for name, chance in msgspec.to_builtins(value).items()
            }
        elif value == "unlimited":
            fields["rate_bps"] = None
        elif key in _SI:
            name, number = to_si(key, value)
            fields[name] = number
        else:
            fields[key] = value
    return fields
