"""The last requests that entered at this PoP, for people who look on: a ring of bounded entries.

One tuple and one append a request; it becomes JSON only when somebody asks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pops.core.ingress import Request

KEPT: Final = 256
# What a visitor may choose is cut, so that the ring has a bound in bytes too.
_LONGEST: Final = 256

# when by the PoP's clock, seconds until the response head or None, visitor's address, ray, method, host, path, status,
# PoPs on the way, the tunnel's UUID, its connection and the site that leads to, what went wrong
_Entry = tuple[
    float,
    float | None,
    str,
    str,
    bytes,
    str,
    bytes,
    bytes,
    tuple[str, ...],
    str,
    tuple[str, str],
    str,
]


class RecentRequests:
    def __init__(self, kept: int = KEPT) -> None:
        self._ring: deque[_Entry] = deque(maxlen=kept)
        self._count = 0

    def add(
        self,
        at: float,
        elapsed: float | None,
        address: str,
        request: Request,
        status: bytes,
        pops: tuple[str, ...],
        exit_at: tuple[str, str],
        problem: str = "",
    ) -> None:
        self._count += 1
        method, host, path = request.method, request.host, request.headers[3][1]
        if len(path) > _LONGEST or len(method) > _LONGEST:
            method, path = method[:_LONGEST], path[:_LONGEST]
        self._ring.append(
            (
                at,
                elapsed,
                address,
                request.ray,
                method,
                host,
                path,
                status,
                pops,
                request.tunnel,
                exit_at,
                problem,
            )
        )

    def add_refused(
        self, at: float, address: str, ray: str, status: bytes, pop: str, problem: str
    ) -> None:
        """One that was not understood: nothing that it says of itself is kept."""
        self._count += 1
        self._ring.append(
            (at, None, address, ray, b"", "", b"", status, (pop,), "", ("", ""), problem)
        )

    def since(self, number: int, now: float) -> list[dict[str, Any]]:
        """Requests after that number, oldest first. The first ever is number 1."""
        first = self._count - len(self._ring) + 1
        return [
            _shown(count, entry, now)
            for count, entry in enumerate(self._ring, first)
            if count > number
        ]


def _shown(number: int, entry: _Entry, now: float) -> dict[str, Any]:
    at, elapsed, address, ray, method, host, path, status, pops, tunnel, exit_at, problem = entry
    connection, site = exit_at
    return {
        "number": number,
        "age_s": round(now - at, 3),
        "head_ms": None if elapsed is None else round(elapsed * 1e3, 3),
        "visitor": address,
        "ray": ray,
        "method": method.decode("latin-1"),
        "host": host,
        "path": path.decode("latin-1"),
        "status": int(status),
        "pops": pops,
        "tunnel": tunnel or None,
        # Its name is the connector's id and the connection's index.
        "connection": f"c{connection.rpartition('.')[2]}" if connection else None,
        "site": site or None,
        "problem": problem or None,
    }
