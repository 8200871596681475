"""What a client of the proxy says before bytes flow: SOCKS5 or HTTP on the same port, told apart by the first byte.

    FIRST --0x05--> METHODS --username--> CREDENTIALS --> REQUEST --> DIALLING --> OPEN
      |                 \\_____________no username_________/              |
      \\--a letter--> HEAD -------------------------------------------> /

SOCKS5 is RFC 1928, its user names RFC 1929; CONNECT is RFC 9110 section 9.3.6, plain HTTP by proxy RFC 9112
section 3.2.2. Of plain HTTP one request a connection is carried and both sides are told so: what follows a head
may then pass as bytes. Passwords are not looked at: the user name says who one wants to be, and proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote, urlsplit

LONGEST_HEAD: Final = 64 * 1024

_VERSION, _AUTH_VERSION = 5, 1
_NO_AUTHENTICATION, _USERNAME, _NO_METHOD = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_GONE: Final = frozenset(
    {b"proxy-connection", b"proxy-authorization", b"connection", b"keep-alive", b"host"}
)


class Phase(Enum):
    FIRST = "first"
    METHODS = "methods"
    CREDENTIALS = "credentials"
    REQUEST = "request"
    HEAD = "head"
    DIALLING = "dialling"
    OPEN = "open"
    FAILED = "failed"


class Why(Enum):
    """What can go wrong, with the reply code of SOCKS5 and the status of HTTP that come closest."""

    FORBIDDEN = (2, 403)
    NAME = (4, 502)
    UNREACHABLE = (3, 502)
    REFUSED = (5, 502)
    TIMEOUT = (6, 504)
    GONE = (1, 503)
    COMMAND = (7, 405)
    MALFORMED = (1, 400)


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes for the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect there as this visitor, then call `dialled` or `failed`."""

    city: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Bytes for the client, then the end of its connection; `why` is for people."""

    data: bytes
    why: str


Effect = Reply | Dial | Refuse

# Name a client gave, or None -> the city. Raises UnknownCityError.
CityOf = Callable[[str | None], str]


class UnknownCityError(Exception):
    """There is no such visitor; the text names those there are."""


class Handshake:
    """One client. `feed` it until it says Dial or Refuse; `rest` is what the client has sent beyond that."""

    def __init__(self, city_of: CityOf) -> None:
        self._city_of = city_of
        self._city: str | None = None
        self._buffer = b""
        self._socks = False
        self._first_upward = b""
        self._tunnel = True
        self.phase = Phase.FIRST

    def feed(self, data: bytes) -> list[Effect]:
        self._buffer += data
        effects: list[Effect] = []
        while self._buffer and self.phase not in (Phase.DIALLING, Phase.OPEN, Phase.FAILED):
            step = self._step()
            if step is None:
                if len(self._buffer) > LONGEST_HEAD:
                    step = [self._refuse(Why.MALFORMED, "the head of this request is too large")]
                else:
                    break
            effects += step
        return effects

    def dialled(self) -> tuple[bytes, bytes]:
        """What the client is told, and what goes to the other side first."""
        self.phase = Phase.OPEN
        rest, self._buffer = self._buffer, b""
        if self._socks:
            return _socks_reply(0), rest
        if self._tunnel:
            return b"HTTP/1.1 200 Connection established\r\n\r\n", rest
        return b"", self._first_upward + rest

    def failed(self, why: Why, text: str) -> Refuse:
        return self._refuse(why, text)

    def _step(self) -> list[Effect] | None:
        """One message, if it is there as a whole; None: more bytes are needed."""
        match self.phase:
            case Phase.FIRST:
                self._socks = self._buffer[0] == _VERSION
                if not self._socks and not chr(self._buffer[0]).isalpha():
                    return [self._refuse(Why.MALFORMED, "neither SOCKS5 nor HTTP")]
                self.phase = Phase.METHODS if self._socks else Phase.HEAD
                return []
            case Phase.METHODS:
                return self._methods()
            case Phase.CREDENTIALS:
                return self._credentials()
            case Phase.REQUEST:
                return self._request()
            case _:
                return self._head()

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    # SOCKS5

    def _methods(self) -> list[Effect] | None:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return None
        offered = self._take(2 + self._buffer[1])[2:]
        # A client that can name a user is asked to: the name is the city.
        if _USERNAME in offered:
            self.phase = Phase.CREDENTIALS
            return [Reply(bytes((_VERSION, _USERNAME)))]
        if _NO_AUTHENTICATION in offered:
            self._city = self._city_of(None)
            self.phase = Phase.REQUEST
            return [Reply(bytes((_VERSION, _NO_AUTHENTICATION)))]
        self.phase = Phase.FAILED
        return [Refuse(bytes((_VERSION, _NO_METHOD)), "no way to log in that is known here")]

    def _credentials(self) -> list[Effect] | None:
        data = self._buffer
        if len(data) < 2 or len(data) < 3 + data[1] or len(data) < 3 + data[1] + data[2 + data[1]]:
            return None
        name = data[2 : 2 + data[1]].decode(errors="replace")
        self._take(3 + data[1] + data[2 + data[1]])
        try:
            self._city = self._city_of(name or None)
        except UnknownCityError as error:
            # RFC 1929 has no place for a reason; the driver tells it elsewhere.
            self.phase = Phase.FAILED
            return [Refuse(bytes((_AUTH_VERSION, 1)), str(error))]
        self.phase = Phase.REQUEST
        return [Reply(bytes((_AUTH_VERSION, 0)))]

    def _request(self) -> list[Effect] | None:
        data = self._buffer
        if len(data) < 5:
            return None
        sizes = {_IPV4: 4, _IPV6: 16, _NAME: 1 + data[4]}
        if data[0] != _VERSION or data[3] not in sizes:
            return [self._refuse(Why.MALFORMED, "not a request of SOCKS5", code=8)]
        size = sizes[data[3]]
        if len(data) < 4 + size + 2:
            return None
        message = self._take(4 + size + 2)
        if message[1] != _CONNECT:
            return [self._refuse(Why.COMMAND, "CONNECT is the only command here")]
        address = message[4 : 4 + size]
        if message[3] == _NAME:
            host = address[1:].decode("ascii", errors="replace")
        else:
            host = str(ipaddress.ip_address(address))
        return [self._dial(host, int.from_bytes(message[-2:], "big"))]

    # HTTP

    def _head(self) -> list[Effect] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._take(end + 4)[:-4].split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return [self._refuse(Why.MALFORMED, "neither SOCKS5 nor an HTTP/1.1 request")]
        fields = [(line.partition(b":")[0].strip().lower(), line) for line in lines if line]
        try:
            self._city = self._city_of(_user(fields))
        except UnknownCityError as error:
            return [self._refuse(Why.FORBIDDEN, str(error))]
        method, target, _ = words
        try:
            if method == b"CONNECT":
                parts = urlsplit("//" + target.decode("ascii"))
                default = 443
            else:
                parts = urlsplit(target.decode("ascii"))
                if parts.scheme != "http":
                    return [self._refuse(Why.MALFORMED, _NO_PROXY_REQUEST)]
                default = 80
            host, port = parts.hostname, parts.port or default
        except ValueError:
            host, port = None, 0
        if not host:
            return [self._refuse(Why.MALFORMED, "no host in the target of this request")]
        if method != b"CONNECT":
            self._tunnel = False
            self._first_upward = _forwarded(method, target, parts.netloc.encode(), fields)
        return [self._dial(host, port)]

    # Both

    def _dial(self, host: str, port: int) -> Dial:
        assert self._city is not None
        self.phase = Phase.DIALLING
        return Dial(self._city, host, port)

    def _refuse(self, why: Why, text: str, *, code: int | None = None) -> Refuse:
        self.phase = Phase.FAILED
        reply, status = why.value
        if self._socks:
            return Refuse(_socks_reply(reply if code is None else code), text)
        # The reason is in the status line too: it is all that many clients show of a failed CONNECT.
        plain = text.replace("\r", " ").replace("\n", " ").encode("ascii", "replace")
        body = plain + b"\n"
        head = b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        return Refuse(head % (status, plain, len(body)) + b"Connection: close\r\n\r\n" + body, text)


_NO_PROXY_REQUEST = (
    "this port is a proxy: give it to a program as its proxy (curl -x), the web page has another"
)


def _socks_reply(code: int) -> bytes:
    """The address bound is not told: it is one of another network."""
    return bytes((_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


def _user(fields: list[tuple[bytes, bytes]]) -> str | None:
    """The user of `Proxy-Authorization: Basic` (RFC 7617); None where there is none."""
    for name, line in fields:
        if name == b"proxy-authorization":
            scheme, _, credentials = line.partition(b":")[2].strip().partition(b" ")
            if scheme.lower() == b"basic":
                try:
                    plain = base64.b64decode(credentials, validate=True)
                except binascii.Error:
                    return None
                return unquote(plain.partition(b":")[0].decode(errors="replace")) or None
    return None


def _forwarded(
    method: bytes, target: bytes, authority: bytes, fields: list[tuple[bytes, bytes]]
) -> bytes:
    """The head for the origin: target in origin form, Host by the target (RFC 9112 section 3.2.2), one request."""
    path = b"/" + target.split(b"//", 1)[1].partition(b"/")[2]
    if b"/" not in target.split(b"//", 1)[1] and b"?" in target:
        path = b"/?" + target.partition(b"?")[2]
    upgrade = [
        line for name, line in fields if name == b"connection" and b"upgrade" in line.lower()
    ]
    lines = [
        b"%s %s HTTP/1.1" % (method, path.partition(b"#")[0]),
        b"Host: " + authority.rpartition(b"@")[2],
        *(line for name, line in fields if name not in _GONE),
        *(upgrade or [b"Connection: close"]),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
