"""When a way fails: may the request go again, by which way, and how often may that happen at all?

Terms are those of RFC 9110 section 9.2: a safe method only reads; an idempotent one may be received twice
and does the same as once. A request is repeated only while no response has begun (the data path sees to that)
and all that was sent of it is still here; why exactly these, and what others do, is in
docs/decisions/failover.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from routing.api import Path
from wire.overlay import Fault, FaultCode

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
IDEMPOTENT_METHODS = SAFE_METHODS | {b"PUT", b"DELETE"}

# A request that met one of these has reached no connector, whatever its method.
_UNTOUCHED = frozenset({FaultCode.NO_TUNNEL, FaultCode.LOOP, FaultCode.ROUTE, FaultCode.DRAINING})
# May have reached it. The other faults tell of the origin, which is the same by every way to one connector.
_UNCERTAIN = frozenset({FaultCode.OVERLAY, FaultCode.TUNNEL_LOST})
# The service's own fault: another connector, which has its own, or another member of its pool may do better.
OF_ORIGIN = frozenset({FaultCode.ORIGIN, FaultCode.TUNNEL_PROTOCOL})
# These speak of the link from the PoP that noticed to the next one.
_OF_NEXT_HOP = frozenset({FaultCode.OVERLAY, FaultCode.ROUTE})


def may_repeat(
    fault: Fault, *, refused: bool, idempotent: bool, unsaid: bool, elsewhere: bool = False
) -> bool:
    """Whether a request that ended in `fault` may be sent again.

    `refused`: the next hop said that it has not looked at it (RFC 9113 section 8.7). `unsaid`: the request has
    a body, and not a byte of it was sent on: nobody can have acted on a request of which only the head came.
    `elsewhere`: there is another service that may serve it, of a load balancer's pool or at a replica's site.
    """
    if refused or fault.code in _UNTOUCHED:
        return True
    uncertain = _UNCERTAIN | OF_ORIGIN if elsewhere else _UNCERTAIN
    return fault.code in uncertain and (idempotent or unsaid)


def connector_of(connection: str) -> str:
    """A connection's name is its connector's and an index."""
    return connection.rpartition(".")[0]


def another_connector(fault: Fault, connection: str, paths: Iterable[Path]) -> bool:
    """A connector that lost one connection has perhaps lost them all, for its site is gone; one whose service does not
    answer will not do better by another connection: is there one elsewhere?"""
    mine = connector_of(connection)
    return (fault.code is FaultCode.TUNNEL_LOST or fault.code in OF_ORIGIN) and any(
        connector_of(path.connection) != mine for path in paths
    )


class Trouble:
    """What one request has met so far, and how that ranks the ways that are left."""

    __slots__ = ("connectors", "egresses", "links", "pops", "services", "tried")

    def __init__(self) -> None:
        self.tried: set[tuple[str, ...]] = set()
        self.pops: set[str] = set()
        self.links: set[tuple[str, str]] = set()
        self.egresses: set[str] = set()
        self.connectors: set[str] = set()
        self.services: set[str] = set()  # connectors whose service failed

    def met(self, fault: Fault, path: tuple[str, ...], connection: str = "") -> None:
        """`path`, to that connection, ended in `fault`, which says who noticed."""
        code = fault.code
        if code in OF_ORIGIN:
            # The way was right.
            self.services.add(connector_of(connection))
            return
        if code is FaultCode.TUNNEL_LOST:
            self.connectors.add(connector_of(connection))
        else:
            self.tried.add(path)
        if fault.pop not in path:
            return
        at = path.index(fault.pop)
        if code in _OF_NEXT_HOP and at + 1 < len(path):
            # The link is broken for certain; the PoP behind it most likely, for that is how PoPs die.
            self.links.add((fault.pop, path[at + 1]))
            self.pops.add(path[at + 1])
        elif code is FaultCode.DRAINING:
            self.pops.add(fault.pop)
        else:
            self.egresses.add(path[-1])

    def ways(self, paths: Iterable[Path]) -> Sequence[Path]:
        """What is worth trying, in this order: ways without anything that failed, then by how likely it is
        that they fail too; the same way again only where the tunnel connection at its end was what failed,
        for the egress PoP then takes another one. A replica at another site goes before another connection of a
        connector that lost one. Otherwise the order is the algorithm's."""
        left = [
            path
            for path in paths
            if path.pops not in self.tried and connector_of(path.connection) not in self.services
        ]
        return sorted(left, key=self._order)

    def _order(self, path: Path) -> tuple[bool, bool, int]:
        doubt = self._doubt(path)
        return doubt == 3, connector_of(path.connection) in self.connectors, doubt

    def _doubt(self, path: Path) -> int:
        pops = path.pops
        if self.links and any(link in self.links for link in pairwise(pops)):
            return 3
        if pops[-1] in self.egresses:
            return 2
        return 1 if self.pops and not self.pops.isdisjoint(pops) else 0


class RetryBudget:
    """So many retries for so many requests, and a few in any case.

    When everything fails, everything would be retried, and a network in trouble gets several times its load
    (Google's SRE book, chapter 22, "Addressing Cascading Failures"; the shape is that of Finagle's RetryBudget:
    a share of the requests of the last seconds and a floor for quiet times).
    """

    __slots__ = ("_before", "_floor_per_s", "_retries", "_share", "_since", "_window_s", "requests")

    def __init__(
        self, *, share: float, floor_per_s: float, window_s: float = 10.0, now: float = 0.0
    ) -> None:
        self._share = share
        self._floor_per_s = floor_per_s
        self._window_s = window_s
        self._since = now
        self._before = (0.0, 0)  # requests and retries of the window before
        self._retries = 0
        self.requests = 0  # counted up by the data path: one addition a request

    def take(self, now: float) -> bool:
        """One more retry, if there is budget for it."""
        span = now - self._since
        if span >= self._window_s:
            # Nobody looked at the clock while nothing was retried: an average stands for the last window.
            average = self.requests * self._window_s / span
            self._before = (average, self._retries if span < 2 * self._window_s else 0)
            self._since, self.requests, self._retries = now, 0, 0
        requests, retries = self._before
        allowed = self._share * (requests + self.requests) + self._floor_per_s * self._window_s
        if retries + self._retries + 1 > allowed:
            return False
        self._retries += 1
        return True
