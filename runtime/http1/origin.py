"""An origin: where a request goes to in the end, and how that may fail."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


class OriginError(Exception):
    """Why an exchange with an origin failed; the text is for an error page and the log."""


class OriginUnreachableError(OriginError):
    pass


class OriginTimeoutError(OriginError):
    pass


class OriginProtocolError(OriginError):
    pass


class OriginClosedError(OriginError):
    pass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect. With `unix_path` host and port do not matter; with `tls` the server's name is checked."""

    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    unix_path: str | None = None

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"
