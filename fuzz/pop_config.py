"""A PoP's configuration file: JSON that the lab writes, and people in tests."""

from __future__ import annotations

from pops.config import ConfigError, parse

_SMALL = b"""{"name": "A", "address": "127.0.0.1", "visitors": {"addresses": ["127.0.0.1"], "https": null},
"overlay": {"certificate": "c.pem", "ca": "ca.pem"}, "pops": [{"name": "B", "address": "127.0.0.2"}],
"neighbors": ["B"], "hosts": {"a.b": {"tunnel": "t"}}, "tunnels": [{"name": "t",
"id": "11111111-2222-4333-8444-555555555555", "account_tag": "a", "secret": "c2VjcmV0"}],
"limits": {"body_bytes": 1}, "timeouts": {"idle": 1}, "routing": {"params": {"a": [1, null]}}}"""
SEEDS = (_SMALL, b"{}", b"[" * 1000, b'{"name": 1}', b'{"regions": {"x": []}}')


def one(data: bytes) -> None:
    try:
        parse(data, "pop.json")
    except ConfigError as error:
        assert error.key
        assert error.allowed
