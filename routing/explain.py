"""Why a route was chosen, and what would change that.

`explaining` puts together every candidate as the algorithm ranked it, what damping says of the route in force, and the
flips: by how much one link would have to rise, or a link of another path to fall, before the route changes. A flip is
found by running the algorithm itself on altered states, so it holds for any algorithm, and it contains the gain that
damping asks for. Where costs simply add up, a formula guesses the amount and two runs confirm it; elsewhere the amount
is bisected. What is reported has been tried: so much moves the route, and `RESOLUTION_S` less does not.

    explaining(...)   a generator: yields states to decide on, is sent the answers; for who runs algorithms elsewhere
    explain(...)      the same, deciding here and now

A link is altered in both directions, as a link that gets slower is: what its other end measures rises too.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from routing.api import Decide, MeasuredLink, Path, Routes, RoutingState
from routing.damping import Damping, Refusal
from routing.graph import Load, latency_graph

RESOLUTION_S = 1e-6
"""A flip is known to this amount."""

# The term by which a route's links have changed since its algorithm listed it last.
DRIFT = "since"

# A link that is ten seconds slower is as good as cut.
MOST_RISE_S = 10.0
# Paths whose links are tried for a fall: what is further down the list needs more than anybody wants to hear of.
ALTERNATIVES = 4

Runs = Generator[RoutingState, "Routes | None", "Any"]


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


def explain(
    tunnel: str,
    state: RoutingState,
    standing: Standing,
    decide: Decide,
    considered: Sequence[Path] | None = None,
    now: float | None = None,
) -> Explanation:
    """Explain the route to `tunnel`. `decide` may raise; nothing of `state` is changed.

    `considered` is how the algorithm ranked when it last decided on `state`; without it, as it ranks when asked
    again. `now` is when somebody asks, if that is later.
    """
    return driven(explaining(tunnel, state, standing, considered, now), decide)


def driven(runs: Runs, decide: Decide) -> Explanation:
    """Answer every question of `explaining`."""
    steps = stepwise(runs, decide)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            explanation: Explanation = done.value
            return explanation


def stepwise(runs: Runs, decide: Decide) -> Generator[None, None, Explanation]:
    """Answer one question at each step, so that whoever has other things to do can do them in between."""
    question = next(runs)
    while True:
        answer: Routes | None
        try:
            answer = decide(question)
        # An algorithm is foreign code: one that fails on a state has no answer to it, and that is an answer.
        except (Exception, SystemExit):  # noqa: BLE001
            answer = None
        yield
        try:
            question = runs.send(answer)
        except StopIteration as done:
            explanation: Explanation = done.value
            return explanation


def explaining(
    tunnel: str,
    state: RoutingState,
    standing: Standing,
    considered: Sequence[Path] | None = None,
    now: float | None = None,
) -> Runs:
    """The generator behind `explain`: send it each state's routes, None where the algorithm has no answer."""
    question = _Question(tunnel, state, standing)
    at = state.now if now is None else now
    links = question.links_of(standing.chosen, at - state.now) if standing.chosen else ()
    try:
        ranked = yield from question.ask()
    except _NoAnswerError as error:
        kept = considered or ([standing.chosen] if standing.chosen else [])
        return Explanation(
            me=state.me,
            tunnel=tunnel,
            at=at,
            standing=standing,
            candidates=_ranked(kept, standing.chosen),
            links=links,
            flips=(),
            problem=str(error),
        )
    chosen = question.now_of(standing.chosen, ranked, state.graph) if standing.chosen else None
    if chosen is not None:
        standing = dataclasses.replace(standing, chosen=chosen)
        question.standing = standing
        if all(path.way != chosen.way for path in ranked):
            # The algorithm has lost sight of it; damping has not.
            ranked = sorted([*ranked, chosen], key=lambda path: path is chosen)
    pending = question.moves_to(ranked, state.graph)
    flips: list[Flip] = []
    if chosen is not None and pending is None:
        flips = yield from _flips(question, chosen, ranked)
    return Explanation(
        me=state.me,
        tunnel=tunnel,
        at=at,
        standing=standing,
        candidates=_ranked(considered or ranked, chosen),
        links=links,
        flips=tuple(flips),
        pending=pending,
    )


def _ranked(paths: Sequence[Path], chosen: Path | None) -> tuple[Candidate, ...]:
    base_s = chosen.cost_s if chosen is not None else 0.0
    return tuple(
        Candidate(
            rank,
            path,
            chosen is not None and path.way == chosen.way,
            path.cost_s - base_s if chosen is not None else 0.0,
        )
        for rank, path in enumerate(paths, 1)
    )


def _flips(question: _Question, chosen: Path, ranked: Sequence[Path]) -> Runs:
    """Rises of the route's links, then falls of other paths' links, each smallest first."""
    standing = question.standing
    others = [path for path in ranked if path.pops != chosen.pops]
    pct, least_s = (
        (0.0, 0.0)
        if standing.young
        else (standing.damping.min_gain_pct, standing.damping.min_gain_s)
    )
    share = 1 - pct / 100
    rises: list[Flip] = []
    for link in itertools.pairwise(chosen.pops):
        rest = [path.cost_s for path in others if not _crosses(path, link)]
        guess = None
        if rest and share > 0:
            best = min(rest)
            guess = max(best / share, best + least_s) - chosen.cost_s
        flip = yield from _threshold(question, link, +1.0, guess, MOST_RISE_S)
        rises += [flip] if flip is not None else []
    falls: dict[frozenset[str], Flip] = {}
    for path in _of_distinct_pops(others)[:ALTERNATIVES]:
        for link in itertools.pairwise(path.pops):
            if _crosses(chosen, link) or frozenset(link) in falls:
                continue
            guess = path.cost_s - chosen.cost_s + standing.needed_s(chosen.cost_s)
            most = float(question.state.graph.edges[link]["rtt_s"])
            flip = yield from _threshold(question, link, -1.0, guess, most)
            if flip is not None:
                falls[frozenset(link)] = flip
    rises.sort(key=lambda flip: flip.change_s)
    return rises + sorted(falls.values(), key=lambda flip: -flip.change_s)


def _threshold(
    question: _Question, link: tuple[str, str], sign: float, guess: float | None, most: float
) -> Runs:
    """The smallest change of `link` found to move the route, as a Flip; None when `most` does not.

    `below` never moves it and `above` does, through all of the search; so the answer holds around itself even for an
    algorithm that does not get steadily keener on moving.
    """
    below, above, to = 0.0, None, None
    if guess is not None and RESOLUTION_S < guess < most - RESOLUTION_S:
        for try_s in (guess + RESOLUTION_S / 2, guess - RESOLUTION_S / 2):
            moved = yield from question.after(link, sign * try_s)
            if moved is None:
                below = max(below, try_s)
                break
            above, to = try_s, moved
    if above is None:
        to = yield from question.after(link, sign * most)
        if to is None:
            return None
        above = most
    assert to is not None
    while above - below > RESOLUTION_S * 1.01:
        # Doubling first: what matters lies within milliseconds, the end of the range at seconds.
        middle = (
            min((below + above) / 2, max(2 * below, 0.001))
            if below < above / 4
            else (below + above) / 2
        )
        moved = yield from question.after(link, sign * middle)
        if moved is None:
            below = middle
        else:
            above, to = middle, moved
    return Flip(link, sign * above, sign * below, to)


class _NoAnswerError(Exception):
    """The algorithm has no answer to a state."""


class _Question:
    """One tunnel's decision, asked again and again under altered links."""

    def __init__(self, tunnel: str, state: RoutingState, standing: Standing) -> None:
        self.tunnel = tunnel
        self.standing = standing
        exits = {tunnel: state.tunnels.get(tunnel, ())}
        self.state = dataclasses.replace(state, tunnels=exits)
        self._links = links_of(state.graph)
        loads: dict[str, Load] = {
            pop: (float(known["load"]), float(known["age_s"]))
            for pop, known in state.graph.nodes(data=True)
        }
        # A copy of our own, altered for each question and put right after it: to build one takes longer than to decide.
        self._scratch = latency_graph(state.me, self._links, loads)

    def links_of(self, path: Path, older_s: float) -> tuple[MeasuredLink, ...]:
        known = {(link.source, link.destination): link for link in self._links}
        return tuple(
            dataclasses.replace(known[hop], age_s=known[hop].age_s + older_s)
            for hop in itertools.pairwise(path.pops)
            if hop in known
        )

    def ask(self, graph: nx.DiGraph[str] | None = None) -> Runs:
        """The algorithm's ranking of the tunnel's paths. Its memory and its luck are copies: asking changes nothing."""
        luck = random.Random()
        luck.setstate(self.state.rng.getstate())
        try:
            memory = copy.deepcopy(self.state.memory)
        except Exception as error:
            raise _NoAnswerError(
                f"what the algorithm remembers cannot be copied: {error}"
            ) from error
        routes = yield dataclasses.replace(
            self.state, graph=graph or self.state.graph, memory=memory, rng=luck
        )
        if routes is None:
            raise _NoAnswerError("the algorithm has no answer")
        return list(routes.get(self.tunnel, ()))

    def after(self, link: tuple[str, str], change_s: float) -> Runs:
        """The path that the route moves to when `link` changes by so much; None: it stays."""
        graph = self._scratch
        altered = [graph.edges[way] for way in (link, link[::-1]) if graph.has_edge(*way)]
        before = [float(known["rtt_s"]) for known in altered]
        for known, rtt_s in zip(altered, before, strict=True):
            known["rtt_s"] = max(0.0, rtt_s + change_s)
        try:
            ranked = yield from self.ask(graph)
            return self.moves_to(ranked, graph)
        except _NoAnswerError:
            return None
        finally:
            for known, rtt_s in zip(altered, before, strict=True):
                known["rtt_s"] = rtt_s

    def moves_to(self, ranked: Sequence[Path], graph: nx.DiGraph[str]) -> Path | None:
        chosen = self.standing.chosen
        if chosen is None:
            return None
        return self.standing.moves_to(self.now_of(chosen, ranked, graph), ranked)

    def now_of(self, chosen: Path, ranked: Iterable[Path], graph: nx.DiGraph[str]) -> Path:
        """The route with its cost by `graph`: as the algorithm says, else what its links have changed by."""
        for path in ranked:
            if path.way == chosen.way:
                return path
        before_s, after_s = (_rtt_s(one, chosen) for one in (self.state.graph, graph))
        if before_s is None or after_s is None or before_s == after_s:
            return chosen
        drift_s = after_s - before_s + chosen.terms.get(DRIFT, 0.0)
        return dataclasses.replace(chosen, terms={**chosen.terms, DRIFT: drift_s})


def _rtt_s(graph: nx.DiGraph[str], path: Path) -> float | None:
    hops = list(itertools.pairwise(path.pops))
    if not all(graph.has_edge(*hop) for hop in hops):
        return None
    return sum(float(graph.edges[hop]["rtt_s"]) for hop in hops)


def links_of(graph: nx.DiGraph[str]) -> list[MeasuredLink]:
    """The links behind a latency graph."""
    return [
        MeasuredLink(
            source,
            destination,
            float(known["rtt_s"]),
            float(known["jitter_s"]),
            float(known["loss"]),
            int(known["samples"]),
            float(known["age_s"]),
        )
        for source, destination, known in graph.edges(data=True)
    ]


def _crosses(path: Path, link: tuple[str, str]) -> bool:
    return any(set(hop) == set(link) for hop in itertools.pairwise(path.pops))


def _of_distinct_pops(paths: Iterable[Path]) -> list[Path]:
    found: dict[tuple[str, ...], Path] = {}
    for path in paths:
        found.setdefault(path.pops, path)
    return list(found.values())


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _s(seconds: float) -> float:
    return round(seconds, 3)
