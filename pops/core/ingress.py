"""What a PoP makes of a visitor's request: a refusal, or the request as the connector shall get it.

The ingress PoP does all the work on request headers, once. Relays and the egress PoP pass them on
as they are. One walk over the fields does everything: hop-by-hop fields go (RFC 9110 section 7.6.1;
those that a Connection field names went with the HTTP/1.1 codec), what only the edge may say is
dropped when a visitor said it, and then said by the edge.
"""

from __future__ import annotations

import random
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pops.core import pages
from pops.core.failover import IDEMPOTENT_METHODS
from pops.core.pages import Problem
from pops.core.policy import Verdict
from wire.headers import (
    CDN_LOOP,
    CF_CONNECTING_IP,
    CF_IPCOUNTRY,
    CF_RAY,
    CF_VISITOR,
    FORGEABLE,
    HOP_BY_HOP,
    UPGRADE,
    UPGRADE_WEBSOCKET,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
)

Headers = list[tuple[bytes, bytes]]

LOOP_TOKEN = b"popnet"
# A service may call a site of the same edge, and that one another: this often is no accident.
MOST_PASSES = 8
# By which routing algorithm's table a request wants to go, where several run side by side.
ALGORITHM = b"popnet-algorithm"

# The usual fields of a request pass without a closer look. Everything else is looked at.
_PASS = frozenset(
    {
        b"accept",
        b"accept-language",
        b"authorization",
        b"cache-control",
        b"content-type",
        b"cookie",
        b"if-modified-since",
        b"if-none-match",
        b"origin",
        b"pragma",
        b"priority",
        b"range",
        b"referer",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"upgrade-insecure-requests",
        b"user-agent",
    }
)
_USUAL_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_SCHEME = (b":scheme", b"https")
_FIRST_PASS = (CDN_LOOP, LOOP_TOKEN)
_IDENTITY = (b"accept-encoding", b"identity")
_FORGED_PREFIXES = (b"cf-", b"x-forwarded-", b"popnet-", b"x-popnet-")
# Between one hop and the next, or what frames a message.
_NEVER_PASSED_ON = FORGEABLE | HOP_BY_HOP | {CDN_LOOP, b"content-length"}
# `cdn-loop` is set anew, the others are read out and have their own place.
_TAKEN = frozenset({b"host", b"expect", b"upgrade", CDN_LOOP, ALGORITHM}) | HOP_BY_HOP


@dataclass(frozen=True, slots=True)
class Visitor:
    """What is known of a visitor's connection, and the fields that say it on each request."""

    address: str
    scheme: str
    sni: str | None
    fields: tuple[tuple[bytes, bytes], ...]
    country: str = "XX"
    certificate: str = ""  # the name in a certificate that TLS has verified

    @classmethod
    def of(
        cls, address: str, scheme: str, sni: str | None, country: str, certificate: str = ""
    ) -> Visitor:
        # IPv4 visitors on an IPv6 socket, and the zone of a link-local address.
        plain = address.removeprefix("::ffff:").partition("%")[0]
        shown, protocol = plain.encode(), scheme.encode()
        return cls(
            plain,
            scheme,
            sni.lower() if sni else None,
            (
                (CF_CONNECTING_IP, shown),
                (X_FORWARDED_FOR, shown),
                (X_FORWARDED_PROTO, protocol),
                (CF_VISITOR, b'{"scheme":"%s"}' % protocol),
                (CF_IPCOUNTRY, country.encode()),
            ),
            country,
            certificate,
        )


@dataclass(slots=True)
class Request:
    """A visitor's request, understood. `headers` are those for the connector."""

    method: bytes
    host: str
    tunnel: str  # UUID; of a load balancer's pool it is chosen later
    ray: str
    ray_field: tuple[bytes, bytes]
    headers: Headers
    accept: bytes
    websocket: bool
    offers_upgrade: bool  # to something that is not carried here: an ordinary request without body
    expects_continue: bool
    length: int | None
    idempotent: bool  # may be received twice (RFC 9110 section 9.2.2)
    algorithm: str = ""  # beside the PoP's own, where the request names one of those
    rule: str = ""  # the security rule that let it pass, where there is a policy


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further, and what its error page needs to know."""

    problem: Problem
    ray: str
    accept: bytes


POOL = "pool/"

# (method, host, path, header fields as they came, visitor) -> what the security policy says.
Guard = Callable[[bytes, str, bytes, Headers, Visitor], Verdict]


class Ingress:
    """`hosts`: public name -> tunnel UUID, or "pool/" and a load balancer's name. Rays come from the handed-in Random.

    `guard` is asked about every request that is in order, before anything is done with it; None: no policy.
    """

    def __init__(
        self,
        me: str,
        hosts: Mapping[str, str],
        rng: random.Random,
        *,
        body_limit: int,
        header_limit: int,
        beside: Iterable[str] = (),
    ) -> None:
        self._me = me
        self._beside = {name.encode(): name for name in beside}
        self._hosts = dict(hosts)
        self._rng = rng
        self._body_limit = body_limit
        self._header_limit = header_limit
        self.guard: Guard | None = None

    def set_hosts(self, hosts: Mapping[str, str]) -> None:
        """These are served from now on, and no others."""
        self._hosts = dict(hosts)

    def new_ray(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"

    def understand(self, headers: Headers, visitor: Visitor) -> Request | Refusal:
        """Decide on one request head, given in HTTP/2 form."""
        ray = self.new_ray()
        method = path = authority = accept = loop = b""
        algorithm = ""
        upgrade = protocol = host_field = b""
        encoding = length_text = b""
        expects = False
        out: Headers = []
        for field in headers:
            name, value = field
            if name in _PASS:
                out.append(field)
                if name == b"accept":
                    accept = value
            elif name[:1] == b":":
                if name == b":method":
                    method = value
                elif name == b":path":
                    path = value
                elif name == b":authority":
                    authority = value
                elif name == b":protocol":
                    protocol = value
            elif name in _TAKEN:
                if name == b"host":
                    host_field = value
                elif name == b"upgrade":
                    upgrade = value
                elif name == b"expect":
                    expects = value.lower() == b"100-continue"
                elif name == CDN_LOOP:
                    loop = loop + b", " + value if loop else value
                elif name == ALGORITHM:
                    algorithm = self._beside.get(value, "")
                elif name == b"te" and b"trailers" in value.lower():
                    out.append((b"te", b"trailers"))
            elif name == b"content-length":
                length_text = value
                out.append(field)
            elif name == b"accept-encoding":
                encoding = value
                out.append(field)
            elif b"_" in name:
                # WSGI and CGI (RFC 3875 section 4.1.18) make one variable of x_y and x-y.
                dashed = name.replace(b"_", b"-")
                if dashed not in _NEVER_PASSED_ON and not dashed.startswith(_FORGED_PREFIXES):
                    out.append(field)
            elif name not in FORGEABLE and not name.startswith(_FORGED_PREFIXES):
                out.append(field)
        host = _host_name(authority or host_field)
        # The usual request passes by one look at each thing that could be wrong.
        if (
            method not in _USUAL_METHODS
            or path[:1] != b"/"
            or host not in self._hosts
            or (visitor.sni is not None and visitor.sni != host)
            or host_field
            or loop
        ):
            problem = self._problem(
                method, path, host, authority, host_field, loop, protocol, visitor
            )
            if problem is not None:
                return Refusal(problem, ray, accept)
        if sum([len(name) + len(value) for name, value in headers]) > self._header_limit:
            return Refusal(pages.headers_too_large(self._header_limit), ray, accept)
        length = None
        if length_text.isdigit() and (length := int(length_text)) > self._body_limit:
            return Refusal(pages.body_too_large(self._body_limit), ray, accept)
        websocket = False
        if protocol or upgrade:
            websocket = protocol == b"websocket" or upgrade.lower() == b"websocket"
        if websocket:
            method = b"GET"
            out.append((UPGRADE, UPGRADE_WEBSOCKET))
            if protocol:
                # RFC 8441 section 5 does without the key; the origin speaks RFC 6455 and needs one.
                key = b2a_base64(self._rng.randbytes(16), newline=False)
                out.append((b"sec-websocket-key", key))
        rule = ""
        if self.guard is not None:
            verdict = self.guard(method, host, path, headers, visitor)
            if not verdict.passes:
                return Refusal(pages.forbidden(verdict), ray, accept)
            rule = verdict.name
        if not encoding:
            # Without it, a connector in Go asks the origin for gzip and unpacks it unseen.
            out.append(_IDENTITY)
        ray_field = (CF_RAY, f"{ray}-{self._me}".encode())
        head: Headers = [
            (b":method", method),
            _SCHEME,
            (b":authority", authority or host_field),
            (b":path", path),
            *visitor.fields,
            (CDN_LOOP, b"%s, %s" % (loop, LOOP_TOKEN)) if loop else _FIRST_PASS,
            *out,
            ray_field,
        ]
        return Request(
            method,
            host,
            self._hosts[host],
            ray,
            ray_field,
            head,
            accept,
            websocket,
            bool(upgrade) and not websocket,
            expects,
            length,
            method in IDEMPOTENT_METHODS,
            algorithm,
            rule,
        )

    def _problem(
        self,
        method: bytes,
        path: bytes,
        host: str,
        authority: bytes,
        host_field: bytes,
        loop: bytes,
        protocol: bytes,
        visitor: Visitor,
    ) -> Problem | None:
        if host not in self._hosts:
            if not host:
                return pages.bad_request("it names no host")
            if visitor.sni is not None and visitor.sni != host:
                return pages.misdirected(host, visitor.sni)
            return pages.unknown_host(host)
        # Another of our hosts on the same connection is coalescing, which RFC 9113 section 9.1.1
        # allows; a name that we do not serve was never ours to coalesce with.
        sni = visitor.sni
        if sni is not None and sni != host and sni not in self._hosts:
            return pages.misdirected(host, sni)
        if authority and host_field and _host_name(host_field) != host:
            return pages.bad_request("Host and authority differ")
        if method == b"CONNECT" and protocol != b"websocket":
            return pages.method_refused("CONNECT")
        if method == b"TRACE" or not method:
            return pages.method_refused(method.decode("latin-1"))
        if not path.startswith(b"/") and not (path == b"*" and method == b"OPTIONS"):
            return pages.bad_request("its path does not begin with /")
        if loop and loop.count(LOOP_TOKEN) >= MOST_PASSES:
            return pages.looped(f"it has passed this edge {MOST_PASSES} times")
        return None


@lru_cache(maxsize=1024)
def _host_name(authority: bytes) -> str:
    """Lower case, without port and final dot."""
    text = authority.decode("latin-1").lower()
    if text[:1] == "[":
        return text.partition("]")[0][1:]
    return text.partition(":")[0].removesuffix(".")
