"""Who we are to the edge: a tunnel's id and secret, from a token or a credentials file.

A token is base64 of JSON `{"a": account tag, "t": tunnel uuid, "s": base64 secret, "e": endpoint}`,
a credentials file is JSON with longer names. Nothing is verified here; the edge decides.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from uuid import UUID

from tunnel_client.errors import UsageError


@dataclass(frozen=True, slots=True)
class Credentials:
    account_tag: str
    tunnel_id: UUID
    secret: bytes = field(repr=False)
    endpoint: str = ""
    """Acts as `--region`."""


_TOKEN_KEYS = ("a", "t", "s", "e")
_FILE_KEYS = ("AccountTag", "TunnelID", "TunnelSecret", "Endpoint")


def from_token(text: str, source: str) -> Credentials:
    """Raises `UsageError` naming `source`; never shows any part of the token."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{source}: not a tunnel token: it is not base64") from None
    return _from_json(raw, source, "a tunnel token", _TOKEN_KEYS)


def from_json(text: bytes | str, source: str) -> Credentials:
    """A credentials file's content."""
    return _from_json(text, source, "tunnel credentials", _FILE_KEYS)


def _from_json(raw: bytes | str, source: str, what: str, keys: tuple[str, ...]) -> Credentials:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise UsageError(f"{source}: not {what}: it is not JSON") from None
    if not isinstance(document, dict):
        raise UsageError(f"{source}: not {what}: it is not a JSON object")
    account, tunnel, secret, endpoint = (document.get(key) or "" for key in keys)
    for key, value in zip(keys, (account, tunnel, secret, endpoint), strict=True):
        if not isinstance(value, str):
            raise UsageError(f"{source}: {key} is not text")
    try:
        tunnel_id = UUID(tunnel)
    except ValueError:
        raise UsageError(f"{source}: {keys[1]} is not the UUID of a tunnel") from None
    try:
        decoded = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{source}: {keys[2]} is not base64") from None
    if not decoded:
        raise UsageError(f"{source}: {keys[2]} is missing")
    return Credentials(account, tunnel_id, decoded, endpoint)


def to_token(credentials: Credentials) -> str:
    """The token that reads back as `credentials`."""
    document = {
        "a": credentials.account_tag,
        "t": str(credentials.tunnel_id),
        "s": base64.b64encode(credentials.secret).decode(),
    }
    if credentials.endpoint:
        document["e"] = credentials.endpoint
    return base64.b64encode(json.dumps(document).encode()).decode()
