"""The last requests that entered at this PoP, for people who look on: a ring of bounded entries.

One tuple and one append a request; it becomes JSON only when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

KEPT: Final = 256
_LONGEST_PATH: Final = 256

# number, when (the PoP's clock), ray, visitor's address, method, host, path, status, seconds until the response head or
# None, PoPs on the way, connection, what went wrong
_Entry = tuple[
    int, float, str, str, bytes, str, bytes, bytes, float | None, Sequence[str], str, str
]


class RecentRequests:
    def __init__(self, kept: int = KEPT) -> None:
        self._ring: deque[_Entry] = deque(maxlen=kept)
        self._count = 0

    def add(
        self,
        at: float,
        ray: str,
        visitor: str,
        method: bytes,
        host: str,
        path: bytes,
        status: bytes,
        elapsed: float | None,
        pops: Sequence[str],
        connection: str,
        problem: str = "",
    ) -> None:
        self._count += 1
        # What a visitor may choose is cut: the ring's size has a bound in bytes too.
        self._ring.append(
            (
                self._count,
                at,
                ray,
                visitor,
                method[:16],
                host[:256],
                path[:_LONGEST_PATH],
                status,
                elapsed,
                pops,
                connection,
                problem,
            )
        )

    def since(self, number: int, now: float) -> list[dict[str, Any]]:
        """Requests after that number, oldest first."""
        return [
            {
                "number": count,
                "age_s": round(now - at, 3),
                "ray": ray,
                "visitor": visitor,
                "method": method.decode("latin-1"),
                "host": host,
                "path": path.decode("latin-1"),
                "status": int(status),
                "head_ms": None if elapsed is None else round(elapsed * 1e3, 3),
                "pops": list(pops),
                "connection": connection,
                "problem": problem,
            }
            for (
                count,
                at,
                ray,
                visitor,
                method,
                host,
                path,
                status,
                elapsed,
                pops,
                connection,
                problem,
            ) in self._ring
            if count > number
        ]
