"""What the supervisor asks its driver to do, and what it says to the world.

`index` is the connection's, `attempt` counts the dials of that connection. Whatever the driver
reports carries both, so that a report about an attempt that was given up is recognised and ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunnel_client.core.addresses import Address


@dataclass(frozen=True, slots=True)
class Discover:
    """Look the edge's addresses up, then `discovered` or `discovery_failed`."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection, then `dialled` or `failed`; `previous` attempts went before."""

    index: int
    attempt: int
    address: Address
    previous: int


@dataclass(frozen=True, slots=True)
class Ping:
    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ReportConfiguration:
    """Tell the edge which configuration runs here."""

    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Unregister:
    """Ask the edge for no more requests, then `unregistered`."""

    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Let running requests end, then hang up."""

    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close now; nothing more is expected to be reported of this attempt.

    `politely`: with a farewell that the edge may read. A silent one would only keep it in buffers.
    """

    index: int
    attempt: int
    politely: bool = True


@dataclass(frozen=True, slots=True)
class Announce:
    """An event for the log: `tunnel_connected`, `tunnel_lost`, `tunnel_reconnecting`, ..."""

    event: str
    fields: dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Ready:
    """The first connection of this process is registered."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is done; `code` is its exit status."""

    code: int
    reason: str


Effect = (
    Discover
    | Dial
    | Ping
    | ReportConfiguration
    | Unregister
    | Finish
    | HangUp
    | Announce
    | Ready
    | Stop
)
