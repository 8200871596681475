"""Putting an explanation together, and the ways to run it: here and now, step by step, or wherever algorithms run."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from routing.api import Decide, Path, Routes, RoutingState
from routing.explain.explanation import Candidate, Explanation, Flip, Standing
from routing.explain.flips import flips_of
from routing.explain.question import NoAnswerError, Question, Runs


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
    question = Question(tunnel, state, standing)
    at = state.now if now is None else now
    links = question.links_of(standing.chosen, at - state.now) if standing.chosen else ()
    try:
        ranked = yield from question.ask()
    except NoAnswerError as error:
        return Explanation(
            me=state.me,
            tunnel=tunnel,
            at=at,
            standing=standing,
            candidates=_ranked(considered or (), standing.chosen),
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
        flips = yield from flips_of(question, chosen, ranked)
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
    """The route comes last where its algorithm does not list it: it is in force all the same."""
    if chosen is not None and all(path.way != chosen.way for path in paths):
        paths = [*paths, chosen]
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
