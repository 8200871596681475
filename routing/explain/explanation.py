"""What an explanation consists of: the route and how it stands with damping, candidates and flips; also as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from routing.api import MeasuredLink, Path
from routing.damping import Damping, Refusal


@dataclass(frozen=True, slots=True)
class Standing:
    """The route in force, and how it stands with damping.

    `held_until` is when a better path may replace it; None: it is not held. A `young` route moves for any gain.
    `refused` is the last move that damping did not allow.
    """

    chosen: Path | None
    since: float | None = None
    held_until: float | None = None
    damping: Damping = field(default_factory=Damping)
    young: bool = False
    refused: Refusal | None = None

    def needed_s(self, cost_s: float) -> float:
        """The gain that a better path must bring while the route costs `cost_s`."""
        return 0.0 if self.young else self.damping.needed_s(cost_s)

    def moves_to(self, current: Path, ranked: Sequence[Path]) -> Path | None:
        """The path that replaces the route, when it is not held and now costs what `current` says; None: it stays.

        Another connection of the same egress is no other route.
        """
        for rank, path in enumerate(ranked):
            if path.way == current.way:
                return None
            gain_s = current.cost_s - path.cost_s
            # First, though it costs more: its algorithm ranks by something that cost does not tell.
            if (gain_s <= 0 and rank == 0) or (
                gain_s > 0 and gain_s >= self.needed_s(current.cost_s)
            ):
                return path if path.pops != current.pops else None
        return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path as the algorithm ranked it, 1 being its best. `behind_s`: how much more it costs than the route."""

    rank: int
    path: Path
    chosen: bool
    behind_s: float

    @property
    def direct(self) -> bool:
        return len(self.path.pops) <= 2


@dataclass(frozen=True, slots=True)
class Flip:
    """If this link rises (or, negative, falls) by `change_s`, the route becomes `to`; by `stays_s`, it does not."""

    link: tuple[str, str]
    change_s: float
    stays_s: float
    to: Path


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why `me` sends requests for `tunnel` where it does; times on the clock of that PoP.

    `pending` is a path that is better by enough and will be taken when the route is no longer held. `links` are the
    measurements that the route's cost rests on, `problem` says why nothing could be tried.
    """

    me: str
    tunnel: str
    at: float
    standing: Standing
    candidates: tuple[Candidate, ...]
    links: tuple[MeasuredLink, ...]
    flips: tuple[Flip, ...]
    pending: Path | None = None
    problem: str | None = None

    @property
    def chosen(self) -> Path | None:
        return self.standing.chosen

    @property
    def link_state_age_s(self) -> float | None:
        """Age of the oldest measurement that the route rests on."""
        return max((link.age_s for link in self.links), default=None)

    def rank_of(self, path: Path) -> int | None:
        """The best rank of those PoPs, whatever the connection."""
        return next((one.rank for one in self.candidates if one.path.pops == path.pops), None)

    def to_dict(self) -> dict[str, Any]:
        """For people and programs outside: milliseconds, and ages instead of times."""
        standing, chosen = self.standing, self.standing.chosen
        return {
            "me": self.me,
            "tunnel": self.tunnel,
            "path": list(chosen.pops) if chosen else None,
            "connection": chosen.connection if chosen else None,
            "cost_ms": _ms(chosen.cost_s) if chosen else None,
            "chosen_s_ago": None if standing.since is None else _s(self.at - standing.since),
            "link_state_age_s": None
            if self.link_state_age_s is None
            else _s(self.link_state_age_s),
            "damping": {
                "min_gain_pct": standing.damping.min_gain_pct,
                "min_gain_ms": _ms(standing.damping.min_gain_s),
                "hold_s": standing.damping.hold_s,
                "max_moved_pct": standing.damping.max_moved_pct,
                "held_for_s": _s(max(0.0, (standing.held_until or self.at) - self.at)),
                "needed_gain_ms": _ms(standing.needed_s(chosen.cost_s)) if chosen else None,
                "young": standing.young,
                "refused": self._refused(),
            },
            "candidates": [
                {
                    "rank": one.rank,
                    "chosen": one.chosen,
                    "path": list(one.path.pops),
                    "connection": one.path.connection,
                    "terms_ms": {name: _ms(value) for name, value in one.path.terms.items()},
                    "cost_ms": _ms(one.path.cost_s),
                    "behind_ms": _ms(one.behind_s),
                    "direct": one.direct,
                }
                for one in self.candidates
            ],
            "links": [
                {
                    "from": link.source,
                    "to": link.destination,
                    "rtt_ms": _ms(link.rtt_s),
                    "jitter_ms": _ms(link.jitter_s),
                    "loss_pct": round(link.loss * 100, 3),
                    "samples": link.samples,
                    "age_s": _s(link.age_s),
                }
                for link in self.links
            ],
            "flips": [
                {
                    "link": list(flip.link),
                    "change_ms": _ms(flip.change_s),
                    "to": list(flip.to.pops),
                    "to_rank": self.rank_of(flip.to),
                }
                for flip in self.flips
            ],
            "pending": list(self.pending.pops) if self.pending else None,
            "problem": self.problem,
        }

    def _refused(self) -> dict[str, Any] | None:
        refused = self.standing.refused
        if refused is None:
            return None
        return {
            "path": list(refused.path.pops),
            "connection": refused.path.connection,
            "because": refused.because,
            "gain_ms": _ms(refused.gain_s),
            "needed_ms": _ms(refused.needed_s),
            "for_s": None if refused.until is None else _s(max(0.0, refused.until - self.at)),
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _s(seconds: float) -> float:
    return round(seconds, 3)
