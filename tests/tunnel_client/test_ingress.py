from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_client.core.configuration import Configuration
from tunnel_client.core.ingress import Ingress, host_of, parse_ingress, single_service
from tunnel_client.core.services import (
    HelloService,
    HttpService,
    OriginRequest,
    StatusService,
    UnixService,
    parse_duration,
    parse_service,
)
from tunnel_client.errors import ConfigurationError

CATCH_ALL = {"service": "http_status:404"}


def served(ingress: Ingress, authority: str, path: str = "/") -> str:
    return ingress.match(host_of(authority), path).service.text


def test_the_first_rule_that_matches_serves() -> None:
    ingress = parse_ingress(
        [
            {"hostname": "a.example", "path": r"\.(png|css)$", "service": "http://static:80"},
            {"hostname": "A.Example", "service": "http://a:80"},
            {"hostname": "*.b.example", "service": "http://b:80"},
            {"path": "^/health$", "service": "hello_world"},
            CATCH_ALL,
        ]
    )
    assert served(ingress, "a.example", "/x.png") == "http://static:80"
    assert served(ingress, "a.example:8443", "/x.pngx") == "http://a:80"
    assert served(ingress, "A.EXAMPLE.") == "http://a:80"
    assert served(ingress, "x.b.example") == "http://b:80"
    assert served(ingress, "x.y.b.example") == "http://b:80"
    assert served(ingress, "b.example") == "http_status:404"
    assert served(ingress, "xb.example") == "http_status:404"
    assert served(ingress, "[::1]:80", "/health") == "hello_world"


def test_no_rules_are_503() -> None:
    assert served(parse_ingress(None), "x") == "http_status:503"
    assert served(parse_ingress([]), "x") == "http_status:503"


def test_international_names_match_their_ascii_form() -> None:
    ingress = parse_ingress([{"hostname": "*.bücher.example", "service": "hello_world"}, CATCH_ALL])
    assert served(ingress, "a.xn--bcher-kva.example") == "hello_world"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("x", "a list of rules"),
        (["x"], r"ingress\[0\]: 'x' found"),
        ([{"hostname": "a.example", "service": "http://a"}], "must match every request"),
        ([{"path": "x", "service": "http://a"}], "must match every request"),
        ([CATCH_ALL, CATCH_ALL], "never serve"),
        ([{"hostname": "*", "service": "http://a"}, CATCH_ALL], "never serve"),
        ([{"hostname": "a:80", "service": "http://a"}, CATCH_ALL], "no port"),
        ([{"hostname": "a.*.b", "service": "http://a"}, CATCH_ALL], "only in front"),
        ([{"hostname": "a", "path": "(", "service": "http://a"}, CATCH_ALL], "regular expression"),
        ([{}], r"ingress\[0\].service: missing"),
        ([{"service": "http://a", "hots": "x"}], "unknown key"),
        ([{"service": 7}], "text is allowed"),
        ([{"service": "http://a/path"}], "no path"),
        ([{"service": "http://a?x=1"}], "no path"),
        ([{"service": "http://u:p@a"}], "user name"),
        ([{"service": "http://a:99999"}], "service"),
        ([{"service": "localhost:80"}], "not a service"),
        ([{"service": "ftp://a"}], "not a service"),
        ([{"service": "tcp://a:1"}], "not served here"),
        ([{"service": "bastion"}], "not served here"),
        ([{"service": "http_status:99"}], "100 to 999"),
        ([{"service": "unix:"}], "a path belongs"),
        ([{"service": "http://a", "originRequest": {"noTLSVerify": "yes"}}], "true or false"),
        ([{"service": "http://a", "originRequest": {"connectTimeout": "soon"}}], "a duration"),
        ([{"service": "http://a", "originRequest": {"keepAliveConnections": -1}}], "a number"),
        ([{"service": "http://a", "originRequest": {"typo": 1}}], "unknown key"),
        (
            [{"service": "http://a", "originRequest": {"access": {"required": True}}}],
            "checks no Access tokens",
        ),
    ],
)
def test_wrong_rules_name_what_is_wrong(rules: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        parse_ingress(rules)


def test_services() -> None:
    assert parse_service("https://A.example") == HttpService(
        "a.example", 443, True, "https://A.example"
    )
    assert parse_service("ws://[::1]:9/") == HttpService("::1", 9, False, "ws://[::1]:9/")
    assert parse_service("http://a").authority == "a"  # type: ignore[union-attr]
    assert parse_service("unix:/run/x.sock") == UnixService(
        "/run/x.sock", False, "unix:/run/x.sock"
    )
    assert parse_service("unix+tls:/x") == UnixService("/x", True, "unix+tls:/x")
    assert parse_service("http_status:418") == StatusService(418, "http_status:418")
    assert parse_service("hello_world") == HelloService()


def test_origin_requests_are_inherited_and_overridden() -> None:
    ingress = parse_ingress(
        [
            {
                "hostname": "a",
                "service": "https://a",
                "originRequest": {"connectTimeout": "1m30s", "noTLSVerify": True, "access": {}},
            },
            {"service": "https://b", "originRequest": {"tcpKeepAlive": 30, "caPool": None}},
        ],
        {"connectTimeout": 5, "httpHostHeader": "inner", "keepAliveConnections": 7},
    )
    first, last = (rule.origin_request for rule in ingress.rules)
    assert (first.connect_timeout, first.no_tls_verify, first.http_host_header) == (
        90,
        True,
        "inner",
    )
    assert (last.connect_timeout, last.no_tls_verify, last.keep_alive_connections) == (5, False, 7)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h2m3.5s", 3723.5), ("250ms", 0.25), ("0", 0), (45, 45), (0.5, 0.5)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert parse_duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "-3s", "3 s", "3d", None, True, -1, 1e12, []])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="place"):
        parse_duration(text, "place")


def push(version: Any, config: Any) -> bytes:
    return json.dumps({"version": version, "config": config}).encode()


def test_pushes_only_go_forward() -> None:
    configuration = Configuration(single_service(HelloService()))
    assert configuration.version == -1
    taken = configuration.push(push(0, {"ingress": [CATCH_ALL]}))
    assert (taken.version, taken.ingress is configuration.ingress) == (0, True)
    assert json.loads(taken.reply()) == {"lastAppliedVersion": 0, "err": None}
    for version in (0, -5):
        again = configuration.push(push(version, {"ingress": []}))
        assert (again.version, again.ingress, again.error) == (0, None, "")
    assert served(configuration.ingress, "x") == "http_status:404"
    emptied = configuration.push(push(7, {"ingress": [], "warp-routing": {"enabled": True}}))
    assert emptied.ingress is not None
    assert served(configuration.ingress, "x") == "http_status:503"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"version":"1"}',
        b'{"version":1,"config":[1]}',
        b"[" * 5000,
        push(1, {"ingress": [{}]}),
        push(1, {"ingress": [CATCH_ALL], "originRequest": 3}),
    ],
)
def test_a_push_that_cannot_be_used_changes_nothing(body: bytes) -> None:
    configuration = Configuration(single_service(HelloService()))
    refused = configuration.push(body)
    assert (refused.version, refused.ingress) == (-1, None)
    assert refused.error
    assert json.loads(refused.reply())["err"] == refused.error
    assert served(configuration.ingress, "x") == "hello_world"


def test_a_check_that_fails_changes_nothing() -> None:
    configuration = Configuration(Ingress())

    def check(_: Ingress) -> None:
        raise ConfigurationError("no such file")

    assert configuration.push(push(1, {"ingress": [CATCH_ALL]}), check).error == "no such file"
    assert configuration.version == -1


def test_reports() -> None:
    request = OriginRequest(connect_timeout=5.0, no_tls_verify=True)
    service = parse_service("https://a:8443")
    configuration = Configuration(single_service(service, request), {"loglevel": "debug"})
    report = json.loads(configuration.local_report())
    assert report["__configuration_flags"] == {"loglevel": "debug"}
    assert report["ingress"] == [
        {
            "service": "https://a:8443",
            "originRequest": {"connectTimeout": 5, "noTLSVerify": True},
        }
    ]
    assert configuration.as_json()["version"] == -1
    # What is reported reads back as the same rules.
    again = parse_ingress(report["ingress"])
    assert again.as_json() == configuration.ingress.as_json()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**10) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hostname", "path", "service", "originRequest", "caPool", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_document_is_rules_or_the_named_error(rules: Any, request: Any) -> None:
    with suppress(ConfigurationError):
        parse_ingress(rules, request)


@given(st.text(max_size=40))
def test_any_text_is_a_service_or_the_named_error(text: str) -> None:
    with suppress(ConfigurationError):
        parse_service(text)
