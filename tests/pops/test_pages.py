"""Error pages and server-timing: what people read when something failed."""

from __future__ import annotations

import json

import pytest

from pops.core import pages
from pops.core.timing import server_timing
from wire.overlay import Fault, FaultCode


def page(problem: pages.Problem, accept: bytes = b"*/*") -> tuple[dict[str, str], str]:
    headers, body = pages.render(
        problem, ray="0123456789abcdef", me="NRT", path=("NRT", "LHR"), accept=accept
    )
    fields = {name.decode(): value.decode() for name, value in headers}
    assert int(fields["content-length"]) == len(body)
    return fields, body.decode()


def test_a_browser_gets_html_that_says_which_hop_failed() -> None:
    fields, body = page(pages.from_fault(Fault(FaultCode.ORIGIN, "LHR", "connection refused")))
    assert (fields[":status"], fields["content-type"]) == ("502", "text/html; charset=utf-8")
    for text in ("the origin service", "LHR", "NRT&gt;LHR", "0123456789abcdef-NRT", "refused"):
        assert text in body


def test_a_program_gets_json() -> None:
    fault = Fault(FaultCode.NO_TUNNEL, "NRT")
    fields, body = page(pages.from_fault(fault), b"application/json")
    told = json.loads(body)
    assert fields["content-type"] == "application/json"
    assert (told["status"], told["error"], told["number"]) == (530, "no-tunnel", 1033)
    assert told["ray"] == "0123456789abcdef-NRT"
    assert "detail" not in told


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", False),
        (b"*/*", False),
        (b"application/json", True),
        (b"application/problem+json, */*;q=0.1", True),
        (b"text/html,application/xhtml+xml,application/json;q=0.9", False),
    ],
)
def test_who_wants_json(accept: bytes, expected: bool) -> None:
    assert pages.wants_json(accept) is expected


def test_nothing_of_a_request_becomes_markup() -> None:
    _, body = page(pages.unknown_host("<script>alert(1)</script>"))
    assert "<script>" not in body


def test_the_head_says_in_one_line_what_the_page_says() -> None:
    assert page(pages.pool_down("www"))[0]["popnet-problem"] == (
        "No service of this pool is up: load balancer www"
    )
    no_tunnel = pages.from_fault(Fault(FaultCode.NO_TUNNEL, "NRT"))
    assert page(no_tunnel)[0]["popnet-problem"] == "The tunnel is not connected"
    told = page(pages.unknown_host("a\r\nset-cookie: b\x7f\u20ac"))[0]["popnet-problem"]
    assert told == "No such site here: a??set-cookie: b?? is not served here"


@pytest.mark.parametrize("code", list(FaultCode))
def test_every_fault_has_a_page(code: FaultCode) -> None:
    fields, body = page(pages.from_fault(Fault(code, "LHR", "x")))
    assert 500 <= int(fields[":status"]) < 600
    assert len(body) < 1000


def test_server_timing_reads_as_the_request_travelled() -> None:
    timings = (("origin", 0.0008), ("LHR", 0.0112), ("IAD", 0.0872))
    value = server_timing(("NRT", "IAD", "LHR"), 0.2454, timings)
    assert value == (
        b'NRT;dur=245.400;desc="ingress", IAD;dur=87.200;desc="relay", '
        b'LHR;dur=11.200;desc="egress", origin;dur=0.800'
    )
    assert server_timing(("LHR",), 0.01, ()) == b'LHR;dur=10.000;desc="ingress+egress"'
    assert server_timing(("LHR",), None, ()) == b'LHR;desc="ingress"'
