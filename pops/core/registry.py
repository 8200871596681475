"""The tunnel connections that end in this PoP: tunnel > connector > connection > stream.

A connection is born when a connector registers and proves the tunnel's secret; it drains when the
connector unregisters (or this PoP is told to leave) and is gone when its TCP is. What carries
requests over it is somebody else's: here it is a `Carrier` that can count its streams.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pops.config import Tunnel
from wire.advert import AdvertisedExit
from wire.tunnel_rpc import CAUSE_DUPLICATE, CAUSE_UNAUTHORIZED, Refusal, Registration

# Exits whose last leg is within this of the preferred one are as good; among them the one with the
# fewest streams is taken.
_AS_GOOD_FACTOR, _AS_GOOD_S = 1.25, 0.002
# An advertisement repeats when the last leg changed by this much, not with every ping.
_RTT_CHANGE_FACTOR, _RTT_CHANGE_S = 0.1, 0.001
_SMOOTHING = 0.3


class Carrier(Protocol):
    """The driver's end of a connection."""

    @property
    def streams(self) -> int: ...


@dataclass(slots=True, eq=False)
class Connection:
    """One registered connection. `name` is unique among all tunnels: connector and index."""

    tunnel: str  # UUID
    tunnel_name: str
    connector: str  # UUID of the running client
    index: int
    carrier: Carrier
    name: str
    version: str = ""
    origin_ip: str = ""  # where it dialled from
    since: float = 0.0
    rtt_s: float = 0.0  # smoothed
    advertised_rtt_s: float = 0.0
    samples: int = 0
    draining: bool = False


class Registry:
    """`tunnels` are the ones the world declares; nobody else may register."""

    def __init__(self, tunnels: Iterable[Tunnel], *, most: int) -> None:
        self._tunnels = {tunnel.uuid.bytes: tunnel for tunnel in tunnels}
        self._secrets = {key: tunnel.secret_bytes for key, tunnel in self._tunnels.items()}
        self._by_tunnel: dict[str, dict[str, Connection]] = {}
        self._most = most
        self.count = 0

    def register(
        self, request: Registration, carrier: Carrier, now: float, rtt_s: float = 0.0
    ) -> tuple[Connection, Connection | None] | Refusal:
        """Accept or refuse. With `replace_existing`, an older connection of the same index may be
        put out; it is returned second and must be closed."""
        tunnel = self._authorized(request)
        if tunnel is None:
            return Refusal(f"{CAUSE_UNAUTHORIZED}: Invalid tunnel secret")
        if len(request.client.client_id) != 16:
            return Refusal("client id is not a UUID")
        connector = str(uuid.UUID(bytes=request.client.client_id))
        name = f"{connector}.{request.conn_index}"
        held = self._by_tunnel.setdefault(tunnel.id, {})
        older = held.get(name)
        if older is not None:
            if not request.replace_existing:
                return Refusal(CAUSE_DUPLICATE, should_retry=True)
            self.remove(older)
        elif self.count >= self._most:
            return Refusal("too many tunnel connections", retry_after_s=10.0, should_retry=True)
        connection = Connection(
            tunnel=tunnel.id,
            tunnel_name=tunnel.name,
            connector=connector,
            index=request.conn_index,
            carrier=carrier,
            name=name,
            version=request.client.version,
            since=now,
            rtt_s=rtt_s,
            advertised_rtt_s=rtt_s,
        )
        held[name] = connection
        self.count += 1
        return connection, older

    def _authorized(self, request: Registration) -> Tunnel | None:
        """The declared tunnel, if account and secret are right. Takes the same time for a tunnel
        that does not exist, so that nobody can list tunnels by asking."""
        tunnel = self._tunnels.get(request.tunnel_id)
        secret = self._secrets.get(request.tunnel_id, b"\0" * 32)
        right = hmac.compare_digest(secret, request.tunnel_secret)
        account = tunnel.account_tag if tunnel is not None else ""
        same = hmac.compare_digest(account.encode(), request.account_tag.encode())
        return tunnel if right and same and tunnel is not None else None

    def remove(self, connection: Connection) -> None:
        held = self._by_tunnel.get(connection.tunnel, {})
        if held.get(connection.name) is connection:
            del held[connection.name]
            self.count -= 1

    def measured(self, connection: Connection, rtt_s: float) -> bool:
        """Take one ping's RTT; True when the others should hear of it."""
        if connection.samples == 0:
            connection.rtt_s = rtt_s
        else:
            connection.rtt_s += _SMOOTHING * (rtt_s - connection.rtt_s)
        connection.samples += 1
        change = abs(connection.rtt_s - connection.advertised_rtt_s)
        told = connection.advertised_rtt_s
        if change <= max(_RTT_CHANGE_S, _RTT_CHANGE_FACTOR * told):
            return False
        connection.advertised_rtt_s = connection.rtt_s
        return True

    def choose(self, tunnel: str, preferred: str) -> Connection | None:
        """The connection for a new request: of those about as near as `preferred`, the one with
        the fewest streams. Draining ones only when there is nothing else."""
        held = self._by_tunnel.get(tunnel)
        if not held:
            return None
        best = held.get(preferred)
        if best is None or best.draining:
            best = min(
                held.values(), key=lambda c: (c.draining, c.rtt_s, c.carrier.streams, c.name)
            )
        if best.draining or len(held) == 1:
            return best
        reach = best.rtt_s * _AS_GOOD_FACTOR + _AS_GOOD_S
        fewest = best.carrier.streams
        for other in held.values():
            if other.rtt_s <= reach and not other.draining:
                streams = other.carrier.streams
                if streams < fewest:
                    best, fewest = other, streams
        return best

    def exits(self) -> tuple[AdvertisedExit, ...]:
        """What the other PoPs are told. The load is left out: it would change with each request."""
        return tuple(
            AdvertisedExit(c.tunnel, c.name, round(c.advertised_rtt_s * 1e6), draining=c.draining)
            for c in sorted(self, key=lambda c: (c.tunnel, c.name))
        )

    def __iter__(self) -> Iterator[Connection]:
        for held in self._by_tunnel.values():
            yield from held.values()
