"""How TLS handshakes go: made once, in memory, and measured.

Most handshakes of a large world are alike: a hundred PoPs with certificates of one authority make thousands of pairs,
and a real handshake costs a millisecond or more. So what two of them prove is put together where nothing is left
to prove. Of a new pair C, S that asks for a name, two things are known already when

* another client that says what C says and trusts what C trusts asked S for that very name: how S answers, and that C
  accepts it;
* C met another server that trusts and demands what S does, under a name of the same length: what C shows, that S
  accepts it, and how long the tickets are that come of it;

and both went well, with flights of the same sizes. Then theirs has that course too. Everything else is really made.
What a client says is read from its hello (RFC 8446 section 4.1.2), for a context does not tell.
"""

from __future__ import annotations

import contextlib
import ssl
from hashlib import sha256
from typing import Any

_MOST_FLIGHTS = 12
NEVER = 1 << 30

Side = int
CLIENT: Side = 0
SERVER: Side = 1

Shape = tuple[Any, ...]
_SERVER_NAME, _KEY_SHARE = 0, 51
# Record header, handshake header, version; then the random number.
_RANDOM_AT, _RANDOM = 11, 32
# The flight that brings tickets. Of a ticket: key name, vector and digest; and what a session is without names.
_TICKETS = 3
_TICKET_FRAME, _BLOCK, _SESSION, _STATEFUL_TICKET = 64, 16, 148, 32


def _ticket(names: int) -> int:
    """How long a ticket is that remembers so many octets of names: the client's certificate and what it asked for.

    A real one is the session, encrypted in blocks of 16 octets. It holds a random number that is now four octets long
    and now five, so where the last block is nearly full, a handshake is 16 octets longer or shorter by chance; and a
    run would not be the same twice. So what is measured is a handshake with tickets of a fixed length (those that
    only number a session that the server keeps), and this is what they would be: right to a block.
    """
    return _TICKET_FRAME + _BLOCK * ((_SESSION + names) // _BLOCK + 1)


class Meeting:
    """How one handshake goes. Flights alternate, and the client begins: flight n is sent on receipt of n - 1.

    By side: from which flight on it is connected, and with which it gives up and why.
    """

    def __init__(self) -> None:
        self.flights: list[int] = []
        self.connected = [NEVER, NEVER]
        self.errors: list[tuple[int, ssl.SSLError] | None] = [None, None]
        self.number = 0
        self.objects: tuple[ssl.SSLObject, ssl.SSLObject]

    @classmethod
    def made(cls, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> Meeting:
        """By a real handshake, but for its tickets: see `_ticket`."""
        self = cls()
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        options = server.options
        server.options |= ssl.OP_NO_TICKET
        self.objects = (
            client.wrap_bio(to_client, to_server, server_hostname=name),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        server.options = options
        for flight in range(_MOST_FLIGHTS):
            side = flight % 2
            self._turn(side, flight)
            size = (to_server, to_client)[side].pending
            if flight and not size:
                break
            self.flights.append(size)
        seen = self.objects[SERVER]
        if self.well and len(self.flights) > _TICKETS and seen.version() == "TLSv1.3":
            # A server that asks for no names keeps none.
            kept = 0 if server.sni_callback is None else told_length(name)
            more = _ticket(len(seen.getpeercert(True) or b"") + kept) - _STATEFUL_TICKET
            self.flights[_TICKETS] += server.num_tickets * more
        return self

    def _turn(self, side: Side, flight: int) -> None:
        if self.errors[side] is not None:
            return
        try:
            if self.connected[side] == NEVER:
                self.objects[side].do_handshake()
                self.connected[side] = flight
            else:
                # Tickets, or an alert of a server that did not like the client's certificate.
                self.objects[side].read(1)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        except ssl.SSLError as error:
            self.errors[side] = flight, error

    def size(self, flight: int) -> int:
        return self.flights[flight] if flight < len(self.flights) else 0

    def error(self, side: Side, flight: int) -> ssl.SSLError | None:
        found = self.errors[side]
        return found[1] if found is not None and found[0] == flight else None

    @property
    def well(self) -> bool:
        return self.errors == [None, None] and NEVER not in self.connected


class Meetings:
    """Every meeting of a world, each made the first time it is asked for."""

    def __init__(self) -> None:
        self.made = 0
        self._found: dict[tuple[ssl.SSLContext, ssl.SSLContext, str | None], Meeting] = {}
        self._by_number: list[Meeting] = []
        # Those really made: by who answered whom, and by who showed itself to whom.
        self._answers: dict[Shape, Meeting] = {}
        self._shown: dict[Shape, Meeting] = {}
        self._clients: dict[ssl.SSLContext, Shape] = {}
        self._servers: dict[ssl.SSLContext, Shape] = {}

    def of(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> Meeting:
        key = (client, server, name)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._meet(client, server, name)
            found.number = len(self._by_number)
            self._by_number.append(found)
        return found

    def numbered(self, number: int) -> Meeting | None:
        return self._by_number[number] if number < len(self._by_number) else None

    def _meet(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> Meeting:
        says = self._clients.get(client)
        if says is None:
            says = self._clients[client] = _says(client)
        demands = self._servers.get(server)
        if demands is None:
            demands = self._servers[server] = _trusts(server)
        asked, showed = (server, name, says), (client, told_length(name), demands)
        answer, shown = self._answers.get(asked), self._shown.get(showed)
        if (
            answer is not None
            and shown is not None
            and answer.flights == shown.flights
            and answer.connected == shown.connected
        ):
            return _together(answer, shown)
        self.made += 1
        meeting = Meeting.made(client, server, name)
        if meeting.well:
            self._answers.setdefault(asked, meeting)
            self._shown.setdefault(showed, meeting)
        return meeting


class _Introduced(ssl.SSLObject):
    """What a server knows of a handshake, but that another client showed itself."""

    def __init__(self, like: ssl.SSLObject, peer: ssl.SSLObject) -> None:
        # Not super().__init__(): only a context makes those.
        vars(self).update(vars(like))
        self._peer = peer

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self._peer.getpeercert(binary_form)


def _together(answer: Meeting, shown: Meeting) -> Meeting:
    meeting = Meeting()
    meeting.flights = answer.flights
    meeting.connected = answer.connected
    meeting.objects = (
        answer.objects[CLIENT],
        _Introduced(answer.objects[SERVER], shown.objects[SERVER]),
    )
    return meeting


def told_length(name: str | None) -> int:
    """How long the name in a hello is: an address is not told."""
    told = name is not None and ":" not in name and any(char.isalpha() for char in name)
    return len(name) if told and name is not None else 0


def hello(client: ssl.SSLContext, name: str | None) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def _trusts(context: ssl.SSLContext) -> Shape:
    """By what a context judges the other side. Authorities in a directory it does not tell; nobody here has such."""
    return (
        context.verify_mode,
        context.verify_flags,
        context.check_hostname,
        context.minimum_version,
        context.maximum_version,
        context.options,
        sha256(b"".join(sorted(context.get_ca_certs(binary_form=True)))).digest(),
        tuple(each["name"] for each in context.get_ciphers()),
    )


def _says(context: ssl.SSLContext) -> Shape:
    """What a client says and trusts, its name for the server apart."""
    return (*_trusts(context), *_without_chance(hello(context, "a.example")))


def _without_chance(said: bytes) -> Shape:
    """A hello without random number, session and keys, which are never twice the same."""
    at = _RANDOM_AT + _RANDOM
    at += 1 + said[at]
    ciphers_at = at
    at += 2 + int.from_bytes(said[at : at + 2])
    at += 1 + said[at]
    parts: list[Any] = [said[:_RANDOM_AT], said[ciphers_at:at]]
    at += 2
    while at < len(said):
        kind, size = int.from_bytes(said[at : at + 2]), int.from_bytes(said[at + 2 : at + 4])
        at += 4
        parts.append((kind, size if kind == _KEY_SHARE else said[at : at + size]))
        at += size
    return tuple(parts)
