"""A request as people give it: its URL, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict
from urllib.parse import urlsplit

from lab.driver import LabError

TIMEOUT_S = 20.0


class How(TypedDict, total=False):
    """`certificate` is a name of access.certificates; `timeout_s` is for each phase."""

    method: str
    headers: Mapping[str, str]
    certificate: str | None
    timeout_s: float


def full_url(given: str) -> str:
    """With the scheme and the path that need not be said. Raises LabError for what nobody can ask for."""
    try:
        parts = urlsplit(given if "//" in given else f"https://{given}")
        # To read it is to check it.
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise LabError(f"{given!r} is no URL; allowed: http or https://HOST[:PORT][/PATH]")
    return parts._replace(path=parts.path or "/").geturl()
