"""The gateway's ports: which are wanted, which it got, and where others read that (RUN/gateway.json).

`auto` tries the well-known port and takes any free one when that is taken, so that labs can run side by side; a
number is meant as it is said; `off` opens nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

WEB_PORT: Final = 8080
SOCKS_PORT: Final = 1080
LOOPBACK: Final = "127.0.0.1"

# Inside a container the ports that count for people are those it publishes.
PUBLISHED_WEB: Final = "POPNET_WEB_PORT"
PUBLISHED_SOCKS: Final = "POPNET_SOCKS_PORT"


class PortError(Exception):
    """A port that was asked for cannot be had."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`web` and `socks`: "auto", "off", or a number. `city`: of those who name none; None: the first visitor."""

    web: str = "auto"
    socks: str = "auto"
    listen: str = LOOPBACK
    city: str | None = None

    def arguments(self) -> list[str]:
        city = [] if self.city is None else ["--city", self.city]
        return ["--web-port", self.web, "--socks-port", self.socks, "--listen", self.listen, *city]


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway has: ports as people reach them (None: off), as it bound them, and what they should know."""

    pid: int
    bound_web: int | None = None
    bound_socks: int | None = None
    web: int | None = None
    socks: int | None = None
    city: str = ""
    notes: tuple[str, ...] = ()

    def again(self, wanted: Wanted) -> Wanted:
        """What a successor wants: the very same ports, where there were any."""
        return msgspec.structs.replace(
            wanted,
            web=wanted.web if self.bound_web is None else str(self.bound_web),
            socks=wanted.socks if self.bound_socks is None else str(self.bound_socks),
        )

    @property
    def page(self) -> str | None:
        return None if self.web is None else f"http://localhost:{self.web}"

    def proxy(self, city: str | None = None) -> str | None:
        return (
            None if self.socks is None else f"socks5h://{city or self.city}@localhost:{self.socks}"
        )


def file(run: Path) -> Path:
    return run / "gateway.json"


def read(run: Path) -> Where | None:
    """What the gateway of this run directory has told; None when it has not."""
    try:
        return msgspec.json.decode(file(run).read_bytes(), type=Where)
    except (OSError, msgspec.MsgspecError):
        return None


def write(run: Path, where: Where) -> None:
    path = file(run)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(where))
    fresh.replace(path)


def check(option: str, text: str) -> str:
    """One of `auto`, `off`, a number of a port. Raises PortError."""
    if text in ("auto", "off") or (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        return text
    raise PortError(f"{option}: {text!r} is no port (allowed: auto, off, 1 to 65535)")


def open_port(
    what: str, wanted: str, usual: int, listen: str
) -> tuple[socket.socket | None, str | None]:
    """A bound socket, and a note when it is not where people would look. Raises PortError."""
    if wanted == "off":
        return None, None
    if wanted != "auto":
        try:
            return _bound(listen, int(wanted)), None
        except OSError as error:
            raise PortError(f"port {wanted} for the {what}: {error.strerror}") from error
    with contextlib.suppress(OSError):
        return _bound(listen, usual), None
    try:
        made = _bound(listen, 0)
    except OSError as error:
        raise PortError(f"no port for the {what}: {error.strerror}") from error
    return made, f"port {usual} is taken: the {what} is at port {made.getsockname()[1]}"


def published(variable: str, port: int | None) -> int | None:
    """The port people use for ours; another one where a container engine maps it."""
    text = os.environ.get(variable, "")
    return int(text) if port is not None and text.isdigit() else port


def _bound(listen: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # A port whose last user has just left is free; one that somebody listens on is not.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen, port))
        # Of two sockets bound like this the second learns only here that it is too late.
        made.listen(256)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, "somebody else has it") from None
        raise
    return made
