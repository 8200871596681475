"""What would flip a route that a plug-in decided: its PoP asks it in a process apart, so the lab runs the file itself.

It runs here on what the PoP knows, with a memory that is empty. Where that does not lead to the PoP's own ranking, the
plug-in decides by what it remembers, and nothing is claimed.
"""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from routing import plugin
from routing.api import Exit, MeasuredLink, Path, RoutingState
from routing.damping import Damping
from routing.errors import RoutingError
from routing.explain import Standing, explain
from routing.graph import latency_graph

Told = Mapping[str, Any]

# Longer than forty decisions at their deadline take.
_PATIENCE_S = 10.0


class _TooLongError(BaseException):
    """No Exception: whoever catches all of those, the plug-in itself above all, must not catch this."""


def completed(told: Told, name: str, source: str, graph: Told, exits: list[Told]) -> dict[str, Any]:
    """`told` with its flips, or with why there are none. `graph` and `exits` as of the same PoP's views."""
    chosen = next((row for row in told["candidates"] if row["chosen"]), None)
    if chosen is None:
        return dict(told)
    tunnel, damping = told["tunnel"], told["damping"]
    standing = Standing(
        _path(chosen),
        damping=Damping(
            min_gain_pct=damping["min_gain_pct"],
            min_gain_s=damping["min_gain_ms"] / 1e3,
            hold_s=damping["hold_s"],
        ),
        young=damping["young"],
    )
    try:
        with _limited():
            algorithm = plugin.from_text(name, source, name)
            state = _state(told, tunnel, graph, exits, algorithm.with_params(told["params"]))
            found = explain(tunnel, state, standing, algorithm.decide)
    except (RoutingError, _TooLongError) as error:
        return {**told, "problem": str(error)}
    if found.problem is None and [one.path.pops for one in found.candidates[:1]] != [
        tuple(row["path"]) for row in told["candidates"][:1]
    ]:
        return {**told, "problem": "it decides by what it remembers, and only its PoP has that"}
    tried = found.to_dict()
    return {**told, **{key: tried[key] for key in ("flips", "pending", "problem")}}


def _state(
    told: Told, tunnel: str, graph: Told, exits: list[Told], params: Mapping[str, Any]
) -> RoutingState:
    links = [
        MeasuredLink(
            link["from"],
            link["to"],
            link["rtt_ms"] / 1e3,
            link["jitter_ms"] / 1e3,
            link["loss_pct"] / 100,
            link["samples"],
            link["age_s"],
        )
        for link in graph["links"]
    ]
    loads = {pop: (known["load"], known["age_s"]) for pop, known in graph["pops"].items()}
    leaves = [
        Exit(one["pop"], one["connection"], one["rtt_ms"] / 1e3, one["load"], one["draining"])
        for one in exits
    ]
    usable = [leave for leave in leaves if not leave.draining] or leaves
    return RoutingState(
        me=told["me"],
        now=0.0,
        seq=1,
        graph=latency_graph(told["me"], links, loads),
        tunnels={tunnel: tuple(usable)},
        previous={tunnel: tuple(_path(row) for row in told["candidates"])},
        outcomes=(),
        memory={},
        rng=random.Random(0),
        params=params,
    )


def _path(row: Told) -> Path:
    terms = {name: value / 1e3 for name, value in row["terms_ms"].items()}
    return Path(tuple(row["path"]), row["connection"], terms)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Foreign code may loop. The main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooLongError(f"the plug-in did not come back within {_PATIENCE_S:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
