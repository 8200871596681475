"""DNS records at work in this PoP: what every public name leads to, for the DNS doors and for the ingress.

They come from the configuration, from a file that the lab keeps for PoPs that start later, from the operator's door and
from neighbours. What is new is passed on over the control connections (POST /.popnet/records); a new connection begins
with everything. There are few of them and they change seldom: flooding needs no economy here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pops.config import PopConfig
from pops.core.records import (
    LARGEST,
    PATH,
    Record,
    RecordError,
    Records,
    encode_records,
    parse_records,
    valid_name,
)
from pops.drivers.posts import SendPost
from runtime.events import EventLog
from runtime.http2 import Http2Connection

__all__ = ["LARGEST", "PATH", "RecordBook", "UnknownTargetError"]


class UnknownTargetError(Exception):
    """A change that cannot be made; the text says what is allowed."""


class RecordBook:
    """`on_change(records)` is called with the map of all, at once and after every change."""

    def __init__(
        self,
        config: PopConfig,
        *,
        on_change: Callable[[Records], None],
        events: EventLog,
    ) -> None:
        self._config = config
        self._on_change = on_change
        self._events = events
        self._controls: dict[str, Http2Connection] = {}
        ttl = config.dns.ttl if config.dns is not None else 60
        # Version 0: what the world file says gives way to every later word.
        self.records = Records(
            config.name,
            (
                Record(0, "", name.lower(), to.tunnel or "", to.load_balancer or "", ttl)
                for name, to in config.hosts.items()
            ),
        )
        if config.records is not None:
            self._load(Path(config.records))
        on_change(self.records)

    def _load(self, path: Path) -> None:
        try:
            self.records.receive(self._known(parse_records(path.read_bytes())))
        except FileNotFoundError:
            pass
        except (OSError, RecordError) as error:
            # The neighbours know them too.
            self._events.emit("records_unreadable", file=str(path), error=str(error))

    def _known(self, records: Iterable[Record]) -> list[Record]:
        """Those that lead to something that this PoP has heard of."""
        return [one for one in records if one.removed or self._leads_somewhere(one)]

    def _leads_somewhere(self, record: Record) -> bool:
        names = {tunnel.name for tunnel in self._config.tunnels}
        return record.tunnel in names or record.load_balancer in self._config.load_balancers

    # The operator

    def change(self, asked: Mapping[str, object]) -> Record:
        """Point a name at a tunnel or a load balancer; with neither it is removed. Raises UnknownTargetError."""
        unknown = set(asked) - {"name", "tunnel", "load_balancer", "ttl"}
        name, ttl = str(asked.get("name", "")).lower(), asked.get("ttl", 60)
        tunnel, balancer = str(asked.get("tunnel") or ""), str(asked.get("load_balancer") or "")
        if unknown:
            raise UnknownTargetError(f"unknown: {', '.join(sorted(unknown))}")
        if not valid_name(name):
            raise UnknownTargetError(f"{name!r} is no host name such as shop.example.com")
        if not isinstance(ttl, int) or not 0 <= ttl <= 604_800:
            raise UnknownTargetError(f"TTL {ttl!r}: 0 to 604800 seconds are allowed")
        if tunnel and balancer:
            raise UnknownTargetError("a tunnel or a load balancer, not both")
        if not (tunnel or balancer) and self.records.get(name) is None:
            raise UnknownTargetError(f"there is no record {name}")
        by_id = {one.id: one.name for one in self._config.tunnels}
        plain = tunnel.lower().removesuffix(".").removesuffix(".cfargotunnel.com")
        tunnel = by_id.get(plain, tunnel)
        if tunnel and tunnel not in by_id.values():
            raise UnknownTargetError(f"no tunnel {tunnel!r}; there are {', '.join(by_id.values())}")
        if balancer and balancer not in self._config.load_balancers:
            known = ", ".join(self._config.load_balancers) or "none"
            raise UnknownTargetError(f"no load balancer {balancer!r}; there are {known}")
        record = self.records.put(name, tunnel=tunnel, load_balancer=balancer, ttl=ttl)
        self._changed([record], but="")
        return record

    # Neighbours

    def up(self, neighbor: str, control: Http2Connection) -> None:
        self._controls[neighbor] = control
        known = [record for record in self.records.everything() if record.version]
        if known:
            self._tell(control, known)

    def down(self, neighbor: str) -> None:
        self._controls.pop(neighbor, None)

    def posted(self, sender: str, body: bytes) -> int:
        """A neighbour's records; the status to answer with."""
        try:
            records = self._known(parse_records(body))
        except RecordError as error:
            self._events.emit("overlay_nonsense", neighbor=sender, reason=str(error))
            return 400
        news = self.records.receive(records)
        if news:
            self._changed(news, but=sender)
        return 204

    def _changed(self, news: list[Record], *, but: str) -> None:
        for record in news:
            self._events.emit(
                "record_changed",
                name=record.name,
                tunnel=record.tunnel or None,
                load_balancer=record.load_balancer or None,
                version=record.version,
            )
        self._on_change(self.records)
        for name, control in self._controls.items():
            if name != but:
                self._tell(control, news)

    def _tell(self, control: Http2Connection, records: list[Record]) -> None:
        def done(answer: bytes | None) -> None:
            if answer is None:
                # What it has missed is not known here; a new connection begins with everything.
                control.abort()

        SendPost(control, PATH, encode_records(records), done)
