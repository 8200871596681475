"""The tunnel connections that end in this PoP: tunnel > connector > connection > stream.

A connection is born when a connector registers and proves the tunnel's secret; it drains when the
connector unregisters (or this PoP is told to leave) and is gone when its TCP is. What carries
requests over it is somebody else's: here it is a `Carrier` that can count its streams.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pops.config import Tunnel
from pops.core.places import Place
from routing.lsa import LsaExit
from wire.tunnel_rpc import CAUSE_DUPLICATE, CAUSE_UNAUTHORIZED, Refusal, Registration

# Exits whose last leg is within this of the preferred one are as good; among them the one with the
# fewest streams is taken.
_AS_GOOD_FACTOR, _AS_GOOD_S = 1.25, 0.002
# What other PoPs are told repeats when the last leg changed by this much, not with every ping.
_RTT_CHANGE_FACTOR, _RTT_CHANGE_S = 0.1, 0.001
# So many requests in a row that a connection spoilt, and it is left alone for a while.
_ERRORS_IN_A_ROW, _LEFT_ALONE_S = 5, 10.0
_SMOOTHING = 0.3


def coarse(streams: int) -> int:
    """The load as others are told it: 0, or the power of two at or below it."""
    return 1 << (streams.bit_length() - 1) if streams > 0 else 0


class Carrier(Protocol):
    """The driver's end of a connection."""

    @property
    def streams(self) -> int: ...

    def silent(self) -> None:
        """A request found that the other end answers no more."""

    def spoilt(self) -> None:
        """A request failed, and the connection or what is behind it was to blame."""


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
    site: str = ""  # the name of the node with that address, if it has one
    since: float = 0.0
    rtt_s: float = 0.0  # smoothed
    advertised_rtt_s: float = 0.0
    advertised_load: int = 0
    samples: int = 0
    draining: bool = False
    up: bool = True  # the service behind it is well, as far as it is checked
    check_s: float = 0.0  # round trip of those checks, smoothed
    silent: bool = False  # a PING is late; until the next sign of life
    errors: int = 0  # in a row
    failed_at: float | None = None  # when there were too many; None once it is tried again

    @property
    def avoided(self) -> bool:
        """Gets a new request only where there is nothing else."""
        return self.draining or self.silent or self.failed_at is not None


class Registry:
    """`tunnels` are the ones the world declares; nobody else may register. `places`: what of them is a destination of
    its own."""

    def __init__(
        self, tunnels: Iterable[Tunnel], *, most: int, places: Iterable[Place] = ()
    ) -> None:
        self._tunnels = {tunnel.uuid.bytes: tunnel for tunnel in tunnels}
        self._secrets = {key: tunnel.secret_bytes for key, tunnel in self._tunnels.items()}
        self._by_tunnel: dict[str, dict[str, Connection]] = {}
        self._places = {place.id: place for place in places}
        self._place_ids = {(place.tunnel, place.site): place.id for place in self._places.values()}
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

    def measured(self, connection: Connection, rtt_s: float, now: float) -> bool:
        """Take one ping's RTT; True when the others should hear of something."""
        if connection.samples == 0:
            connection.rtt_s = rtt_s
        else:
            connection.rtt_s += _SMOOTHING * (rtt_s - connection.rtt_s)
        connection.samples += 1
        back = connection.silent
        connection.silent = False
        if connection.failed_at is not None and now - connection.failed_at >= _LEFT_ALONE_S:
            # One more error, and it is left alone again.
            connection.failed_at, connection.errors, back = None, _ERRORS_IN_A_ROW - 1, True
        change = abs(connection.rtt_s - connection.advertised_rtt_s)
        told = connection.advertised_rtt_s
        if change > max(_RTT_CHANGE_S, _RTT_CHANGE_FACTOR * told):
            connection.advertised_rtt_s = connection.rtt_s
            back = True
        return self._loaded(connection) or back

    def _loaded(self, connection: Connection) -> bool:
        """Whether the load is another power of two than the one that was told, and more than at its edge."""
        streams, told = connection.carrier.streams, connection.advertised_load
        if told // 2 < streams < 2 * max(told, 1):
            return False
        connection.advertised_load = coarse(streams)
        return connection.advertised_load != told

    def silenced(self, connection: Connection) -> bool:
        """It answers no more. True when the others should hear of it."""
        before, connection.silent = connection.avoided, True
        return not before

    def spoilt(self, connection: Connection, now: float) -> bool:
        """One more error of it. True when it is left alone from now on."""
        connection.errors += 1
        if connection.errors < _ERRORS_IN_A_ROW or connection.failed_at is not None:
            return False
        connection.failed_at = now
        return True

    def choose(
        self, tunnel: str, preferred: str, used: Collection[Connection] = ()
    ) -> Connection | None:
        """The connection for a new request: of those about as near as `preferred`, the one with
        the fewest streams. Draining and failing ones only when there is nothing else, `used` ones never."""
        place = self._places.get(tunnel)
        held = self._by_tunnel.get(tunnel if place is None else place.tunnel)
        if held and place is not None:
            held = {name: one for name, one in held.items() if one.site == place.site}
        if not held:
            return None
        if used:
            connectors = {one.connector for one in used}
            left = {name: one for name, one in held.items() if one not in used}
            if not left:
                return None
            # A replica, if there is one: what befell one connection of a connector may befall the others, too.
            held = {n: one for n, one in left.items() if one.connector not in connectors} or left
        best = held.get(preferred)
        if best is None or best.avoided:
            best = min(
                held.values(),
                key=lambda c: (c.silent, c.avoided, c.rtt_s, c.carrier.streams, c.name),
            )
        if best.avoided or len(held) == 1:
            return best
        reach = best.rtt_s * _AS_GOOD_FACTOR + _AS_GOOD_S
        fewest = best.carrier.streams
        for other in held.values():
            streams = other.carrier.streams
            if streams < fewest and other.rtt_s <= reach and not other.avoided:
                best, fewest = other, streams
        return best

    def exits(self) -> tuple[LsaExit, ...]:
        """What the other PoPs are told. One that is left alone for now is to them as one that drains; the load is a
        power of two, so that it changes seldom."""
        told = [(c.tunnel, c) for c in self]
        told += [(place, c) for c in self if (place := self._place_ids.get((c.tunnel, c.site), ""))]
        return tuple(
            LsaExit(
                tunnel,
                c.name,
                round(c.advertised_rtt_s * 1e6),
                float(c.advertised_load),
                c.avoided or not c.up,
                c.up,
                round(c.check_s * 1e6),
            )
            for tunnel, c in sorted(told, key=lambda one: (one[0], one[1].name))
        )

    def __iter__(self) -> Iterator[Connection]:
        for held in self._by_tunnel.values():
            yield from held.values()
