"""The configuration in force, and newer ones that the edge pushes.

A push has a version; only a higher one than the present is taken, and one that cannot be used
changes nothing. The configuration that was given on the command line or in a file has version -1,
so that any push replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunnel_client.core.ingress import Ingress, parse_ingress
from tunnel_client.errors import ConfigurationError

LOCAL_VERSION = -1
_KEYS = ("ingress", "originRequest", "warp-routing")
MAX_PUSH = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push; `ingress` is set when it was taken."""

    version: int
    ingress: Ingress | None
    error: str = ""

    def reply(self) -> bytes:
        """The body of the answer. Other makes say `{}` for any error; we say which."""
        error = self.error or None
        return json.dumps({"lastAppliedVersion": self.version, "err": error}).encode()


class Configuration:
    """One per process: all connections serve by it."""

    def __init__(self, ingress: Ingress, flags: dict[str, str] | None = None) -> None:
        self.ingress = ingress
        self.version = LOCAL_VERSION
        self._flags = flags or {}

    def push(self, body: bytes, check: Callable[[Ingress], None] | None = None) -> Pushed:
        """Take `{"version": N, "config": {...}}`, or say why not.

        `check` gets ready for new rules, and raises `ConfigurationError` when it cannot.
        """
        try:
            version, ingress = _parse_push(body)
            if version <= self.version:
                return Pushed(self.version, None)
            if check is not None:
                check(ingress)
        except ConfigurationError as error:
            return Pushed(self.version, None, str(error))
        self.version = version
        self.ingress = ingress
        return Pushed(version, ingress)

    def local_report(self) -> bytes:
        """What the edge is told of a locally managed tunnel."""
        report: dict[str, Any] = {"__configuration_flags": self._flags}
        report["ingress"] = self.ingress.as_json()
        report["warp-routing"] = {}
        return json.dumps(report, separators=(",", ":")).encode()

    def as_json(self) -> dict[str, Any]:
        """What `/config` shows."""
        return {
            "version": self.version,
            "config": {"ingress": self.ingress.as_json(), "warp-routing": {}, "originRequest": {}},
        }


def _parse_push(body: bytes) -> tuple[int, Ingress]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ConfigurationError("the pushed configuration is not JSON") from None
    if not isinstance(document, dict):
        raise ConfigurationError("the pushed configuration is not an object")
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigurationError(f"version: {version!r} found, a number is allowed")
    config = document.get("config") or {}
    if not isinstance(config, dict):
        raise ConfigurationError(f"config: {config!r} found, keys and values are allowed")
    return version, parse_ingress(config.get("ingress"), config.get("originRequest"))
