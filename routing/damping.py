"""Damping around any algorithm: refusing a better path that is not better enough, or not for long enough.

A route is the best path to one tunnel. What it may do:

* a dead path is left at once, and a tunnel that had no path takes the first one;
* otherwise the new path must be cheaper by `min_gain_pct` of the present cost and by `min_gain_s`;
* between two changes of one route lie at least `hold_s` seconds, so a first change is immediate. A route that goes
  on changing is held twice as long each time, up to eight times: the penalty of RFC 2439, section 4.2, with
  halving in place of its exponential decay. What it does not have is that RFC's worst habit: a path in use is never
  withdrawn for being damped;
* what a route has just left it takes again only after that has been better all through one hold. Otherwise a link
  that flaps could be caught at a good moment, and then be held for as long as the hold lasts;
* of all routes no more than `max_moved_pct` (but one) move within `interval_s`, those that gain most first.

At the start little is measured and the first samples are noisy, so for the first hold of its life a route moves
freely, and a link that was never measured before does not wait for a hold.

The damper compares `cost_s`. An algorithm that puts a path first which costs more than the present one ranks by
something that cost does not tell: then no gain is asked for, only the hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from routing.api import Path

LONGEST_FACTOR = 8

Hop = tuple[str, str]
"""A link, or the last leg as (PoP, connection)."""

Because = Literal["gain", "hold", "return", "cap"]
"""Why a move is refused: too little gain, changed too lately, left too lately, too many others move."""

Reason = Literal["first", "lost", "better", "settling", "gone"]
"""Why a route changed: there was none; its link or connection is gone; another one is better; the same while the
route is young; none is left."""


@dataclass(frozen=True, slots=True)
class Damping:
    """How much better a path must be and how long a route stays; the default of nothing damps nothing."""

    min_gain_pct: float = 0.0
    min_gain_s: float = 0.0
    hold_s: float = 0.0
    max_moved_pct: float = 100.0
    interval_s: float = 1.0

    def needed_s(self, cost_s: float) -> float:
        """What a path must gain over one that costs `cost_s`."""
        return max(cost_s * self.min_gain_pct / 100, self.min_gain_s)

    def __str__(self) -> str:
        least = f" and {self.min_gain_s * 1e3:g} ms" if self.min_gain_s else ""
        return f"{self.min_gain_pct:g} %{least}/{self.hold_s:g} s"


@dataclass(frozen=True, slots=True)
class Wish:
    """What an algorithm would have. `current` is the route in force at its present cost, None when there is none
    or it is dead; `known` says that the tunnel had a route before."""

    tunnel: str
    current: Path | None
    ranked: Sequence[Path]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """A move that was not made. `until` is when time alone would allow it, None when only a change of costs does."""

    path: Path
    gain_s: float
    needed_s: float
    because: Because
    until: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The best path from now on, why it is another one (None: it is not), and what was refused."""

    path: Path | None
    reason: Reason | None = None
    refused: Refusal | None = None


@dataclass(slots=True)
class _Route:
    born: float
    path: Path | None = None
    changed_at: float | None = None
    factor: int = 1
    left: dict[Hop, float] = field(default_factory=dict)  # hops of paths it left, and when
    better_since: dict[tuple[tuple[str, ...], str], float] = field(default_factory=dict)

    def changed(self, now: float, hold_s: float) -> None:
        """Count a change: soon after the last one the next hold is twice as long, later half as long again."""
        if self.changed_at is not None:
            quiet = now - self.changed_at
            if quiet < 2 * self.factor * hold_s:
                self.factor = min(LONGEST_FACTOR, 2 * self.factor)
            else:
                while self.factor > 1 and quiet >= 2 * self.factor * hold_s:
                    quiet -= 2 * self.factor * hold_s
                    self.factor //= 2
        self.changed_at = now

    def leave(self, old: Path, new: Path, now: float) -> None:
        """Remember what of `old` is not in `new`."""
        taken = set(hops(new))
        self.left = {hop: at for hop, at in self.left.items() if hop not in taken}
        self.left.update((hop, now) for hop in hops(old) if hop not in taken)


def hops(path: Path) -> Iterator[Hop]:
    """The links of `path` and its last leg."""
    yield from pairwise(path.pops)
    yield path.pops[-1], path.connection


class Damper:
    """Remembers of each route what damping must know. `wake_at` is when a refused move may be allowed."""

    def __init__(self, damping: Damping) -> None:
        self.damping = damping
        self.wake_at: float | None = None
        self._routes: dict[str, _Route] = {}
        self._moves: list[float] = []

    def held_until(self, tunnel: str, now: float) -> float | None:
        """Until when this route stays where it is, if it is held."""
        route = self._routes.get(tunnel)
        until = None if route is None else self._hold_end(route)
        return until if until is not None and until > now else None

    def young(self, tunnel: str, now: float) -> bool:
        """This route still moves for any gain."""
        route = self._routes.get(tunnel)
        return route is None or self._young(route, now)

    def _young(self, route: _Route, now: float) -> bool:
        return now - route.born < self.damping.hold_s

    def judge(self, wishes: Sequence[Wish], fresh: Set[Hop], now: float) -> dict[str, Verdict]:
        """Say for each wish which path its route takes. `fresh` are links that were never measured before."""
        verdicts: dict[str, Verdict] = {}
        moves: list[tuple[float, Wish, Path, Reason]] = []
        for wish in sorted(wishes, key=lambda wish: wish.tunnel):
            first = wish.ranked[0] if wish.ranked else None
            route = self._routes.get(wish.tunnel)
            if route is None:
                route = self._routes[wish.tunnel] = _Route(born=now)
            if first is None:
                # What was dead and left the list of the algorithm: nothing remains. What still lives, stays.
                verdicts[wish.tunnel] = Verdict(
                    wish.current, "gone" if wish.known and wish.current is None else None
                )
            elif wish.current is None:
                if wish.known and route.path is not None:
                    route.changed(now, self.damping.hold_s)
                    route.leave(route.path, first, now)
                verdicts[wish.tunnel] = Verdict(first, "lost" if wish.known else "first")
            else:
                verdict, gain = self._choose(route, wish, wish.current, fresh, now)
                verdicts[wish.tunnel] = verdict
                if verdict.reason is not None and verdict.path is not None:
                    moves.append((gain, wish, verdict.path, verdict.reason))
        self._carry_out(moves, verdicts, now)
        for tunnel, verdict in verdicts.items():
            self._routes[tunnel].path = verdict.path
        waits = [v.refused.until for v in verdicts.values() if v.refused and v.refused.until]
        self.wake_at = min(waits, default=None)
        return verdicts

    def _choose(
        self, route: _Route, wish: Wish, current: Path, fresh: Set[Hop], now: float
    ) -> tuple[Verdict, float]:
        """The first path in the algorithm's order that this route may take, and its relative gain."""
        damping, cost_s = self.damping, current.cost_s
        young = self._young(route, now)
        window = damping.hold_s * route.factor
        route.left = {
            hop: at for hop, at in route.left.items() if now - at < LONGEST_FACTOR * damping.hold_s
        }
        before, route.better_since = route.better_since, {}
        hold_end = self._hold_end(route)
        refused: Refusal | None = None
        chosen: Path | None = None
        for rank, path in enumerate(wish.ranked):
            if path.way == current.way:
                break
            gain_s = cost_s - path.cost_s
            needed_s = damping.needed_s(cost_s)
            if gain_s <= 0 and rank > 0:
                continue
            if not young and 0 <= gain_s < needed_s:
                refused = refused or Refusal(path, gain_s, needed_s, "gain", None)
                continue
            since = route.better_since[path.way] = before.get(path.way, now)
            if chosen is not None:
                continue
            way = set(hops(path))
            because: Because | None = None
            until = now
            if not young:
                if hold_end is not None and now < hold_end and not way & fresh:
                    because, until = "hold", hold_end
                if way & route.left.keys() and since + window > until:
                    because, until = "return", since + window
            if because is None:
                chosen = path
            else:
                refused = refused or Refusal(path, gain_s, needed_s, because, until)
        for pops, connection in before.keys() - route.better_since.keys():
            # It was better and no longer is: what is left in it stays left for longer.
            fallen = {*pairwise(pops), (pops[-1], connection)}
            route.left.update((hop, now) for hop in fallen & route.left.keys())
        if chosen is None:
            return Verdict(current, None, refused), 0.0
        gain = (cost_s - chosen.cost_s) / cost_s if cost_s > 0 else 0.0
        return Verdict(chosen, "settling" if young else "better", refused), gain

    def _carry_out(
        self,
        moves: list[tuple[float, Wish, Path, Reason]],
        verdicts: dict[str, Verdict],
        now: float,
    ) -> None:
        """Let as many move as may, those that gain most first, and keep the others where they are."""
        damping = self.damping
        self._moves = [at for at in self._moves if now - at < damping.interval_s]
        most = max(1, int(len(verdicts) * damping.max_moved_pct / 100))
        for gain, wish, path, reason in sorted(moves, key=lambda move: (-move[0], move[1].tunnel)):
            assert wish.current is not None
            route = self._routes[wish.tunnel]
            if reason == "settling":
                continue
            if len(self._moves) >= most and damping.max_moved_pct < 100:
                cost_s = wish.current.cost_s
                until = self._moves[0] + damping.interval_s
                verdicts[wish.tunnel] = Verdict(
                    wish.current,
                    None,
                    Refusal(path, gain * cost_s, damping.needed_s(cost_s), "cap", until),
                )
                continue
            self._moves.append(now)
            route.changed(now, damping.hold_s)
            route.leave(wish.current, path, now)

    def _hold_end(self, route: _Route) -> float | None:
        if route.changed_at is None:
            return None
        return route.changed_at + self.damping.hold_s * route.factor
