"""By how much one link has to change before the route does.

Where costs simply add up, a formula guesses the amount and two runs confirm it; elsewhere the amount is bisected. What
is reported has been tried: so much moves the route, and `RESOLUTION_S` less does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from routing.api import Path
from routing.explain.explanation import Flip
from routing.explain.question import Question, Runs

RESOLUTION_S = 1e-6
"""A flip is known to this amount."""

# A link that is ten seconds slower is as good as cut.
MOST_RISE_S = 10.0
# Paths whose links are tried for a fall: what is further down the list needs more than anybody wants to hear of.
ALTERNATIVES = 4


def flips_of(question: Question, chosen: Path, ranked: Sequence[Path]) -> Runs:
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
    question: Question, link: tuple[str, str], sign: float, guess: float | None, most: float
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


def _crosses(path: Path, link: tuple[str, str]) -> bool:
    return any(set(hop) == set(link) for hop in itertools.pairwise(path.pops))


def _of_distinct_pops(paths: Iterable[Path]) -> list[Path]:
    found: dict[tuple[str, ...], Path] = {}
    for path in paths:
        found.setdefault(path.pops, path)
    return list(found.values())
