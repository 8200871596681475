"""Error pages: short, and honest about which hop failed.

HTML for browsers, JSON for programs that ask for it, and nothing that the visitor could not see
anyway: names of PoPs, the ray by which the operator finds the request in the logs, and what to do.
"""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from enum import Enum

from pops.core.policy import Verdict
from wire.overlay import Fault, FaultCode

Headers = list[tuple[bytes, bytes]]


# What a response says of the security rule that decided: "rule 2 allow".
SECURITY_FIELD = b"popnet-security"
# What the page says, in one line, for who looks at the head only. No origin's response has it.
PROBLEM_FIELD = b"popnet-problem"


class Failed(Enum):
    """Which leg of the journey: visitor | edge | tunnel | origin."""

    REQUEST = "your request"
    EDGE = "the edge network"
    TUNNEL = "the tunnel"
    ORIGIN = "the origin service"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a visitor does not get what was asked for. `code` is a stable word for programs."""

    status: int
    code: str
    title: str
    failed: Failed
    detail: str = ""
    pop: str = ""  # the PoP that noticed; "" for the ingress
    number: int | None = None  # a number that users of such networks know, e.g. 1033
    rule: str = ""  # the security rule that refused it
    retry_after_s: float = 0.0

    @property
    def origin_unreached(self) -> bool:
        """The request certainly never reached a connector, so another way may be tried."""
        return self.failed is Failed.EDGE or self.code in ("no-tunnel", "tunnel-lost")


def bad_request(detail: str) -> Problem:
    return Problem(400, "bad-request", "Bad request", Failed.REQUEST, detail)


def unknown_host(host: str) -> Problem:
    return Problem(
        404, "unknown-host", "No such site here", Failed.REQUEST, f"{host[:100]} is not served here"
    )


def misdirected(host: str, sni: str) -> Problem:
    detail = f"the TLS connection was made for {sni[:100]}, the request names {host[:100]}"
    return Problem(421, "misdirected", "Misdirected request", Failed.REQUEST, detail)


def method_refused(method: str) -> Problem:
    return Problem(
        405, "method", "Method not allowed", Failed.REQUEST, f"{method[:20]} is not carried here"
    )


def body_too_large(limit: int) -> Problem:
    return Problem(
        413, "body-too-large", "Content too large", Failed.REQUEST, f"the limit is {limit} bytes"
    )


def body_too_slow(rate: int) -> Problem:
    return Problem(
        408,
        "body-too-slow",
        "Request timeout",
        Failed.REQUEST,
        f"less than {rate} bytes a second came of its body",
    )


def headers_too_large(limit: int) -> Problem:
    return Problem(
        431,
        "headers-too-large",
        "Request header fields too large",
        Failed.REQUEST,
        f"the limit is {limit} bytes",
    )


def forbidden(verdict: Verdict) -> Problem:
    """What a security rule refuses."""
    code, title = "security", "Forbidden"
    if verdict.status == 429:
        code, title = "rate-limited", "Too many requests"
    elif verdict.challenge:
        code, title = "challenge", "Show that you may"
    elif verdict.status not in (403, 401):
        title = "Refused"
    return Problem(
        verdict.status,
        code,
        title,
        Failed.REQUEST,
        verdict.detail,
        rule=verdict.name,
        retry_after_s=verdict.retry_after_s,
    )


def pool_down(pool: str) -> Problem:
    return Problem(
        503,
        "pool-down",
        "No service of this pool is up",
        Failed.TUNNEL,
        f"load balancer {pool}",
    )


def looped(detail: str) -> Problem:
    return Problem(508, "loop", "Loop detected", Failed.EDGE, detail)


_FAULTS: dict[FaultCode, tuple[int, str, Failed]] = {
    FaultCode.NO_TUNNEL: (530, "The tunnel is not connected", Failed.TUNNEL),
    FaultCode.TUNNEL_LOST: (502, "The tunnel connection was lost", Failed.TUNNEL),
    FaultCode.TUNNEL_PROTOCOL: (502, "The connector gave no valid response", Failed.TUNNEL),
    FaultCode.ORIGIN: (502, "The origin gave no valid response", Failed.ORIGIN),
    FaultCode.OVERLAY: (502, "A PoP on the way cannot be reached", Failed.EDGE),
    FaultCode.TIMEOUT: (504, "No response in time", Failed.ORIGIN),
    FaultCode.LOOP: (508, "Loop detected", Failed.EDGE),
    FaultCode.ROUTE: (502, "PoPs disagree about the way", Failed.EDGE),
    FaultCode.DRAINING: (503, "This PoP is going away", Failed.EDGE),
}


def fault_status(code: FaultCode) -> int:
    return _FAULTS[code][0]


def from_fault(fault: Fault) -> Problem:
    """What the visitor is told about a failure behind the ingress PoP."""
    status, title, failed = _FAULTS[fault.code]
    number = 1033 if fault.code is FaultCode.NO_TUNNEL else None
    return Problem(status, fault.code.value, title, failed, fault.detail, fault.pop, number)


def wants_json(accept: bytes) -> bool:
    """JSON when it is asked for and HTML is not; browsers always name text/html."""
    return b"json" in accept and b"text/html" not in accept


def render(
    problem: Problem, *, ray: str, me: str, path: tuple[str, ...], accept: bytes
) -> tuple[Headers, bytes]:
    """Response head and body. `path` is the way the request was sent, empty if it never was."""
    way = ">".join(path)
    if wants_json(accept):
        fields = {
            "status": problem.status,
            "error": problem.code,
            "number": problem.number,
            "title": problem.title,
            "failed": problem.failed.name.lower(),
            "detail": problem.detail or None,
            "pop": problem.pop or me,
            "rule": problem.rule or None,
            "path": way or None,
            "ray": f"{ray}-{me}",
        }
        kept = {name: value for name, value in fields.items() if value is not None}
        kind, body = b"application/json", json.dumps(kept).encode() + b"\n"
    else:
        kind, body = b"text/html; charset=utf-8", _html(problem, f"{ray}-{me}", me, way)
    headers = [
        (b":status", b"%d" % problem.status),
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (PROBLEM_FIELD, _in_a_line(problem)),
    ]
    if problem.rule:
        headers.append((SECURITY_FIELD, problem.rule.encode("latin-1", "replace")))
    if problem.retry_after_s > 0.0:
        # Whole seconds (RFC 9110 section 10.2.3), and not a moment too early.
        headers.append((b"retry-after", b"%d" % math.ceil(problem.retry_after_s)))
    return headers, body


# A detail may hold what a visitor wrote.
_no_text = re.compile(rb"[\x00-\x1f\x7f]").sub


def _in_a_line(problem: Problem) -> bytes:
    text = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    return _no_text(b"?", text.encode("latin-1", "replace")).strip()


def _html(problem: Problem, ray: str, me: str, way: str) -> bytes:
    number = f" &middot; error {problem.number}" if problem.number is not None else ""
    rows = [("Failed", problem.failed.value), ("Noticed at", problem.pop or me)]
    if way:
        rows.append(("Way", way))
    if problem.rule:
        rows.append(("Security", problem.rule))
    rows.append(("Ray", ray))
    listed = "".join(f"<dt>{name}<dd>{html.escape(value)}" for name, value in rows)
    title = f"{problem.status} {html.escape(problem.title)}"
    detail = f"<p>{html.escape(problem.detail)}" if problem.detail else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:1rem/1.5 system-ui;margin:4rem auto;max-width:36rem}"
        "dt{float:left;width:7rem;color:#666}</style>"
        f"<h1>{title}</h1><p>popnet{number}{detail}<dl>{listed}</dl>\n"
    ).encode()
