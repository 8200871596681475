"""Whom a server does not let in for a while, because of what came from there.

Who floods a connection is cut, and would come back at once: a TLS handshake costs a server about as much as a flood
that is cut early. So the address that was cut is turned away at accept, before TLS, until its time is over; who comes
again meanwhile does not make it longer. Connections that it has already stay: behind one address may be many people.

A flood is punished at once. What may also be a broken client, such as a frame out of place, only when it comes again
and again: `STRIKES` times within the time of a penalty.
"""

from __future__ import annotations

from wire.addresses import network

STRIKES = 5
# Addresses remembered. Who has more of them at once gets the oldest ones back.
_MOST = 8192


class Penalties:
    """`seconds` for each; 0: none is given."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.given = 0
        # Until when, in the order in which they were given, and so that in which they end.
        self._until: dict[str, float] = {}
        # Strikes so far, and when the first came.
        self._strikes: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def keeps_out(self, address: str, now: float) -> bool:
        if not self._until:
            return False
        key = network(address)
        until = self._until.get(key)
        if until is None:
            return False
        if until > now:
            return True
        del self._until[key]
        return False

    def strike(self, address: str, now: float) -> bool:
        """Something came that an honest client hardly sends. True if that was once too often."""
        if not self._seconds or not address:
            return False
        key = network(address)
        count, since = self._strikes.pop(key, (0, now))
        if now - since > self._seconds:
            count, since = 0, now
        if count + 1 >= STRIKES:
            return self.give(address, now)
        if len(self._strikes) >= _MOST:
            del self._strikes[next(iter(self._strikes))]
        self._strikes[key] = count + 1, since
        return False

    def give(self, address: str, now: float) -> bool:
        """A penalty. False if it has one, or if none are given (Unix sockets have no address)."""
        if not self._seconds or not address or self.keeps_out(address, now):
            return False
        key = network(address)
        self._strikes.pop(key, None)
        if len(self._until) >= _MOST:
            del self._until[next(iter(self._until))]
        self._until[key] = now + self._seconds
        self.given += 1
        return True
