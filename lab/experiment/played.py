"""What one world gave: its samples, and what is said of the world itself. The same for every driver. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lab.experiment.design import Ask
from lab.experiment.files import Sample, number
from lab.experiment.truth import Truth
from lab.load_client import Visit


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one world. `control_bytes_per_s`: what PoPs sent each other with no request under way."""

    seed: int
    algorithm: str
    samples: tuple[Sample, ...]
    began_s: float
    length_s: float
    settled: bool
    control_bytes_per_s: float
    event_log_sha256: str | None
    # What plug-ins did wrong, by PoP: then the route was the last good one, or the direct one.
    problems: tuple[str, ...] = ()

    @property
    def control_bytes(self) -> int:
        return round(self.control_bytes_per_s * self.length_s)

    def to_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "algorithm": self.algorithm,
            "began_s": number(self.began_s),
            "length_s": number(self.length_s),
            "settled": self.settled,
            "control_bytes_per_s": number(self.control_bytes_per_s, 1),
            "event_log_sha256": self.event_log_sha256,
            "problems": list(self.problems),
        }


def sample_of(
    ask: Ask,
    visit: Visit,
    algorithm: str,
    order: int,
    t_s: float,
    lands: str,
    site: str | None,
    truth: Truth,
    best_s: float | None,
) -> Sample:
    """The line of samples.csv that a visit makes."""
    path = tuple(filter(None, visit.header("popnet-path").split(">")))
    way_s = truth.way_s(path, site) if path and site is not None else None
    phases = visit.phases
    return Sample(
        seed=ask.seed,
        repeat=ask.repeat,
        pair_id=ask.pair_id,
        order=order,
        t_s=round(t_s, 6),
        visitor=ask.visitor,
        host=urlsplit(ask.url).hostname or "",
        ingress=path[0] if path else lands,
        egress=path[-1] if path else "",
        algorithm=algorithm,
        path=">".join(path),
        status=visit.status,
        error=visit.error,
        warm=visit.warm,
        bytes=visit.bytes,
        dns_ms=_ms(phases.get("dns")),
        connect_ms=_ms(phases.get("tcp")),
        tls_ms=_ms(phases.get("tls")),
        ttfb_ms=_ms(visit.first_byte_s),
        total_ms=_ms(visit.total_s),
        overlay_rtt_ms=None if way_s is None else number(way_s * 1e3),
        oracle_rtt_ms=None if best_s is None else number(best_s * 1e3),
    )


def _ms(seconds: float | None) -> float:
    return round((seconds or 0.0) * 1e3, 4)
