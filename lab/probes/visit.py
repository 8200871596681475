"""One request, phase by phase, as a visitor's program makes it: DNS, TCP, TLS, request, first byte, body.

Reads {"url", "method", "headers", "resolver", "timeout_s", "ca", "certificate"} from stdin and prints
{"phases": {"dns", "tcp", "tls", "request", "body"}, "address", "status", "headers", "bytes", "error"}.
Phases are durations in seconds; `request` runs from the first byte sent to the response head.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from wire.dns import (
    DnsError,
    Question,
    Record,
    Transport,
    Zone,
    Zones,
    make_query,
    parse_response,
    respond,
)

_MESSAGE_ID = 1


class PhaseError(Exception):
    """A phase that did not end well; its text says which and why."""


def visit(task: dict[str, Any]) -> dict[str, Any]:
    """Carry out one task. Never raises for what the network does: the answer's `error` says it."""
    phases: dict[str, float] = {}
    answer: dict[str, Any] = {"phases": phases, "error": None}
    try:
        _visit(task, phases, answer)
    except PhaseError as failure:
        answer["error"] = str(failure)
    return answer


def _visit(task: dict[str, Any], phases: dict[str, float], answer: dict[str, Any]) -> None:
    url = urlsplit(task["url"])
    host = url.hostname or ""
    timeout_s = task["timeout_s"]
    # What a browser has done long before its user clicks: trust loaded, the DNS library used once.
    context = ssl.create_default_context(cafile=task["ca"])
    if task.get("certificate"):
        context.load_cert_chain(task["certificate"])
    _rehearse()
    clock = _Phases(phases)
    answer["address"] = address = _resolve(host, task["resolver"], timeout_s)
    clock.end("dns")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        connection = socket.create_connection((address, port), timeout_s)
    except OSError as error:
        raise PhaseError(f"tcp to {address}:{port}: {error}") from error
    clock.end("tcp")
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            try:
                connection = context.wrap_socket(connection, server_hostname=host)
            except OSError as error:  # SSLError is one
                raise PhaseError(f"tls with {host}: {error}") from error
            clock.end("tls")
        # The standard library's client on a socket that is connected already.
        client = http.client.HTTPConnection(host, port)
        client.sock = connection
        try:
            target = url._replace(scheme="", netloc="", fragment="").geturl() or "/"
            client.request(task["method"], target, headers=task["headers"])
            response = client.getresponse()
            clock.end("request")
            answer["status"] = response.status
            answer["headers"] = [[name.lower(), value] for name, value in response.getheaders()]
            answer["bytes"] = len(response.read())
            clock.end("body")
        except (OSError, http.client.HTTPException) as error:
            raise PhaseError(f"http: {type(error).__name__}: {error}") from error


class _Phases:
    """Stopwatch: `end` writes the time since the last end under a name."""

    def __init__(self, phases: dict[str, float]) -> None:
        self._phases = phases
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self._phases[name] = now - self._since
        self._since = now


def _rehearse() -> None:
    """dnspython loads its record types when they first come up, which takes milliseconds."""
    zones = Zones([Zone("popnet", (Record("here.popnet", "A", "127.0.0.1"),))])
    question = Question("here.popnet", "A")
    response = respond(make_query(question, _MESSAGE_ID), zones, Transport.UDP)
    assert response is not None
    parse_response(response, question, _MESSAGE_ID)


def _resolve(host: str, resolver: str, timeout_s: float) -> str:
    """Ask the lab's DNS itself: the C library would hide a retry inside its answer."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        pass
    else:
        return host
    question = Question(host, "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout_s)
        try:
            udp.connect((resolver, 53))
            udp.send(make_query(question, _MESSAGE_ID))
            answer = parse_response(udp.recv(4096), question, _MESSAGE_ID)
        except (OSError, DnsError) as error:
            raise PhaseError(f"dns for {host} at {resolver}: {error}") from error
    addresses = [record.data for record in answer.of("A")]
    if not addresses:
        raise PhaseError(f"dns: {resolver} has no address for {host} ({answer.rcode})")
    return addresses[0]


def main() -> None:
    json.dump(visit(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
