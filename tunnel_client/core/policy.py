"""The numbers a supervisor goes by, and what it shows of its connections."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel_client.core.addresses import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The numbers of a supervisor."""

    connections: int = 4
    start_interval_s: float = 0.25
    """Between the starts of connections 1, 2, 3: a new tunnel should not arrive as a burst."""
    backoff_base_s: float = 0.5
    retries: int = 5
    """How often the longest wait doubles: with 5 and half a second, up to 16 seconds."""
    dial_timeout_s: float = 10.0
    """TCP and TLS. Three round trips and two lost packets fit in."""
    register_timeout_s: float = 10.0
    """From TLS to the answer: preface, control stream, registration."""
    grace_period_s: float = 30.0
    unregister_timeout_s: float = 5.0
    heartbeat_interval_s: float = 3.0
    heartbeat_count: int = 3
    """Silent intervals until a connection counts as dead."""
    stable_s: float = 5.0
    """A connection that served that long is good again: its next wait starts from the base."""
    max_edge_addr_retries: int = 8
    """Failed dials in a row after which the addresses are looked up again."""
    family: Family | None = Family.AUTO
    """None: whatever family an address has (those of `--edge` were chosen by hand)."""


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    index: int
    state: str
    location: str
    address: str
    region: int
    attempts: int
    since_s: float
    reason: str

    def __str__(self) -> str:
        where = f" {self.location}" if self.location else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"connection {self.index} {self.state}{where} {self.address}{why}"
