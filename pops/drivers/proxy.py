"""The data path: a visitor's or a neighbour's stream is coupled to the next one on its way.

    visitor  > drivers/ingress > next PoP or tunnel   decides, transforms, tries another way, tells why not
    neighbor > drivers/transit > next PoP or tunnel   follows the route that the request carries

No task, future or timer per request. Everything happens in the callbacks of streams; one sweep a
tick looks for exchanges without progress. What headers mean is in `core`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from pops.config import Limits, Timeouts
from pops.core.failover import RetryBudget
from pops.core.ingress import Ingress, Visitor
from pops.core.registry import Connection
from pops.drivers.balancers import PoolChoice
from pops.drivers.recent import RecentRequests
from pops.drivers.stats import ProxyStats
from routing.api import Outcome, Path
from runtime.clock import Clock
from runtime.http2 import Http2Connection
from runtime.streams import Headers, Peer

_VISITORS_REMEMBERED = 4096
_MOST_KEEPING = 256


class World(Protocol):
    """What the data path asks of the rest of the PoP."""

    @property
    def wants_outcomes(self) -> bool:
        """Whether a routing algorithm here learns from what became of requests."""

    def routes(self, tunnel: str, algorithm: str = "") -> tuple[Path, ...]:
        """Best first. `algorithm` is one of those beside the PoP's own, or ""."""

    def pool(self, target: str, headers: Headers) -> PoolChoice:
        """Which tunnels may serve a request to a load balancer's pool."""

    def neighbor(self, name: str) -> Http2Connection | None:
        """The live data connection to a neighbour."""

    def broken(self, path: tuple[str, ...]) -> tuple[str, str] | None:
        """The first link of a path that is known to be gone."""

    def tunnel(
        self, tunnel: str, preferred: str, used: tuple[Connection, ...] = ()
    ) -> tuple[Connection, Http2Connection] | None:
        """The connection here by which a request for the tunnel leaves, if there is one that it has not used."""

    def outcome(self, outcome: Outcome, algorithm: str) -> None: ...


class Watched(Protocol):
    """A request under way: see `drivers.exchange`."""

    quiet_since: float

    def look(self, now: float) -> None: ...


class Proxy:
    """What all requests of a PoP share."""

    def __init__(
        self,
        me: str,
        world: World,
        ingress: Ingress,
        *,
        limits: Limits,
        timeouts: Timeouts,
        hop_limit: int,
        tunnel_names: Mapping[str, str],
        country_of: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self.me = me
        self.world = world
        self.ingress = ingress
        self.limits = limits
        self.timeouts = timeouts
        self.hop_limit = hop_limit
        self.tunnel_names = tunnel_names  # by UUID
        self.clock = clock
        self.stats = ProxyStats()
        self.budget = RetryBudget(
            share=limits.retry_share, floor_per_s=limits.retries_per_s, now=clock()
        )
        self.recent = RecentRequests()
        self.exchanges: dict[Watched, None] = {}
        self._country_of = country_of
        self._visitors: dict[tuple[str, bool, str, str], Visitor] = {}
        # Fine enough that an inner hop's patience ends before an outer one's.
        self._tick = min(0.25, timeouts.response_head / 40, timeouts.idle / 40, timeouts.doubt / 4)
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = 0.0

    @property
    def keep_bytes(self) -> int:
        """How much of a request's body is kept, so that it can be sent again: none while so many requests are
        under way that it could fill the memory."""
        return self.limits.keep_bytes if len(self.exchanges) < _MOST_KEEPING else 0

    def visitor_of(self, peer: Peer) -> Visitor:
        key = (peer.address, peer.tls, peer.server_name, peer.certificate_name)
        visitor = self._visitors.get(key)
        if visitor is None:
            if len(self._visitors) >= _VISITORS_REMEMBERED:
                self._visitors.clear()
            country = self._country_of(peer.address)
            visitor = Visitor.of(
                peer.address,
                peer.scheme,
                peer.server_name or None,
                country,
                peer.certificate_name,
            )
            self._visitors[key] = visitor
        return visitor

    def watch(self, exchange: Watched) -> None:
        self.exchanges[exchange] = None
        if self._sweeper is None:
            self._swept_at = self.clock()
            self._sweeper = asyncio.get_running_loop().call_later(self._tick, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.clock()
        # Who stood still has not heard what others said meanwhile: nobody is blamed for that time.
        stood_still = now - self._swept_at > self._tick + self.timeouts.doubt / 2
        self._swept_at = now
        for exchange in list(self.exchanges):
            if stood_still:
                exchange.quiet_since = now
            exchange.look(now)
        if self.exchanges:
            self._sweeper = asyncio.get_running_loop().call_later(self._tick, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
