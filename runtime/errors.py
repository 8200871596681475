"""The errors of this package: what the world outside this process did not grant.

`OSError`, `ssl.SSLError` and the errors of libraries are translated into these where they arise, so
that no code above has to know which of them a closed port or an expired certificate happens to
raise.
"""

from __future__ import annotations


class OutsideError(Exception):
    """Root of everything `runtime` raises about the world."""


class ResolveError(OutsideError):
    """A name could not be looked up. `missing`: it does not exist, so asking again is no use yet."""

    def __init__(self, name: str, reason: str, *, missing: bool = False) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.missing = missing
