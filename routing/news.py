"""What of an LSA is news: what must be told at once, what soon, and what can wait for the next refresh."""

from __future__ import annotations

from routing.lsa import Lsa, LsaLink

# What is news: RTT by a millisecond and 3 % and half the jitter; jitter by 2 ms and half of it; loss by 2 % of packets
# and half of it; load by 4 requests and half of them.
_RTT_US, _RTT_SHARE = 1_000, 0.03
_JITTER_US, _JITTER_SHARE = 2_000, 0.5
_LOSS, _LOSS_SHARE = 0.02, 0.5
_LOAD, _LOAD_SHARE = 4.0, 0.5


def tells_of_death(before: Lsa, after: Lsa) -> bool:
    """A link or a tunnel connection has gone, or must not be used any more."""
    if after.withdrawn and not before.withdrawn:
        return True
    if {link.to for link in before.links} - {link.to for link in after.links}:
        return True
    usable = {leave.connection for leave in after.exits if not leave.draining}
    return any(leave.connection not in usable for leave in before.exits if not leave.draining)


def is_news(told: Lsa, true: Lsa) -> bool:
    """Whether the others should hear of the difference before the next refresh."""
    if len(told.links) != len(true.links) or len(told.exits) != len(true.exits):
        return True
    if load_is_news(told.load, true.load):
        return True
    for old, new in zip(told.links, true.links, strict=True):
        if old.to != new.to or link_is_news(old, new):
            return True
    return any(
        # The load of a connection comes as a power of two, and so changes seldom.
        (old.tunnel, old.connection, old.load, old.draining, old.up)
        != (new.tunnel, new.connection, new.load, new.draining, new.up)
        or _differs(old.check_us, new.check_us, _RTT_US, _RTT_SHARE)
        or _differs(old.rtt_us, new.rtt_us, _RTT_US, _RTT_SHARE)
        for old, new in zip(told.exits, true.exits, strict=True)
    )


def load_is_news(told: float, true: float) -> bool:
    return _differs(told, true, _LOAD, _LOAD_SHARE)


def link_is_news(told: LsaLink, true: LsaLink) -> bool:
    # What a link varies by from probe to probe is no news.
    noise_us = max(_RTT_US, min(told.jitter_us, true.jitter_us) / 2)
    return (
        _differs(told.rtt_us, true.rtt_us, noise_us, _RTT_SHARE)
        or _differs(told.jitter_us, true.jitter_us, _JITTER_US, _JITTER_SHARE)
        or _differs(told.loss, true.loss, _LOSS, _LOSS_SHARE)
    )


def _differs(told: float, true: float, absolute: float, share: float) -> bool:
    return abs(true - told) > max(absolute, share * told)
