"""A PoP's configuration: what is accepted, and what an error says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pops.config import ConfigError, load, parse

GOOD: dict[str, Any] = {
    "name": "NRT",
    "address": "127.0.0.2",
    "visitors": {"addresses": ["127.0.0.2"], "http": 80, "https": None},
    "overlay": {"certificate": "o.pem", "ca": "ca.pem"},
    "pops": [{"name": "NRT", "address": "127.0.0.2"}, {"name": "LHR", "address": "127.0.0.3"}],
    "neighbors": ["LHR"],
    "regions": {"1": ["127.0.1.1"], "2": ["127.0.2.1"]},
    "hosts": {"app.example.com": {"tunnel": "app"}},
    "tunnels": [
        {
            "name": "app",
            "id": "11111111-2222-4333-8444-555555555555",
            "account_tag": "acc",
            "secret": "c2VjcmV0",
        }
    ],
}


def read(**changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps({**GOOD, **changes}).encode(), "nrt.json")
    assert str(caught.value).startswith("nrt.json: ")
    return caught.value


def test_a_good_file_is_read_and_defaults_are_filled_in() -> None:
    config = parse(json.dumps(GOOD).encode())
    assert config.regions == {1: ["127.0.1.1"], 2: ["127.0.2.1"]}
    assert config.routing.probe.estimator == {"ewma": 0.3}
    assert config.tunnels[0].secret_bytes == b"secret"
    assert config.timeouts.response_head == 100.0
    assert config.overlay.port == 7843


def test_without_regions_the_well_known_addresses_stand() -> None:
    config = parse(json.dumps({k: v for k, v in GOOD.items() if k != "regions"}).encode())
    assert config.regions[2][0] == "198.18.2.1"


def test_an_unknown_key_is_named() -> None:
    error = read(nmae="x")
    assert error.found == "nmae"


def test_a_wrong_type_names_key_and_value() -> None:
    error = read(visitors={"addresses": ["127.0.0.2"], "http": "eighty"})
    assert (error.key, error.found) == ("visitors.http", '"eighty"')


def test_a_wrong_value_in_a_list_names_its_index() -> None:
    error = read(pops=[{"name": "NRT", "address": 7}])
    assert (error.key, error.found) == ("pops[0].address", "7")


def test_a_missing_key_is_named() -> None:
    error = read(overlay={"certificate": "o.pem"})
    assert (error.key, error.allowed) == ("overlay", "a value for ca")


def test_names_must_exist() -> None:
    assert read(neighbors=["LHT"]).allowed == "one of LHR"
    assert read(hosts={"a.example": {"tunnel": "b"}}).allowed == "one of app"


def test_a_bad_secret_is_not_printed() -> None:
    error = read(tunnels=[{**GOOD["tunnels"][0], "secret": "hush!"}])
    assert "hush" not in str(error)


def test_limits_have_bounds() -> None:
    """1025 streams of 1 MiB are more than the connection's window bears."""
    error = read(limits={"streams_per_visitor": 1025})
    assert (error.key, error.found) == ("limits.streams_per_visitor", "1025")
    assert "1024" in error.allowed
    assert read(timeouts={"idle": 0}).key == "timeouts.idle"


def test_no_certificate_for_https() -> None:
    assert read(visitors={"addresses": ["127.0.0.2"]}).key == "visitors.certificate"


def test_not_json_and_not_there() -> None:
    with pytest.raises(ConfigError, match="JSON"):
        parse(b"{")
    with pytest.raises(ConfigError, match="No such file"):
        load("/nonexistent/nrt.json")
