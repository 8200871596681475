"""The `server-timing` of a response: what each PoP on the way saw (W3C Server Timing).

A PoP measures from passing the request on until the response head came back, on its own clock
alone. So the first figure is the whole way behind the ingress PoP, and the difference of two
neighbours' figures is one round trip between them plus the work of the second.
"""

from __future__ import annotations

from wire.overlay import ORIGIN, Timings


def server_timing(path: tuple[str, ...], ingress_s: float | None, timings: Timings) -> bytes:
    """Nearest to the visitor first, as the request travelled. `timings` are the records of the
    hops behind the ingress PoP, nearest to the origin first; `ingress_s` is None when the request
    was not sent on."""
    if ingress_s is None:
        return f'{path[0]};desc="ingress"'.encode()
    role = "ingress" if len(path) > 1 else "ingress+egress"
    egress = path[-1]
    text = f'{path[0]};dur={ingress_s * 1e3:.3f};desc="{role}"'
    for who, seconds in reversed(timings):
        if who == ORIGIN:
            text = f"{text}, origin;dur={seconds * 1e3:.3f}"
        else:
            role = "egress" if who == egress else "relay"
            text = f'{text}, {who};dur={seconds * 1e3:.3f};desc="{role}"'
    return text.encode()
